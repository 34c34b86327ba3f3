import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.engines.kvcache import KVCache
from reckoner.errors import CacheFullError, InputError

sizes = st.integers(1, 4)


def chunk(rng, cache_shape, n):
    batch, heads, dim = cache_shape
    return rng.standard_normal((2, batch, heads, n, dim)).astype(np.float32)


@given(sizes, sizes, sizes, sizes, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_what_was_appended_is_what_every_layer_reads(layers, batch, heads, dim, chunks):
    rng = np.random.default_rng(0)
    cache = KVCache(layers, heads, dim, sum(chunks), np.float32, batch=batch)
    whole = [([], []) for _ in range(layers)]
    for n in chunks:
        before = cache.cursor
        for layer in range(layers):
            assert cache.cursor == before
            new = chunk(rng, (batch, heads, dim), n)
            keys, values = cache.append(layer, *new)
            for kept, part in zip(whole[layer], new, strict=True):
                kept.append(part)
            np.testing.assert_array_equal(keys, np.concatenate(whole[layer][0], axis=2))
            np.testing.assert_array_equal(values, np.concatenate(whole[layer][1], axis=2))
        assert cache.cursor == before + n
    assert cache.bytes_used() == cache.bytes_allocated()


@given(sizes, sizes, sizes, st.integers(1, 40), sizes, st.sampled_from([np.float16, np.float32, np.float64]))
def test_bytes_are_two_times_layers_heads_dim_tokens_batch_and_item(layers, heads, dim, tokens, batch, dtype):
    cache = KVCache(layers, heads, dim, tokens, dtype, batch=batch)
    assert cache.bytes_allocated() == 2 * layers * heads * dim * tokens * batch * np.dtype(dtype).itemsize
    assert (cache.cursor, cache.bytes_used(), cache.bytes_touched()) == (0, 0, 0)


@given(st.integers(1, 9), st.integers(1, 20))
def test_one_token_too_many_is_refused_and_nothing_is_stored(capacity, extra):
    cache = KVCache(1, 1, 2, capacity, np.float32)
    cache.append(0, np.ones((1, 1, capacity, 2)), np.ones((1, 1, capacity, 2)))
    cache.rewind(capacity - 1)
    with pytest.raises(CacheFullError, match=rf"holds {capacity} tokens, {capacity - 1} are used and {extra + 1} more"):
        cache.append(0, np.ones((1, 1, extra + 1, 2)), np.ones((1, 1, extra + 1, 2)))
    assert cache.cursor == capacity - 1


def test_the_error_names_the_capacity_that_would_do():
    with pytest.raises(CacheFullError, match="max_tokens of at least 12"):
        KVCache(1, 1, 2, 8, np.float32).require(12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_data_type_is_kept_whatever_is_appended(dtype):
    cache = KVCache(1, 1, 2, 8, dtype)
    keys, values = cache.append(0, np.full((1, 1, 3, 2), np.pi), np.full((1, 1, 3, 2), np.e, np.float32))
    assert cache.dtype == keys.dtype == values.dtype == dtype


def test_reads_are_views_of_the_one_block():
    cache = KVCache(2, 1, 2, 8, np.float32)
    keys, _ = cache.append(0, np.ones((1, 1, 3, 2)), np.ones((1, 1, 3, 2)))
    assert keys.base is not None
    assert keys.shape == (1, 1, 3, 2)


@settings(max_examples=60)
@given(sizes, sizes, st.sampled_from([1, 16, 64]), st.integers(1, 300), st.integers(1, 300), sizes)
def test_touched_pages_are_those_that_a_count_byte_by_byte_finds(layers, heads, dim, capacity, used, batch):
    used = min(used, capacity)
    cache = KVCache(layers, heads, dim, capacity, np.float32, batch=batch)
    new = np.zeros((batch, heads, used, dim), np.float32)
    pages = set()
    for layer in range(layers):
        for view in cache.append(layer, new, new):
            for run in view.reshape(-1, used, dim) if view.flags.contiguous else [h for row in view for h in row]:
                start = run.ctypes.data
                pages |= set(range(start // 4096, (start + run.nbytes - 1) // 4096 + 1))
    assert cache.bytes_touched() == 4096 * len(pages)
    assert cache.bytes_touched(1) == cache.bytes_used()


def test_a_rewound_cache_takes_tokens_again():
    cache = KVCache(1, 1, 2, 4, np.float32)
    cache.append(0, np.zeros((1, 1, 4, 2)), np.zeros((1, 1, 4, 2)))
    cache.rewind()
    keys, _ = cache.append(0, np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 2)))
    assert cache.cursor == 1
    assert keys.tolist() == [[[[1.0, 1.0]]]]
    with pytest.raises(InputError, match="cannot rewind to 2; choose 0 to 1"):
        cache.rewind(2)


@pytest.mark.parametrize("field", range(4))
def test_an_empty_shape_is_refused(field):
    shape = [1, 1, 2, 4]
    shape[field] = 0
    with pytest.raises(InputError, match="is 0; it must be at least 1"):
        KVCache(*shape, np.float32)
