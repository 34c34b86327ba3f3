from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reckoner.engines import numpy_decoder
from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import random_weights
from reckoner.engines.weights import Weights, load, quantise
from reckoner.errors import CacheFullError, InputError


@pytest.fixture(scope="module")
def decoder(small):
    return NumpyDecoder(small)


def naive_logits(weights, ids):
    """The same decoder written one position, one head and one dimension at a time, in float64."""
    config = weights.config
    w = {name: weights.matrix(name).astype(np.float64) for name in weights.tensors if not name.endswith("_scale")}
    for name, (a, b) in weights.adapter.pairs.items() if weights.adapter else ():
        w[name] = w[name] + weights.adapter.scale * b.astype(np.float64) @ a  # merged, not applied
    half, group = config.head_dim // 2, config.num_attention_heads // config.num_key_value_heads

    def norm(x, weight):
        return x / np.sqrt(np.mean(x**2) + config.rms_norm_eps) * weight

    def turned(x, position):
        out = x.copy()
        for i in range(half):
            angle = position * config.rope_theta ** (-2 * i / config.head_dim)
            out[i] = x[i] * np.cos(angle) - x[i + half] * np.sin(angle)
            out[i + half] = x[i + half] * np.cos(angle) + x[i] * np.sin(angle)
        return out

    hidden = [w["model.embed_tokens.weight"][token] for token in ids]
    for layer in range(config.num_hidden_layers):
        p = f"model.layers.{layer}."
        keys, values, after = [], [], []
        for position, residual in enumerate(hidden):
            x = norm(residual, w[p + "input_layernorm.weight"])
            split = (-1, config.head_dim)
            q = (w[p + "self_attn.q_proj.weight"] @ x).reshape(split)
            keys.append([turned(k, position) for k in (w[p + "self_attn.k_proj.weight"] @ x).reshape(split)])
            values.append((w[p + "self_attn.v_proj.weight"] @ x).reshape(split))
            mixed = []
            for head in range(config.num_attention_heads):
                query = turned(q[head], position)
                scores = np.array([query @ k[head // group] for k in keys]) / np.sqrt(config.head_dim)
                share = np.exp(scores - scores.max())
                mixed.append(sum(s * v[head // group] for s, v in zip(share / share.sum(), values, strict=True)))
            after.append(residual + w[p + "self_attn.o_proj.weight"] @ np.concatenate(mixed))
        hidden = []
        for x in after:
            y = norm(x, w[p + "post_attention_layernorm.weight"])
            gate = w[p + "mlp.gate_proj.weight"] @ y
            gated = gate / (1 + np.exp(-gate)) * (w[p + "mlp.up_proj.weight"] @ y)
            hidden.append(x + w[p + "mlp.down_proj.weight"] @ gated)
    head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    return np.array([w[head] @ norm(x, w["model.norm.weight"]) for x in hidden])


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1), (6, 3)])
def test_grouped_query_attention_is_the_naive_loop(heads, kv_heads):
    config = DecoderConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=8,
        max_position_embeddings=64,
        rope_theta=500.0,
        tie_word_embeddings=False,
    )
    weights = random_weights(config, seed=heads * 10 + kv_heads)
    ids = np.random.default_rng(1).integers(0, 300, 9)
    np.testing.assert_allclose(NumpyDecoder(weights).forward(ids), naive_logits(weights, ids), rtol=1e-3, atol=1e-4)


def test_a_tied_table_is_its_own_output_matrix(small):
    config = DecoderConfig(**{n: getattr(small.config, n) for n in small.config.__slots__[:-1]})
    tensors = {name: tensor for name, tensor in small.tensors.items() if name != "lm_head.weight"}
    weights = Weights(config=config, tensors=tensors)
    ids = [5, 300, 17]
    decoder = NumpyDecoder(weights)
    np.testing.assert_allclose(decoder.forward(ids), naive_logits(weights, ids), rtol=1e-3, atol=1e-3)
    assert decoder.weight_bytes == weights.nbytes


def test_an_adapter_applied_is_the_merged_weights(folder):
    adapted = load(folder)
    ids = np.random.default_rng(2).integers(0, 320, 12)
    plain = NumpyDecoder(Weights(config=adapted.config, tensors=adapted.tensors)).forward(ids)
    applied = NumpyDecoder(adapted).forward(ids)
    np.testing.assert_allclose(applied, naive_logits(adapted, ids), rtol=1e-3, atol=1e-4)
    assert np.abs(applied - plain).max() > 0.1


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 319), min_size=1, max_size=40),
    st.lists(st.integers(1, 39), max_size=4),
    st.sampled_from([(1, "fp32"), (1, "int8")]),
)
def test_any_split_into_cached_chunks_gives_the_uncached_logits(ids, cuts, case):
    decoder = DECODERS[case]
    cache = decoder.new_cache(len(ids))
    edges = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    cached = np.concatenate([decoder.forward(ids[a:b], cache) for a, b in pairwise(edges)])
    # An activation on the edge of two INT8 values may fall either way when sums run in another order.
    tolerance = 2e-4 if case[1] == "fp32" else 0.1
    np.testing.assert_allclose(cached, decoder.forward(ids), atol=tolerance)


_CONFIG = DecoderConfig(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    tie_word_embeddings=False,
)
DECODERS = {(1, p): NumpyDecoder(random_weights(_CONFIG, seed=1, precision=p)) for p in ("fp32", "int8")}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("length", [1, 2, 31, 120])
def test_cached_and_uncached_tokens_are_equal(precision, length):
    decoder = DECODERS[1, precision]
    prompt = np.random.default_rng(length).integers(0, 320, length).tolist()
    cached = decoder.generate(prompt, max_new_tokens=24)
    assert cached.token_ids == decoder.generate(prompt, max_new_tokens=24, use_cache=False).token_ids
    assert (len(cached.token_ids), cached.prompt_tokens, cached.stopped) == (24, length, False)


def test_attention_in_blocks_is_attention_at_once(decoder, monkeypatch):
    ids = np.random.default_rng(5).integers(0, 320, 60)
    whole = decoder.forward(ids)
    monkeypatch.setattr(numpy_decoder, "SCORE_FLOATS", 4 * 60 * 7)
    np.testing.assert_allclose(decoder.forward(ids), whole, atol=1e-5)


@pytest.mark.parametrize("few", [0, 1000])
def test_the_order_of_a_product_changes_no_logit(decoder, monkeypatch, few):
    ids = np.random.default_rng(5).integers(0, 320, 30)
    whole = decoder.forward(ids)
    monkeypatch.setattr(numpy_decoder, "FEW_ROWS", few)
    np.testing.assert_allclose(decoder.forward(ids), whole, atol=1e-5)


def test_sequences_of_a_batch_do_not_see_each_other(decoder):
    ids = np.random.default_rng(6).integers(0, 320, (3, 10))
    cache = decoder.new_cache(11, batch=3)
    together = decoder.prefill(ids, cache)
    stepped = decoder.decode_step([7, 8, 9], cache)
    for row in range(3):
        np.testing.assert_allclose(together[row], decoder.forward(ids[row])[-1], atol=1e-4)
        np.testing.assert_allclose(stepped[row], decoder.forward([*ids[row], 7 + row])[-1], atol=1e-4)
    assert decoder.forward(ids).shape == (3, 10, 320)


def test_a_half_precision_cache_stays_so_and_changes_logits_little(decoder):
    ids = np.random.default_rng(8).integers(0, 320, 20)
    cache = decoder.new_cache(20, dtype=np.float16)
    np.testing.assert_allclose(decoder.prefill(ids, cache), decoder.forward(ids)[-1], atol=0.02)
    assert cache.dtype == np.float16


def test_int8_is_the_reference_arithmetic_of_q8_0_blocks():
    rng = np.random.default_rng(9)
    weights = quantise(random_weights(_CONFIG, seed=3))
    name = "model.layers.0.mlp.up_proj.weight"
    x = rng.standard_normal((3, 64)).astype(np.float32)
    linear = numpy_decoder._Linear(weights, name)
    expected = np.zeros((3, 96))
    for row in range(3):
        for block in range(2):
            part = x[row, block * 32 : block * 32 + 32]
            peak = np.abs(part).max()
            integers = np.rint(part * (np.float32(127) / peak)).astype(int)
            scale = float(np.float16(peak / np.float32(127)))
            w = weights.tensors[name][:, block * 32 : block * 32 + 32].astype(int)
            expected[row] += (w @ integers) * scale * weights.tensors[name + "_scale"][:, block].astype(float)
    np.testing.assert_allclose(linear(x), expected, rtol=1e-5, atol=1e-5)


def test_a_zero_activation_block_stays_zero():
    assert not numpy_decoder._round_q8_0(np.zeros((2, 64), np.float32)).any()


def test_a_mix_of_precisions_at_one_input_is_refused(small):
    tensors = dict(small.tensors)
    for name in ("model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.k_proj.weight_scale"):
        tensors[name] = quantise(small).tensors[name]
    with pytest.raises(InputError, match="mix INT8 and float32"):
        NumpyDecoder(Weights(config=small.config, tensors=tensors))


def test_a_stop_token_ends_the_run_and_is_left_out(decoder):
    free = decoder.generate([300, 301], max_new_tokens=5).token_ids
    answer = decoder.generate([300, 301], max_new_tokens=5, stop_ids=[free[2]])
    assert answer.token_ids == free[: free.index(free[2])]
    assert answer.stopped


def test_log_probabilities_add_up_to_certainty(decoder):
    total = sum(np.exp(decoder.logprob([300, 301, token], 2)) for token in range(320))
    assert total == pytest.approx(1, abs=1e-5)


def test_the_log_probability_of_two_tokens_is_a_chain(decoder):
    whole = decoder.logprob([300, 301, 302, 303], 2)
    assert whole == pytest.approx(decoder.logprob([300, 301, 302], 2) + decoder.logprob([300, 301, 302, 303], 3))


@pytest.mark.parametrize("start", [0, 2, -1])
def test_a_log_probability_needs_both_parts(decoder, start):
    with pytest.raises(InputError, match=rf"start is {start}; choose 1 to 1"):
        decoder.logprob([300, 301], start)


def test_same_seed_same_samples(decoder):
    draws = [decoder.sample([300], 4, temperature=1.0, max_new_tokens=6, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert [len(row) for row in draws[0]] == [6, 6, 6, 6]


def test_samples_follow_the_softmax(decoder):
    logits = decoder.forward([300])[-1].astype(float)
    best = int(logits.argmax())
    share = np.exp(logits[best] / 0.7) / np.exp(logits / 0.7).sum()
    drawn = decoder.sample([300], 4000, temperature=0.7, max_new_tokens=1, seed=0)
    count = sum(row == (best,) for row in drawn)
    assert abs(count / 4000 - share) < 4 * np.sqrt(share * (1 - share) / 4000)


def test_a_cold_sample_is_greedy_and_a_stop_token_ends_its_row(decoder):
    answers = {token: decoder.generate([token], max_new_tokens=5).token_ids for token in range(259, 320)}
    prompt, greedy = next((token, answer) for token, answer in answers.items() if answer[0] != answer[1])
    cold = decoder.sample([prompt], 2, temperature=1e-6, max_new_tokens=5, seed=0)
    assert cold == (greedy, greedy)
    stopped = decoder.sample([prompt], 2, temperature=1e-6, max_new_tokens=5, seed=0, stop_ids=[greedy[1]])
    assert stopped == (greedy[:1], greedy[:1])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: d.forward([]), r"ids of shape \(0,\)"),
        (lambda d: d.forward([1.5]), "integer token id"),
        (lambda d: d.forward([320]), "token id 320 is outside the vocabulary of 320"),
        (lambda d: d.forward([-1]), "token id -1"),
        (lambda d: d.forward([1] * 257), "257 tokens were asked for.*max_position_embeddings is 256"),
        (lambda d: d.forward([[1], [2]], d.new_cache(4)), "2 sequences, the cache 1"),
        (lambda d: d.generate([], max_new_tokens=1), "prompt_ids is empty"),
        (lambda d: d.generate([1] * 250, max_new_tokens=8), "257 tokens were asked for"),
        (lambda d: d.sample([1] * 250, 1, temperature=1, max_new_tokens=8, seed=0), "257 tokens were asked for"),
        (lambda d: d.generate([1], max_new_tokens=0), "max_new_tokens is 0"),
        (lambda d: d.sample([1], 1, temperature=0, max_new_tokens=1, seed=0), "temperature is 0"),
    ],
)
def test_bad_input_is_one_clear_line(decoder, call, match):
    with pytest.raises(InputError, match=match):
        call(decoder)


def test_a_full_cache_refuses_before_anything_is_stored(decoder):
    cache = decoder.new_cache(4)
    decoder.prefill([300, 301, 302], cache)
    with pytest.raises(CacheFullError, match="holds 4 tokens, 3 are used and 2 more"):
        decoder.forward([300, 301], cache)
    assert cache.cursor == 3


def test_very_negative_gates_are_no_error(small):
    tensors = {n: t * 300 if "gate_proj" in n else t for n, t in small.tensors.items()}
    logits = NumpyDecoder(Weights(config=small.config, tensors=tensors)).forward([300, 301])
    assert np.isfinite(logits).all()


def test_close_is_harmless_and_the_name_is_known(decoder):
    decoder.close()
    assert decoder.name == "numpy_decoder"
