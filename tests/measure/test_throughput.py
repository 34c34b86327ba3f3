import json
from dataclasses import dataclass, field
from functools import partial

import pytest

from reckoner.engines.base import Generation
from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import random_gguf, random_weights
from reckoner.errors import DamagedError, EngineError, InputError
from reckoner.files import canonical_json
from reckoner.measure import throughput
from reckoner.measure.throughput import (
    Throughput,
    ThroughputPlan,
    measure_repeats,
    measure_throughput,
    read_prompts,
    summarise_repeats,
)

PROMPTS = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]


@dataclass
class Clock:
    ns: int = 0

    def __call__(self) -> int:
        return self.ns


@dataclass
class Lawful:
    """An engine with a known law that moves an injected clock instead of sleeping."""

    clock: Clock
    prefill_ms: float = 1.0  # per prompt token
    decode_ms: float = 10.0  # per step after the first token
    name: str = "lawful"
    timed: bool = True
    gives: int | None = None
    calls: list = field(default_factory=list)

    def generate(self, prompt_ids, *, max_new_tokens, stop_ids=()):
        self.calls.append(tuple(prompt_ids))
        prefill = self.prefill_ms * len(prompt_ids) / 1e3
        decode = self.decode_ms * (max_new_tokens - 1) / 1e3
        self.clock.ns += round((prefill + decode) * 1e9)
        return Generation(
            token_ids=(0,) * (max_new_tokens if self.gives is None else self.gives),
            prompt_tokens=len(prompt_ids),
            prefill_s=prefill if self.timed else None,
            decode_s=decode if self.timed else None,
            stopped=False,
        )

    def close(self):
        pass


PLAN = ThroughputPlan(seconds=9.0, repeats=5, max_new_tokens=6, seed=4)


def _measured(engines, plan=PLAN, clock=None, done=None):
    measured = {name: [] for name in engines}
    for name, repeat in measure_repeats(engines, PROMPTS, plan, done=done or {}, clock=clock):
        measured[name].append(repeat)
    return measured


def test_the_law_of_an_engine_comes_back_exactly():
    clock = Clock()
    measured = _measured({"a": Lawful(clock)}, clock=clock)
    result = summarise_repeats("a", "lawful", PLAN, PROMPTS, measured["a"])
    assert result.prefill_tokens_per_s.median == pytest.approx(1000.0)
    assert result.decode_tokens_per_s.median == pytest.approx(100.0)
    # Three prompts of 4, 2 and 3 tokens: 9 ms of prefill, 150 ms of decode, 18 new tokens.
    assert result.tokens_per_s.median == pytest.approx(18 / 0.159, rel=0.01)
    assert result.total_tokens_per_s.median == pytest.approx(27 / 0.159, rel=0.01)
    assert result.tokens_per_s.coverage == 0.9375
    assert (result.batch, result.utilisation) == (1, 1.0)


def test_a_test_ends_with_the_first_request_that_reaches_the_seconds():
    clock = Clock()
    for repeat in _measured({"a": Lawful(clock)}, clock=clock)["a"]:
        longest = 0.054
        assert PLAN.seconds <= repeat.wall_s <= PLAN.seconds + longest
        assert repeat.new_tokens == 6 * repeat.requests
        assert repeat.decode_steps == 5 * repeat.requests


def test_variants_take_turns_and_see_the_same_prompts_in_the_same_order():
    clock = Clock()
    fast, slow = Lawful(clock, decode_ms=5.0), Lawful(clock, decode_ms=20.0)
    names = [name for name, _ in measure_repeats({"fast": fast, "slow": slow}, PROMPTS, PLAN, done={}, clock=clock)]
    assert all({names[i], names[i + 1]} == {"fast", "slow"} for i in range(0, len(names), 2))
    assert names[:2] != names[2:4]  # the order rotates
    assert fast.calls[: len(slow.calls[:6])] == slow.calls[:6]


def test_repeats_that_are_done_are_not_measured_again():
    clock = Clock()
    whole = _measured({"a": Lawful(clock), "b": Lawful(clock)}, clock=clock)
    engine_a, engine_b = Lawful(clock), Lawful(clock)
    rest = _measured({"a": engine_a, "b": engine_b}, clock=clock, done={"a": whole["a"], "b": whole["b"][:3]})
    assert (len(rest["a"]), len(rest["b"])) == (0, 2)
    assert engine_a.calls == []


def test_an_engine_without_its_own_clock_has_no_prefill_and_decode_rates():
    clock = Clock()
    measured = _measured({"a": Lawful(clock, timed=False)}, clock=clock)
    result = summarise_repeats("a", "lawful", PLAN, PROMPTS, measured["a"])
    assert result.prefill_tokens_per_s is None
    assert result.decode_tokens_per_s is None
    assert result.tokens_per_s.median > 0


def test_single_token_requests_have_no_decode_rate():
    clock = Clock()
    plan = ThroughputPlan(seconds=0.1, repeats=1, max_new_tokens=1, seed=0)
    result = summarise_repeats("a", "lawful", plan, PROMPTS, _measured({"a": Lawful(clock)}, plan, clock)["a"])
    assert result.decode_tokens_per_s is None
    assert result.tokens_per_s.low is None
    assert result.cautions[0].kind == "samples"


class Killed(BaseException):
    pass


class Mortal(Lawful):
    """Dies after so many calls, as a killed process would."""

    lives = 10**9

    def generate(self, *args, **kwargs):
        if len(self.calls) >= self.lives:
            raise Killed
        return super().generate(*args, **kwargs)


def test_a_killed_run_goes_on_from_its_journal_and_loses_at_most_one_repeat(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "measure_repeats", partial(measure_repeats, clock=clock))
    arguments = {"seconds": 9.0, "repeats": 5, "max_new_tokens": 6, "seed": 4, "journal": tmp_path / "journal.json"}
    mortal = Mortal(clock)
    mortal.lives = 3 + 2 * 170 + 100  # warm-ups, two whole repeats of 170 requests, most of a third
    with pytest.raises(Killed):
        measure_throughput({"a": mortal}, PROMPTS, **arguments)
    seen = []
    heir = Lawful(clock)
    result = measure_throughput({"a": heir}, PROMPTS, **arguments, progress=seen.append)
    assert len(result["a"].repeats) == 5
    assert seen == pytest.approx([0.6, 0.8, 1.0])
    again = Lawful(clock)
    assert measure_throughput({"a": again}, PROMPTS, **arguments) == result
    assert again.calls == []


def test_a_journal_of_another_plan_is_not_used(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "measure_repeats", partial(measure_repeats, clock=clock))
    arguments = {"seconds": 1.0, "repeats": 2, "seed": 4, "journal": tmp_path / "journal.json"}
    measure_throughput({"a": Lawful(clock)}, PROMPTS, max_new_tokens=6, **arguments)
    other = Lawful(clock)
    measure_throughput({"a": other}, PROMPTS, max_new_tokens=7, **arguments)
    assert other.calls


def test_a_damaged_journal_is_refused_by_name(tmp_path):
    journal = tmp_path / "journal.json"
    journal.write_text("[]")
    with pytest.raises(DamagedError, match=r"journal\.json .*delete it"):
        measure_throughput(
            {"a": Lawful(Clock())}, PROMPTS, seconds=1, repeats=1, max_new_tokens=2, seed=0, journal=journal
        )


def test_a_result_survives_json_unchanged():
    clock = Clock()
    result = summarise_repeats("a", "lawful", PLAN, PROMPTS, _measured({"a": Lawful(clock)}, clock=clock)["a"])
    text = canonical_json(result.to_json())
    assert Throughput.from_json(json.loads(text)) == result
    with pytest.raises(DamagedError, match="n_prompts"):
        Throughput.from_json({**result.to_json(), "n_prompts": "many"})


def test_an_engine_that_stops_early_is_an_error_not_a_speed():
    with pytest.raises(EngineError, match="2 of 6 tokens"):
        _measured({"a": Lawful(Clock(), gives=2)}, clock=Clock())


@pytest.mark.parametrize(
    ("change", "field"),
    [({"seconds": 0.0}, "seconds"), ({"repeats": 0}, "repeats"), ({"max_new_tokens": 0}, "max_new_tokens")],
)
def test_a_plan_that_measures_nothing_is_refused(change, field):
    with pytest.raises(InputError, match=f"{field} is 0"):
        ThroughputPlan(**{"seconds": 1.0, "repeats": 1, "max_new_tokens": 1, "seed": 0, **change})


@pytest.mark.parametrize(
    ("variants", "prompts", "what"),
    [({}, PROMPTS, "variants"), ({"a": None}, [], "prompts"), ({"a": None}, [[1], []], r"prompts\[1\]")],
)
def test_nothing_to_measure_is_refused(variants, prompts, what):
    with pytest.raises(InputError, match=what):
        measure_throughput(variants, prompts, seconds=1, repeats=1, max_new_tokens=1, seed=0)


def test_the_fixed_subset_is_read_in_order(tmp_path):
    path = tmp_path / "subset.jsonl"
    path.write_text('{"id": "b", "prompt": "I ___"}\n\n{"id": "a", "prompt": "you ___", "extra": 1}\n')
    assert read_prompts(path) == [("b", "I ___"), ("a", "you ___")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ('{"id": "a"}', "line 1: .*prompt"),
        ('{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}', "line 2: id occurs twice"),
        ('{"id": "a", "prompt": ""}', "line 1: prompt is empty"),
        ("nonsense", "line 1"),
    ],
)
def test_a_bad_subset_is_refused_by_line(tmp_path, text, message):
    path = tmp_path / "subset.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_prompts(path)


def test_a_missing_subset_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_prompts(tmp_path / "none.jsonl")


def test_both_real_engines_are_measured_by_their_own_clocks(tmp_path):
    config = DecoderConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    with LlamaCpp(random_gguf(tmp_path, config)) as other:
        engines = {"numpy": NumpyDecoder(random_weights(config)), "llama.cpp": other}
        result = measure_throughput(
            engines, [[260, 270, 280], [290, 299]], seconds=0.05, repeats=5, max_new_tokens=4, seed=0
        )
    for one in result.values():
        assert one.tokens_per_s.coverage == 0.9375
        assert one.prefill_tokens_per_s.median > 0
        # The steps after the first token alone are faster than the whole with its prompts and calls.
        assert one.decode_tokens_per_s.median > 0.75 * one.tokens_per_s.median
    assert result["numpy"].engine == "numpy_decoder"
    assert result["llama.cpp"].prompts_sha256 == result["numpy"].prompts_sha256
