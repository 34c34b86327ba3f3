import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.gguf_file import _q8_0_bytes
from reckoner.engines.weights import ROLES, dequantise_q8_0, load, quantise, quantise_q8_0
from reckoner.errors import DamagedError, InputError
from reckoner.files import read_json, write_json

Q8_0 = gguf.GGMLQuantizationType.Q8_0
blocks = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.sampled_from([32, 64, 96])),
    elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
)


@given(blocks)
def test_quantisation_is_ggmls_bit_for_bit(array):
    array = np.where(np.abs(array) < 1e-3, np.float32(0), array)
    values, scales = quantise_q8_0(array)
    np.testing.assert_array_equal(_q8_0_bytes(values, scales), gguf.quants.quantize(array, Q8_0))


@given(blocks)
def test_dequantisation_is_ggmls_and_errs_by_half_a_step_at_most(array):
    array = np.where(np.abs(array) < 1e-3, np.float32(0), array)
    values, scales = quantise_q8_0(array)
    back = dequantise_q8_0(values, scales)
    np.testing.assert_array_equal(back, gguf.quants.dequantize(_q8_0_bytes(values, scales), Q8_0))
    peak = np.abs(array.reshape(*scales.shape, 32)).max(axis=-1).repeat(32).reshape(array.shape)
    # half a step of peak / 127, and float16's rounding of the scale (2^-11) on top
    assert (np.abs(back - array) <= peak * (0.5 / 127 + 2**-11 + 1e-6)).all()


def test_an_input_size_that_is_no_multiple_of_32_is_refused():
    with pytest.raises(InputError, match="multiple of 32, not 33"):
        quantise_q8_0(np.ones((2, 33)))


def test_a_saved_model_reads_back(folder, small):
    read = load(folder)
    assert read.config == small.config
    assert read.precision == "fp32"
    assert read.adapter is not None
    assert (read.adapter.rank, read.adapter.scale) == (4, 2.0)
    assert sorted(read.tensors) == sorted(small.tensors)
    for name, tensor in small.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], tensor)


def test_files_by_role_read_like_a_folder(folder):
    files = {role: folder / role for role in ROLES if role.startswith(("config", "model"))}
    read = load(files)
    assert read.adapter is None
    assert read.nbytes == load(folder).nbytes - load(folder).adapter.nbytes


def test_int8_reads_back_bit_for_bit(folder, small):
    stored = quantise(small)
    save_file(dict(stored.tensors), folder / "model.safetensors")
    read = load(folder)
    assert read.precision == "int8"
    assert read.parameters == small.parameters
    for name, tensor in stored.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], tensor)


def test_int8_takes_34_bytes_where_fp32_takes_128(small):
    vectors = sum(t.nbytes for t in small.tensors.values() if t.ndim == 1)
    assert (quantise(small).nbytes - vectors) * 128 == (small.nbytes - vectors) * 34


def test_float16_is_widened_exactly(folder, small):
    save_file({n: t.astype(np.float16) for n, t in small.tensors.items()}, folder / "model.safetensors")
    read = load(folder)
    for name, tensor in small.tensors.items():
        np.testing.assert_array_equal(read.tensors[name], tensor.astype(np.float16).astype(np.float32))


def test_a_decode_step_reads_all_but_an_untied_embedding_table(small):
    table = small.tensors["model.embed_tokens.weight"].nbytes
    assert small.decode_read_bytes == small.nbytes - table
    assert quantise(small).decode_read_bytes == quantise(small).nbytes - table * 34 // 128


NAME = "model.layers.1.mlp.up_proj.weight"


def spoil(folder, change, file="model.safetensors"):
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)


def drop(tensors):
    del tensors[NAME]


def add(tensors):
    tensors["model.layers.9.mlp.up_proj.weight"] = np.ones(3, np.float32)


def transpose(tensors):
    tensors[NAME] = np.ascontiguousarray(tensors[NAME].T)


def nan(tensors):
    tensors[NAME][3, 5] = np.nan


def infinite(tensors):
    tensors[NAME][0, 0] = np.inf


def double(tensors):
    tensors[NAME] = tensors[NAME].astype(np.float64)


def int8_without_scale(tensors):
    tensors[NAME] = np.ones(tensors[NAME].shape, np.int8)


def int8_vector(tensors):
    tensors["model.norm.weight"] = np.ones(64, np.int8)


def int8_with_float_scale(tensors):
    tensors[NAME], scales = quantise_q8_0(tensors[NAME])
    tensors[NAME + "_scale"] = scales.astype(np.float32)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (drop, DamagedError, "lacks model.layers.1.mlp.up_proj.weight"),
        (add, DamagedError, "holds model.layers.9.mlp.up_proj.weight, which config.json does not know"),
        (transpose, DamagedError, r"up_proj.weight has shape \(64, 96\), config.json asks for \(96, 64\)"),
        (nan, DamagedError, "up_proj.weight holds 1 NaN or infinite values"),
        (infinite, DamagedError, "up_proj.weight holds 1 NaN or infinite values"),
        (double, InputError, "up_proj.weight is F64"),
        (int8_without_scale, DamagedError, "lacks model.layers.1.mlp.up_proj.weight_scale"),
        (int8_vector, DamagedError, r"model.norm.weight of shape \(64,\) is int8"),
        (int8_with_float_scale, DamagedError, "up_proj.weight_scale is float32; it must be float16"),
    ],
)
def test_a_damaged_tensor_is_refused_by_file_and_name(folder, change, error, match):
    spoil(folder, change)
    with pytest.raises(error, match=rf"model\.safetensors.*{match}"):
        load(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9999])
def test_a_truncated_file_is_refused_by_name(folder, share):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedError, match=r"model\.safetensors: .*truncated"):
        load(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="no model folder"):
        load(tmp_path / "nowhere")
    (folder / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"lacks adapter_config\.json"):
        load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks model\.safetensors"):
        load(folder)
    with pytest.raises(InputError, match=r"no file .*gone"):
        load({"config.json": folder / "config.json", "model.safetensors": folder / "gone"})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": "320"}, "vocab_size is '320'; it must be an integer"),
        ({"hidden_size": True}, "hidden_size is True; it must be an integer"),
        ({"rope_theta": None}, "rope_theta is None; it must be a number"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1; it must be true or false"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"rope_scaling": {"factor": 8.0}}, "rope_scaling is {'factor': 8.0}"),
        ({"attention_bias": True}, "attention_bias is True; these engines run False only"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers is 1.*; it must be at most 2147483647"),
        ({"num_hidden_layers": 10**9}, "too few for config.json's num_hidden_layers 1000000000"),
        ({"rope_theta": 10**400}, "rope_theta is 10+; a float32 holds at most"),
        ({"vocab_size": 321}, r"embed_tokens.weight has shape \(320, 64\)"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, changes, match):
    write_json(folder / "config.json", {**read_json(folder / "config.json"), **changes})
    with pytest.raises((InputError, DamagedError), match=match):
        load(folder)


@pytest.mark.parametrize("heads", [None, 0, "4"])
def test_a_config_that_lacks_a_size_is_refused_by_the_names_of_what_it_lacks(folder, heads):
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": heads}
    write_json(folder / "config.json", {key: value for key, value in config.items() if value is not None})
    wanted = "num_attention_heads, num_key_value_heads" if heads is None else "num_hidden_layers, num_key_value_heads"
    with pytest.raises(InputError, match=rf"config\.json lacks vocab_size, .*{wanted}, head_dim, max_position"):
        load(folder)


def test_a_config_that_is_no_object_is_refused(folder):
    write_json(folder / "config.json", [1])
    with pytest.raises(DamagedError, match="holds a list"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"r": 0}, "r is 0"),
        ({"r": "8"}, "r is '8'"),
        ({"r": 5}, r"lora_A.weight has shape \(4, 96\), adapter_config.json asks for \(5, 96\)"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"lora_alpha": True}, "lora_alpha is True"),
        ({"lora_alpha": 1e308}, r"lora_alpha is 1e\+308; it is a number above 0 that a float32 holds"),
        ({"use_dora": True}, "use_dora is True"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern is"),
    ],
)
def test_an_adapter_that_is_not_plain_lora_is_refused(folder, changes, match):
    write_json(folder / "adapter_config.json", {**read_json(folder / "adapter_config.json"), **changes})
    with pytest.raises((InputError, DamagedError), match=match):
        load(folder)


STEM = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop(f"{STEM}.lora_B.weight"), "q_proj.weight has lora_A alone"),
        (lambda t: t.update({"base_model.model.lm_head.lora_A.weight": np.ones((4, 64), np.float32)}), "lm_head"),
        (lambda t: t.update({f"{STEM}.lora_C.weight": np.ones((4, 64), np.float32)}), "lora_C.weight adapts no"),
        (lambda t: t.update({f"{STEM}.lora_A.weight": np.ones((4, 64), np.int8)}), "lora_A.weight is int8"),
        (lambda t: t.clear(), "holds no tensors"),
    ],
)
def test_a_damaged_adapter_is_refused_by_file_and_name(folder, change, match):
    spoil(folder, change, "adapter_model.safetensors")
    with pytest.raises(DamagedError, match=rf"adapter_model\.safetensors.*{match}"):
        load(folder)


def test_a_config_without_head_dim_derives_it(small):
    config = {k: v for k, v in small.config.to_mapping().items() if k != "head_dim"}
    assert DecoderConfig.from_mapping(config) == small.config
