import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reckoner.physics import kvcache

sizes = st.integers(1, 200)
tokens = st.integers(1, 5000)


@given(sizes, sizes, sizes, st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.integers(2, 5))
def test_a_token_s_bytes_are_linear_in_every_factor(n_layers, heads, head_dim, size, factor):
    one = kvcache.bytes_per_token(n_layers, heads, head_dim, size)
    assert kvcache.bytes_per_token(n_layers * factor, heads, head_dim, size) == factor * one
    assert kvcache.bytes_per_token(n_layers, heads * factor, head_dim, size) == factor * one
    assert kvcache.bytes_per_token(n_layers, heads, head_dim * factor, size) == factor * one
    assert kvcache.bytes_per_token(n_layers, heads, head_dim, size * factor) == factor * one


def test_cache_sizes_equal_the_published_ones():
    assert kvcache.bytes_per_token(32, 32, 128, 2) * 2048 == 1_073_741_824  # Llama-2-7B: 1.07 GB
    assert kvcache.bytes_per_token(32, 8, 128, 2) * 2048 == 268_435_456  # Llama-3-8B: 0.268 GB
    assert kvcache.latent_bytes_per_token(61, 512, 64, 2) == 70_272  # DeepSeek-V3


@given(tokens, tokens, st.one_of(st.just(math.inf), tokens))
def test_mean_context_equals_the_step_by_step_sum(first, steps, window):
    steps = steps % 300 + 1
    direct = sum(min(first + i, window) for i in range(steps)) / steps
    assert math.isclose(kvcache.mean_kept_tokens(first, steps, window), direct, rel_tol=1e-12)


@given(tokens, tokens)
def test_a_window_never_keeps_more_than_the_context_or_itself(context, window):
    assert kvcache.kept_tokens(context, window) == min(context, window)


@given(tokens, st.integers(1, 64), st.integers(1, 256), st.floats(0, 1))
def test_what_is_stored_is_never_more_than_what_is_read(context, batch, token_bytes, share):
    stored = kvcache.stored_bytes(token_bytes, context, batch, math.floor(share * context))
    read = kvcache.read_bytes(token_bytes, context, batch)
    assert stored <= read
    assert kvcache.stored_bytes(token_bytes, context, batch) == read


@given(tokens, st.integers(1, 256))
def test_blocks_waste_less_than_one_block(n, block):
    held = kvcache.round_to_blocks(n, block)
    assert n <= held < n + block
    assert held % block == 0


@given(st.floats(-1e9, 1e12), st.integers(1, 10**6), st.integers(1, 64))
def test_tokens_that_fit_do_fit_and_one_block_more_does_not(memory, token_bytes, block):
    n = kvcache.tokens_that_fit(memory, token_bytes, block)
    assert n >= 0
    assert n * token_bytes <= max(memory, 0)
    assert (n + block) * token_bytes > memory * (1 - 1e-12)


def test_state_of_a_state_space_model_does_not_depend_on_length():
    assert kvcache.ssm_state_bytes(64, 5120, 16, 5120, 4, 2) == 64 * 5120 * (16 + 4) * 2


def test_arrays_broadcast_and_scalars_stay_floats():
    grid = kvcache.bytes_per_token(np.array([1, 2])[:, None], np.array([1, 2, 3]), 4, 2)
    assert grid.shape == (2, 3)
    assert type(kvcache.bytes_per_token(1, 2, 3, 4)) is float
    assert type(kvcache.mean_kept_tokens(1, 2)) is float
