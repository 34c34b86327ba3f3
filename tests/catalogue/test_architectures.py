"""``Model.from_config``: every architecture is parsed, and bad input is refused with the field's name."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.catalogue import find
from reckoner.catalogue._entries import entries
from reckoner.catalogue.architectures import BUILDERS, supported
from reckoner.catalogue.model import Model
from reckoner.errors import InputError, ReckonerError, UnknownNameError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
FALCON = {"hidden_size": 64, "n_head": 4, "n_layer": 2, "vocab_size": 99}
MAMBA2 = {"mamba_n_heads": 16, "mamba_d_state": 8, "mamba_expand": 2, "mamba_n_groups": 1}
SMALL = {k: v for k, v in LLAMA.items() if k != "model_type"} | {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
}
# architectures that no built-in model has, with the count worked out by hand from the small shape above
# (attention 64*64*2 + 64*32*2 = 12,288; gated MLP 3*64*96 = 18,432; embedding or head 6,400)
LAYER = 12_288 + 18_432 + 2 * 64
ENDS = 2 * 6_400 + 64
BY_HAND = {
    "ministral": ({}, 4 * LAYER + ENDS),
    "xgen": ({}, 4 * LAYER + ENDS),
    # query-key norms of one head of 16
    "exaone4": ({"sliding_window": 8}, 4 * (LAYER + 2 * 16) + ENDS),
    # biases on 64 query and 2 x 32 key-value features
    "seed_oss": ({}, 4 * (LAYER + 128) + ENDS),
    "glm": ({}, 4 * (LAYER + 128) + ENDS),
    "ernie4_5": ({}, 4 * LAYER + 6_400 + 64),
    "hunyuan_v1_dense": ({}, 4 * (LAYER + 2 * 16) + 6_400 + 64),
    # norms of weight and bias, a plain MLP of 2*64*96
    "nemotron": ({}, 4 * (12_288 + 12_288 + 4 * 64) + 2 * 6_400 + 2 * 64),
    "qwen2_vl": ({}, 4 * (LAYER + 128) + ENDS),
    "qwen2_vl_text": ({}, 4 * (LAYER + 128) + ENDS),
    "qwen2_5_vl": ({}, 4 * (LAYER + 128) + ENDS),
    "qwen2_5_vl_text": ({}, 4 * (LAYER + 128) + ENDS),
    # and two norms more
    "glm4": ({}, 4 * (LAYER + 128 + 2 * 64) + ENDS),
    # query-key norms over all heads
    "olmo3": ({"sliding_window": 8}, 4 * (LAYER + 64 + 32) + ENDS),
    # four experts and a router, tied
    "granitemoe": (
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        4 * (LAYER + 3 * 18_432 + 4 * 64) + 6_400 + 64,
    ),
}
REST = {
    "RefinedWeb": FALCON,
    "RefinedWebModel": FALCON,
    "bamba": {**SMALL, **MAMBA2, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **SMALL,
        **MAMBA2,
        "layer_types": ["mamba", "attention", "mamba", "mamba"],
        "shared_intermediate_size": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "kimi_k25": {
        **SMALL,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
}


def builtin_config(name):
    return entries("model", "models").parse(name)["config"]


def test_every_architecture_has_a_built_in_model_or_a_case_here():
    seen = {builtin_config(name)["model_type"] for name in find.models()}
    assert seen | set(BY_HAND) | set(REST) == set(BUILDERS)


@pytest.mark.parametrize("kind", sorted(BY_HAND))
def test_counts_worked_out_by_hand_are_met(kind):
    extra, params = BY_HAND[kind]
    assert Model.from_config({"model_type": kind, **SMALL, **extra}).params == params


@pytest.mark.parametrize("kind", sorted(REST))
def test_the_rest_of_the_architectures_parse(kind):
    model = Model.from_config({"model_type": kind, **REST[kind]})
    assert 0 < model.active_params <= model.params


def test_a_file_a_folder_and_a_mapping_give_one_model(tmp_path):
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    by_folder, by_file = Model.from_config(folder), Model.from_config(folder / "config.json")
    assert by_folder.name == by_file.name == "my-llama"
    assert by_folder.parts == Model.from_config(LLAMA).parts
    assert find.model(str(folder)).params == 8_030_261_248


def test_a_multimodal_configuration_is_read_through_its_text_part():
    gemma = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    model = Model.from_config({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **gemma}})
    assert model.params == find.model("gemma-3-4b").params
    assert {(group.n_layers, group.window) for group in model.attention} == {(29, 1024), (5, None)}


def test_windows_alternate_as_their_families_do():
    def layers(name):
        return {group.window: group.n_layers for group in find.model(name).attention}

    assert layers("gemma-2-9b") == {4096: 21, None: 21}
    assert layers("gpt-oss-120b") == {128: 18, None: 18}
    assert layers("mistral-7b") == {4096: 32}
    assert layers("mistral-7b-v0.3") == {None: 32}
    assert layers("command-r7b") == {4096: 24, None: 8}


def test_latent_attention_caches_the_compressed_vector():
    deepseek = find.model("deepseek-v3")
    assert deepseek.kv_elements_per_token == 61 * (512 + 64)
    assert deepseek.experts is not None
    assert (deepseek.n_experts, deepseek.n_active, deepseek.experts.n_layers) == (256, 8, 58)


def test_a_recurrent_model_has_state_and_no_cache():
    mamba = find.model("mamba-2.8b")
    assert mamba.kv_elements_per_token == 0
    # 64 layers of inner width 5,120: a state of 16 each and three past inputs
    assert mamba.state_elements == 64 * 5120 * (16 + 3)


def test_a_hybrid_caches_in_its_attention_layers_only():
    qwen = find.model("qwen3-next-80b-a3b")
    assert qwen.kv_elements_per_token == 12 * 2 * 2 * 256
    assert qwen.state is not None
    assert qwen.state.n_layers == 36


def test_layers_that_share_a_cache_add_nothing_to_it():
    assert find.model("gemma-3n-e4b").kv_elements_per_token == 20 * 2 * 2 * 256
    # eight layers of Llama 3.2 Vision look at the image only
    assert find.model("llama-3.2-11b-vision").kv_elements_per_token == 32 * 2 * 8 * 128


def test_active_weights_leave_out_the_experts_not_visited():
    mixtral = find.model("mixtral-8x7b")
    assert mixtral.active_params == 12_879_925_248
    assert mixtral.params - mixtral.active_params == 32 * 6 * 3 * 4096 * 14336


def test_a_tied_head_multiplies_though_it_is_stored_once():
    tied = find.model("llama-3.2-1b")
    assert tied.parts["lm_head"] == 0
    assert tied.matmul_params == tied.params
    untied = find.model("llama-3.1-8b")
    assert untied.matmul_params == untied.params - untied.parts["embedding"]


def test_an_unknown_architecture_is_named_with_those_supported():
    with pytest.raises(
        UnknownNameError, match=r"no architecture named 'lama'. Did you mean .*Supported: .*llama.*mamba"
    ):
        Model.from_config({**LLAMA, "model_type": "lama"})
    assert "llama" in supported()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        (
            {"num_attention_heads": 33},
            "hidden size 4096 is not divisible by 33 attention heads and head_dim is missing",
        ),
        ({"num_key_value_heads": 5}, "num_key_value_heads is 5, which does not divide 32"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must lie in 1"),
        ({"num_hidden_layers": -3}, "num_hidden_layers is -3"),
        ({"num_hidden_layers": 10**8}, "num_hidden_layers is 100000000; it must lie in 1..10000"),
        ({"vocab_size": "many"}, "vocab_size is 'many'; it must be an integer"),
        ({"intermediate_size": 1.5}, "intermediate_size is 1.5; it must be an integer"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; it must be true or false"),
        ({"model_type": None}, "model_type is None"),
        ({"model_type": "mixtral"}, "num_local_experts"),
        ({"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 5}, "more than the 4 experts"),
        ({"model_type": "gemma2", "sliding_window": 9, "layer_types": ["full_attention"]}, "layer_types has 1 entries"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX"}, "hybrid_override_pattern is 'MX'"),
    ],
)
def test_bad_fields_are_named(change, words):
    with pytest.raises(InputError) as caught:
        Model.from_config({**LLAMA, **change})
    assert words in str(caught.value)


def test_a_head_width_of_its_own_excuses_the_division():
    model = Model.from_config({**LLAMA, "num_attention_heads": 24, "head_dim": 128})
    assert (model.n_heads, model.head_dim) == (24, 128)


def test_a_file_that_is_no_object_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="one JSON object"):
        Model.from_config(path)


def test_layer_kinds_of_gpt_neo_are_read_or_refused():
    neo = builtin_config("gpt-neo-125m")
    given = Model.from_config({**neo, "attention_types": [[["global", "local"], 6]]})
    assert given.attention == Model.from_config(neo).attention
    for wrong in ([[["global"], 10**15]], [[["global", "near"], 6]], 7, [3]):
        with pytest.raises(InputError, match="attention_types is"):
            Model.from_config({**neo, "attention_types": wrong})


def test_a_file_that_is_no_json_names_itself(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{not json")
    with pytest.raises(ReckonerError, match=r"config\.json"):
        Model.from_config(path)


JUNK = st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(find.models()), data=st.data())
def test_a_spoiled_configuration_gives_a_model_or_an_error_of_ours(name, data):
    config = dict(builtin_config(name))
    key = data.draw(st.sampled_from(sorted(config)))
    config[key] = data.draw(JUNK)
    try:
        model = Model.from_config(config)
    except ReckonerError:
        return
    assert 0 < model.active_params <= model.params


@settings(max_examples=100, deadline=None)
@given(layers=st.integers(1, 12), grow=st.integers(1, 5))
def test_each_layer_adds_the_same_weights(layers, grow):
    def params(n):
        return Model.from_config({**LLAMA, "num_hidden_layers": n}).params

    per_layer = params(2) - params(1)
    assert params(layers + grow) - params(layers) == grow * per_layer
