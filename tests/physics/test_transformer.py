import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import transformer

small = st.integers(1, 60)


@given(small, st.integers(0, 60), st.one_of(st.just(math.inf), small))
def test_pairs_equal_the_count_one_by_one(tokens, prefix, window):
    direct = sum(min(prefix + i, window) for i in range(1, tokens + 1))
    assert transformer.attended_pairs(tokens, prefix, window) == direct


@given(small, small, small, st.integers(0, 60))
def test_prefilling_in_chunks_makes_the_same_pairs(first, second, third, prefix):
    whole = transformer.attended_pairs(first + second + third, prefix)
    parts = (
        transformer.attended_pairs(first, prefix)
        + transformer.attended_pairs(second, prefix + first)
        + transformer.attended_pairs(third, prefix + first + second)
    )
    assert whole == parts


def test_the_causal_mask_halves_a_long_prompt():
    full = transformer.attended_pairs(10_000, causal=False)
    assert transformer.attended_pairs(10_000) / full == pytest.approx(0.5, rel=1e-3)


@given(st.integers(1, 64), st.integers(1, 4096), st.integers(1, 4096))
def test_a_step_without_cache_costs_the_linear_part_plus_the_square(n_layers, hidden, tokens):
    linear = transformer.linear_flops(n_layers * 12 * hidden**2, tokens)
    square = transformer.attention_flops(n_layers, 1, hidden, transformer.attended_pairs(tokens, causal=False))
    assert transformer.uncached_step_flops(n_layers, hidden, tokens) == pytest.approx(linear + square, rel=1e-12)


@given(st.integers(1, 512))
def test_the_square_overtakes_at_six_times_the_width(hidden):
    assert transformer.uncached_step_flops(1, hidden, 6 * hidden) == 2 * 24 * hidden**2 * 6 * hidden


def test_parameters_of_llama_3_1_8b_match_its_model_card():
    layer = transformer.attention_params(4096, 32, 8, 128) + transformer.mlp_params(4096, 14336) + 2 * 4096
    assert 32 * layer + 2 * 128256 * 4096 + 4096 == 8_030_261_248


def test_parameters_of_gpt2_match_its_model_card():
    hidden = 768
    layer = transformer.attention_params(hidden, 12, 12, 64) + transformer.mlp_params(hidden, 3072, gated=False)
    biases_and_norms = (4 * hidden + hidden * 4 + hidden) + 4 * hidden
    assert 12 * (layer + biases_and_norms) + (50257 + 1024) * hidden + 2 * hidden == 124_439_808


@given(st.integers(1, 256), st.data(), st.integers(1, 10_000))
def test_distinct_experts_lie_between_those_of_one_token_and_all(n, data, tokens):
    k = data.draw(st.integers(1, n))
    woken = transformer.distinct_experts(n, k, tokens)
    assert k * (1 - 1e-12) <= woken <= n
    assert woken <= k * tokens * (1 + 1e-9)
    assert transformer.distinct_experts(n, k, tokens + 1) >= woken * (1 - 1e-12)


def test_distinct_experts_match_drawing_them_at_random():
    rng = np.random.default_rng(3)
    n, k, tokens = 64, 6, 12
    draws = rng.random((4000, tokens, n)).argsort(axis=2)[:, :, :k].reshape(4000, -1)
    woken = np.mean([len(np.unique(row)) for row in draws])
    assert transformer.distinct_experts(n, k, tokens) == pytest.approx(woken, rel=0.01)


def test_latent_attention_weights_match_deepseek_v3_layer_by_layer():
    assert transformer.latent_attention_params(7168, 128, 1536, 512, 128, 64, 128) == 187_105_280


def test_latent_attention_without_query_compression_has_a_plain_projection():
    # DeepSeek-V2-Lite: hidden 2048, 16 heads, kv rank 512
    expected = 2048 * 16 * 192 + 2048 * 576 + 512 * 16 * 256 + 16 * 128 * 2048
    assert transformer.latent_attention_params(2048, 16, 0, 512, 128, 64, 128) == expected


@given(small, small, small, st.integers(1, 10**5))
def test_expanded_attention_of_equal_sizes_is_plain_attention(n_layers, heads, size, pairs):
    expanded = transformer.expanded_attention_flops(n_layers, heads, size, size, pairs)
    assert expanded == transformer.attention_flops(n_layers, heads, size, pairs)


def test_absorbed_attention_is_plain_attention_in_the_compressed_space():
    assert transformer.absorbed_attention_flops(3, 5, 7, 0, 11) == transformer.attention_flops(3, 5, 7, 11)


@given(st.integers(1, 3000), st.integers(1, 600))
def test_chunked_prefill_reads_what_each_chunk_finds(tokens, chunk):
    direct = sum(range(0, tokens, chunk))
    assert transformer.chunked_prefill_reads(tokens, chunk) == direct


def test_a_state_space_layer_costs_the_same_at_any_context():
    assert transformer.ssm_flops(2, 3, 5, 10) == 10 * transformer.ssm_flops(2, 3, 5, 1) == 7 * 2 * 3 * 5 * 10
