import pytest

from reckoner.ledger import Ledger, request
from reckoner.workbench.memory import NAME, REPLAYED, Memory


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "l.db", sync=False) as ledger:
        ledger.record_many(
            request(f"r{i}", model="timmy:q4", prompt_tokens=10 * i, completion_tokens=20, e2e_s=0.5 + 0.01 * i)
            for i in range(40)
        )
        yield ledger


def forecast(ledger):
    with Memory(ledger) as memory:
        learned = memory.catch_up()
        return learned, memory.forecast("timmy:q4", 100, 20).e2e_s


def learn(ledger):
    with Memory(ledger) as memory:
        memory.catch_up()
        return memory.save()


def test_each_outcome_is_learned_once_and_scored_once(ledger):
    assert learn(ledger)
    assert not learn(ledger) or ledger.score(predictor=REPLAYED)[0].n == 40  # only its own tally is new
    ledger.record(request("new", model="timmy:q4", prompt_tokens=5, completion_tokens=20, e2e_s=0.5))
    assert forecast(ledger)[0] == 1
    learn(ledger)
    (score,) = ledger.score(predictor=REPLAYED)
    assert score.n == 41


def test_a_snapshot_that_cannot_be_read_is_learned_again_and_nothing_scored_twice(ledger):
    before = forecast(ledger)
    learn(ledger)
    seq, _ = ledger.snapshot(NAME)
    with ledger.store.write() as execute:
        execute(
            "UPDATE snapshots SET body = ?", ('{"version": 77, "models": [{"model": "timmy:q4", "sample_count": 3}]}',)
        )
    assert forecast(ledger) == before
    ledger.observe("later", {"e2e_s": 1.0})
    learn(ledger)
    assert ledger.score(predictor=REPLAYED)[0].n == 40
    assert ledger.snapshot(NAME)[0] > seq
    assert forecast(ledger)[0] == 0


def test_an_outcome_that_is_no_request_is_passed_over(ledger):
    before = forecast(ledger)[1]
    ledger.observe("a run", {"e2e_s": 1.0})
    ledger.observe("a run", {"e2e_s": 1.0}, inputs={"model": "timmy:q4", "prompt_tokens": "many"})
    ledger.observe("a run", {"e2e_s": 1e17}, inputs={"model": "timmy:q4", "prompt_tokens": 5})
    ledger.observe("a run", {"e2e_s": 1}, inputs={"model": "timmy:q4", "prompt_tokens": 5, "finished_at": "noon"})
    ledger.observe("a run", {"memory_bytes": 1.0}, inputs={"model": "timmy:q4", "prompt_tokens": 5})
    assert forecast(ledger) == (40, before)


def test_a_committed_forecast_is_the_one_that_was_shown(ledger):
    with Memory(ledger) as memory:
        memory.catch_up()
        made = memory.forecast("timmy:q4", 100, None, level=0.5, commit="next")
    (kept,) = ledger.entries(kind="prediction")
    assert kept.id == made.id
    assert kept.body["figures"]["e2e_s"] == {"value": made.e2e_s, "low": made.low_s, "high": made.high_s}
    assert (kept.body["level"], kept.body["inputs"]) == (0.5, {"model": "timmy:q4", "prompt_tokens": 100})
