from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from reckoner.engines.decoder import DecoderConfig
from reckoner.errors import DamagedError
from reckoner.measure.latency_rounds import Journal, LatencySpec, copy_bandwidth, gemm_rate, measure_rounds
from reckoner.measure.subjects import NumpySubject, Target, open_subject, prompt

TINY = DecoderConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    tie_word_embeddings=False,
)
TARGET = Target(name="tiny", engine="numpy", config=TINY)


class Killed(BaseException):
    pass


@dataclass
class Lawful:
    """Steps with a known law on an injected clock; dies after so many, when told to."""

    ns: int = 0
    lives: int = 10**9
    calls: list = field(default_factory=list)
    model: object = None

    def clock(self):
        return self.ns

    def _step(self, mode, s, seconds):
        if len(self.calls) >= self.lives:
            raise Killed
        self.calls.append((mode, s))
        self.ns += round(seconds * 1e9)
        return seconds

    def cached_s(self, s):
        return self._step("cached", s, 0.001 + 1e-6 * s)

    def uncached_s(self, s):
        return self._step("uncached", s, 0.001 * s)

    def difference(self, s):
        return None

    def close(self):
        pass


def _spec(tmp_path, **changes):
    settings = {"s_points": (8, 64, 512), "repeats": 10, "warmups": 3, "point_budget_s": 60.0, "seed": 5, **changes}
    return LatencySpec(target=TARGET, journal=str(tmp_path / "journal.json"), folder=str(tmp_path), **settings)


def _run(subject, spec, journal, save=lambda: None):
    shares = []
    measure_rounds(subject, spec, journal, save=save, progress=shares.append, clock=subject.clock)
    return shares


def test_every_point_gets_its_repeats_and_the_law_comes_back(tmp_path):
    journal = Journal()
    _run(Lawful(), _spec(tmp_path), journal)
    assert {point: len(samples) for point, samples in journal.samples.items()} == dict.fromkeys(
        [f"{mode}:{s}" for mode in ("cached", "uncached") for s in (8, 64, 512)], 10
    )
    assert set(journal.samples["uncached:64"]) == {0.064}
    assert journal.warmups["cached:8"] == 3


def test_points_take_turns_so_that_drift_falls_on_all(tmp_path):
    subject = Lawful()
    _run(subject, _spec(tmp_path, warmups=1), Journal())
    turns = [call for call, after in pairwise(subject.calls[6:]) if call != after]
    for index in range(0, 54, 6):
        assert len(set(turns[index : index + 6])) == 6


def test_a_slow_point_gets_the_repeats_its_budget_allows_spread_over_the_run(tmp_path):
    journal = Journal()
    subject = Lawful()
    _run(subject, _spec(tmp_path, repeats=100, point_budget_s=5.2), journal)
    assert len(journal.samples["cached:8"]) == 100
    assert len(journal.samples["uncached:512"]) == 10
    places = [index for index, call in enumerate(subject.calls) if call == ("uncached", 512)][3:]
    assert max(b - a for a, b in pairwise(places)) < 2 * len(subject.calls) / 10


def test_a_point_that_outlasts_its_budget_is_measured_once_and_not_warmed_up(tmp_path):
    journal = Journal()
    _run(Lawful(), _spec(tmp_path, point_budget_s=0.3), journal)
    assert len(journal.samples["uncached:512"]) == 1
    assert journal.warmups["uncached:512"] == 0


def test_short_steps_are_primed_and_long_ones_are_not(tmp_path):
    journal = Journal()
    subject = Lawful()
    _run(subject, _spec(tmp_path, repeats=4), journal)
    assert journal.primed["cached:512"]
    assert not journal.primed["uncached:512"]
    assert subject.calls.count(("cached", 512)) == 3 + 2 * 4
    assert subject.calls.count(("uncached", 512)) == 3 + 4


@pytest.mark.parametrize("lives", [5, 20, 41, 60, 90])
def test_a_killed_run_goes_on_from_its_journal_and_measures_nothing_twice(tmp_path, lives):
    spec = _spec(tmp_path)
    path = tmp_path / "journal.json"
    journal = Journal.read(path)
    with pytest.raises(Killed):
        _run(Lawful(lives=lives), spec, journal, save=lambda: journal.write(path))
    kept = Journal.read(path)
    before = sum(map(len, kept.samples.values()))
    heir = Lawful()
    _run(heir, spec, kept, save=lambda: kept.write(path))
    assert all(len(samples) == 10 for samples in Journal.read(path).samples.values())
    whole = Lawful()
    _run(whole, spec, Journal())
    assert len(heir.calls) <= len(whole.calls) - before


def test_progress_rises_to_one(tmp_path):
    shares = _run(Lawful(), _spec(tmp_path), Journal())
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_a_damaged_journal_is_refused_by_name(tmp_path):
    path = tmp_path / "journal.json"
    path.write_text('{"samples": 3}')
    with pytest.raises(DamagedError, match=r"journal\.json .*delete it"):
        Journal.read(path)


def test_a_cached_step_never_grows_the_context_and_gives_the_logits_of_the_uncached_one(tmp_path):
    subject = NumpySubject(TARGET, (8, 16, 32), seed=1)
    for _ in range(3):
        for s in (32, 8, 16):
            assert subject.cached_s(s) > 0
            assert subject.uncached_s(s) > 0
    for s in (8, 16, 32):
        assert subject.difference(s) < 1e-5
        assert subject._caches[s].cursor == s
    subject.close()


def test_a_subject_that_has_not_run_has_no_difference():
    assert NumpySubject(TARGET, (8,), seed=1).difference(8) is None


def test_positions_are_raised_where_a_model_was_made_for_fewer():
    assert NumpySubject(TARGET, (8, 100), seed=1).uncached_s(100) > 0


def test_both_engines_time_the_same_decoder(tmp_path):
    pytest.importorskip("xllamacpp")
    target = Target(name="tiny", engine="llamacpp", config=TINY)
    subject = open_subject(target, (8, 32), seed=1, folder=tmp_path)
    try:
        assert 0 < subject.cached_s(32) < 1
        assert subject.uncached_s(32) > 0
        assert subject.difference(32) is None
        assert subject.model.kv_bytes_per_element == 4
        assert subject.model.read_bytes == NumpySubject(TARGET, (8,), seed=1).model.read_bytes
    finally:
        subject.close()


def test_a_prompt_repeats_its_fragment_and_stays_inside_the_vocabulary():
    ids = prompt(300, 20, seed=2)
    assert ids[:8] == ids[8:16]
    assert all(150 <= token < 300 for token in ids)


def test_the_machine_rates_are_those_of_a_machine():
    assert all(1e8 < rate < 1e13 for rate in copy_bandwidth(2, 1 << 22))
    assert all(1e7 < rate < 1e13 for rate in gemm_rate(2, 64))
