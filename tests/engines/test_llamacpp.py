import dataclasses
import json
import urllib.request

import numpy as np
import pytest

from reckoner.engines.gguf_file import write_gguf, write_lora_gguf
from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import random_tokenizer
from reckoner.engines.weights import Weights, load, quantise
from reckoner.errors import CacheFullError, DamagedError, EngineError, InputError

PROMPTS = [tuple(int(i) for i in np.random.default_rng(n).integers(259, 320, 3 + n)) for n in range(12)]
NEW = 12


@pytest.fixture(scope="module")
def base_gguf(small, tmp_path_factory):
    return write_gguf(small, random_tokenizer(small.config), tmp_path_factory.mktemp("gguf") / "base.gguf")


@pytest.fixture(scope="module")
def engine(base_gguf):
    with LlamaCpp(base_gguf) as running:
        yield running


def both(weights, tmp_path, *, lora=False):
    """Greedy tokens of the two engines for every prompt, and the reference decoder."""
    path = write_gguf(weights, random_tokenizer(weights.config), tmp_path / "m.gguf")
    adapter = write_lora_gguf(weights, tmp_path / "a.gguf") if lora else None
    reference = NumpyDecoder(weights)
    with LlamaCpp(path, adapter) as real:
        theirs = [real.generate(prompt, max_new_tokens=NEW).token_ids for prompt in PROMPTS]
    ours = [reference.generate(prompt, max_new_tokens=NEW).token_ids for prompt in PROMPTS]
    return ours, theirs, reference


def largest_gap_where_they_part(ours, theirs, reference):
    """(how many answers differ, the largest gap between the two best logits at a first difference)."""
    gaps = []
    for prompt, mine, other in zip(PROMPTS, ours, theirs, strict=True):
        if mine != other:
            step = next(i for i in range(NEW) if mine[i] != other[i])
            logits = reference.forward([*prompt, *mine[:step]], last_only=True)[-1]
            gaps.append(float(logits[mine[step]] - logits[other[step]]))
    return len(gaps), max(gaps, default=0.0)


def test_both_engines_give_the_same_tokens_in_fp32(small, tmp_path):
    ours, theirs, _ = both(small, tmp_path)
    assert ours == theirs


def test_both_engines_give_the_same_tokens_with_a_lora_adapter(folder, tmp_path):
    adapted = load(folder)
    ours, theirs, _ = both(adapted, tmp_path, lora=True)
    assert ours == theirs
    plain = NumpyDecoder(Weights(config=adapted.config, tensors=adapted.tensors))
    assert ours != [plain.generate(prompt, max_new_tokens=NEW).token_ids for prompt in PROMPTS]


@pytest.mark.parametrize("lora", [False, True])
def test_both_engines_give_the_same_tokens_in_int8_except_at_ties(folder, tmp_path, lora):
    weights = load(folder)
    if not lora:
        weights = Weights(config=weights.config, tensors=weights.tensors)
    ours, theirs, reference = both(quantise(weights), tmp_path, lora=lora)
    differ, gap = largest_gap_where_they_part(ours, theirs, reference)
    print(f"{differ} of {len(PROMPTS)} answers differ, largest gap {gap:.4f}")
    # An activation that lies on the edge of two INT8 values may be rounded either way: 1/127 of its block.
    assert gap < 0.05
    assert differ <= 2


@pytest.mark.parametrize("cache_type", ["f32", "f16"])
def test_the_server_is_openai_compatible_on_localhost(base_gguf, cache_type):
    with LlamaCpp(base_gguf, cache_type=cache_type) as running:
        assert running.url.startswith("http://127.0.0.1:")
        body = json.dumps({"prompt": list(PROMPTS[0]), "max_tokens": 3, "temperature": 0}).encode()
        request = urllib.request.Request(f"{running.url}/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert json.load(reply)["usage"]["completion_tokens"] == 3


def test_every_call_does_its_whole_work_unless_asked_to_reuse(engine):
    prompt = PROMPTS[-1]
    engine.timings(prompt, max_new_tokens=1)
    assert engine.timings(prompt, max_new_tokens=1)["prompt_n"] == len(prompt)
    engine.timings(prompt, max_new_tokens=1, reuse_prompt=True)
    again = engine.timings(prompt, max_new_tokens=1, reuse_prompt=True)
    assert (again["prompt_n"], again["cache_n"]) == (1, len(prompt) - 1)
    assert engine.generate(prompt, max_new_tokens=4).prompt_tokens == len(prompt)


def test_steps_and_prefills_take_time(engine):
    assert engine.decode_ms_at(PROMPTS[0], 4) > 0
    assert engine.prefill_ms(PROMPTS[0]) > 0


def test_an_answer_has_exactly_the_tokens_asked_for_when_nothing_stops_it(engine):
    answer = engine.generate(PROMPTS[0], max_new_tokens=30)
    assert (len(answer.token_ids), answer.stopped) == (30, False)


@pytest.fixture(scope="module")
def ending(small, tmp_path_factory):
    """Weights whose second new token after PROMPTS[0] is end-of-sequence, and both engines on them."""
    second = NumpyDecoder(small).generate(PROMPTS[0], max_new_tokens=2).token_ids[1]
    tensors = dict(small.tensors)
    tensors["lm_head.weight"] = tensors["lm_head.weight"].copy()
    tensors["lm_head.weight"][2] = tensors["lm_head.weight"][second] * 1.5
    weights = Weights(config=small.config, tensors=tensors)
    path = write_gguf(weights, random_tokenizer(small.config), tmp_path_factory.mktemp("gguf") / "ending.gguf")
    with LlamaCpp(path) as running:
        yield NumpyDecoder(weights), running


def test_both_engines_stop_at_end_of_sequence_and_leave_it_out(ending):
    ours, theirs = (engine.generate(PROMPTS[0], max_new_tokens=9, stop_ids=[2]) for engine in ending)
    assert ours.token_ids == theirs.token_ids
    assert ours.stopped
    assert theirs.stopped
    assert len(ours.token_ids) < 9
    assert theirs.decode_s is not None


def test_both_engines_stop_at_any_token(small, engine):
    third = NumpyDecoder(small).generate(PROMPTS[1], max_new_tokens=3).token_ids[2]
    ours = NumpyDecoder(small).generate(PROMPTS[1], max_new_tokens=9, stop_ids=[third])
    theirs = engine.generate(PROMPTS[1], max_new_tokens=9, stop_ids=[third])
    assert ours.token_ids == theirs.token_ids
    assert ours.stopped
    assert theirs.stopped
    assert theirs.decode_s is None


@pytest.mark.parametrize(
    ("prompt", "new", "error", "match"),
    [
        ([], 1, InputError, "prompt_ids is empty"),
        ([999], 1, InputError, "token id 999 is outside the vocabulary of 320"),
        ([-1], 1, InputError, "token id -1"),
        ([300], 0, InputError, "max_new_tokens is 0"),
        ([300] * 250, 7, CacheFullError, "do not fit n_ctx = 256; raise it to 257"),
    ],
)
def test_a_bad_request_is_one_clear_line(engine, prompt, new, error, match):
    with pytest.raises(error, match=match):
        engine.generate(prompt, max_new_tokens=new)


def test_the_context_holds_exactly_n_ctx_tokens(engine):
    assert len(engine.generate([300] * 250, max_new_tokens=6).token_ids) == 6


def test_close_twice_is_harmless_and_a_closed_engine_says_so(base_gguf):
    running = LlamaCpp(base_gguf, n_ctx=32)
    running.close()
    running.close()
    with pytest.raises(EngineError, match="closed"):
        running.generate([300], max_new_tokens=1)


def test_an_engine_closed_at_once_ends_and_another_starts(base_gguf):
    for _ in range(15):  # a server stopped before its loop ran would never end
        LlamaCpp(base_gguf, n_ctx=32).close()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_gguf_is_refused_by_name(base_gguf, tmp_path, share):
    content = base_gguf.read_bytes()
    path = tmp_path / "half.gguf"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedError, match=r"half\.gguf"):
        LlamaCpp(path)


def test_a_file_that_is_no_gguf_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.gguf"
    path.write_text("not a model")
    with pytest.raises(DamagedError, match=r"notes\.gguf begins with b'not '"):
        LlamaCpp(path)


def test_a_nan_weight_is_refused(small, tmp_path):
    tensors = dict(small.tensors)
    tensors["model.norm.weight"] = np.full_like(tensors["model.norm.weight"], np.nan)
    weights = Weights(config=small.config, tensors=tensors)
    path = write_gguf(weights, random_tokenizer(small.config), tmp_path / "nan.gguf")
    with pytest.raises(EngineError, match=r"did not load .*nan\.gguf"):
        LlamaCpp(path)


def test_a_model_and_an_adapter_are_not_mistaken_for_each_other(folder, base_gguf, tmp_path):
    adapter = write_lora_gguf(load(folder), tmp_path / "a.gguf")
    with pytest.raises(InputError, match="GGUF adapter, not a"):
        LlamaCpp(adapter)
    with pytest.raises(InputError, match="not an adapter"):
        LlamaCpp(base_gguf, base_gguf)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cache_type": "q4_0"}, "choose f32 or f16"),
        ({"threads": 0}, "threads is 0"),
        ({"n_ctx": 1}, "n_ctx is 1"),
        ({"n_ctx": 257}, "the model has 256 positions"),
    ],
)
def test_a_bad_option_is_refused(base_gguf, options, match):
    with pytest.raises(InputError, match=match):
        LlamaCpp(base_gguf, **options)
    with pytest.raises(InputError, match="no file"):
        LlamaCpp(base_gguf.with_name("gone.gguf"))


def test_a_model_of_one_position_is_refused_before_llama_cpp_ends_the_process(small, tmp_path):
    short = dataclasses.replace(small, config=dataclasses.replace(small.config, max_position_embeddings=1))
    path = write_gguf(short, random_tokenizer(short.config), tmp_path / "short.gguf")
    with pytest.raises(InputError, match="n_ctx is 1; it must be at least 2"):
        LlamaCpp(path)
