import errno
from pathlib import Path

import gguf
import numpy as np
import pytest

from reckoner.engines.gguf_file import check_gguf, write_gguf, write_lora_gguf
from reckoner.engines.random_decoder import (
    CONFIG_100M,
    SPECIAL_TOKENS,
    random_gguf,
    random_tokenizer,
    random_weights,
)
from reckoner.engines.weights import load, quantise
from reckoner.errors import DamagedError, InputError, ReckonerError


@pytest.fixture(scope="module")
def tokenizer(small):
    return random_tokenizer(small.config)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_same_weights_same_bytes(small, tokenizer, tmp_path, precision):
    weights = quantise(small) if precision == "int8" else small
    first, second = (write_gguf(weights, tokenizer, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_int8_blocks_go_in_bit_for_bit(small, tokenizer, tmp_path):
    weights = quantise(small)
    reader = gguf.GGUFReader(write_gguf(weights, tokenizer, tmp_path / "q.gguf"))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    down = stored["blk.1.ffn_down.weight"]
    assert down.tensor_type == gguf.GGMLQuantizationType.Q8_0
    back = gguf.quants.dequantize(down.data, down.tensor_type)
    np.testing.assert_array_equal(back, weights.matrix("model.layers.1.mlp.down_proj.weight"))


def test_the_header_says_what_the_weights_are(small, tokenizer, tmp_path):
    facts = check_gguf(write_gguf(small, tokenizer, tmp_path / "m.gguf"))
    assert (facts.kind, facts.context_length, facts.vocab_size, facts.eos_id) == ("model", 256, 320, 2)


def test_an_adapter_is_known_as_one(folder, tmp_path):
    path = write_lora_gguf(load(folder), tmp_path / "a.gguf")
    assert check_gguf(path).kind == "adapter"
    names = sorted(tensor.name for tensor in gguf.GGUFReader(path).tensors)
    assert names[:2] == ["blk.0.attn_k.weight.lora_a", "blk.0.attn_k.weight.lora_b"]


def test_weights_without_an_adapter_have_none_to_write(small, tmp_path):
    with pytest.raises(InputError, match="no adapter"):
        write_lora_gguf(small, tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"type": "bpe"}, "type is 'bpe'"),
        ({"tokens": ["a"]}, "tokens has 1 entries, config.json's vocab_size is 320"),
    ],
)
def test_a_tokenizer_of_another_kind_or_size_is_refused(small, tokenizer, tmp_path, changes, match):
    with pytest.raises(InputError, match=match):
        write_gguf(small, {**tokenizer, **changes}, tmp_path / "m.gguf")
    with pytest.raises(InputError, match="lacks bos_id"):
        write_gguf(small, {k: v for k, v in tokenizer.items() if k != "bos_id"}, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["write", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_debris(small, tokenizer, tmp_path, monkeypatch, when):
    target = tmp_path / "m.gguf"
    target.write_text("old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "write":
        monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReckonerError, match=r"cannot write .*m\.gguf: No space left on device.*unharmed"):
        write_gguf(small, tokenizer, target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_header_of_garbage_is_refused(small, tokenizer, tmp_path):
    path = write_gguf(small, tokenizer, tmp_path / "m.gguf")
    content = bytearray(path.read_bytes())
    content[8:24] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"m\.gguf"):
        check_gguf(path)


def test_the_default_random_decoder_has_over_100_million_parameters():
    shapes = CONFIG_100M.tensor_shapes().values()
    assert sum(int(np.prod(shape)) for shape in shapes) == 100_682_496


def test_random_weights_follow_the_seed(small):
    again = random_weights(small.config, seed=7)
    other = random_weights(small.config, seed=8)
    name = "model.layers.0.mlp.up_proj.weight"
    np.testing.assert_array_equal(small.tensors[name], again.tensors[name])
    assert (small.tensors[name] != other.tensors[name]).any()


def test_a_random_decoder_never_emits_a_control_or_byte_token(small):
    assert not small.tensors["lm_head.weight"][:SPECIAL_TOKENS].any()
    assert small.tensors["lm_head.weight"][SPECIAL_TOKENS:].all()


def test_the_random_vocabulary_is_whole_words(tokenizer):
    words = tokenizer["tokens"][SPECIAL_TOKENS:]
    assert len(set(tokenizer["tokens"])) == 320
    assert all(word.startswith("\u2581") and " " not in word for word in words)


def test_a_random_gguf_is_written_once(small, tmp_path):
    path = random_gguf(tmp_path / "cache", small.config, seed=7)
    written = path.stat().st_mtime_ns
    assert random_gguf(tmp_path / "cache", small.config, seed=7) == path
    assert path.stat().st_mtime_ns == written
    assert random_gguf(tmp_path / "cache", small.config, seed=7, precision="int8") != path


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ({"vocab_size": 259}, "vocab_size is 259"),
    ],
)
def test_a_random_decoder_that_would_end_early_is_refused(small, options, match):
    from dataclasses import replace

    with pytest.raises(InputError, match=match):
        random_weights(replace(small.config, **options))
    with pytest.raises(InputError, match="precision is 'fp8'"):
        random_weights(small.config, precision="fp8")
