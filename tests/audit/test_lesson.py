"""The protocol: what is locked stays locked, and what is revealed follows from figures."""

from __future__ import annotations

import json
import threading

import pytest

from reckoner.audit.lesson import (
    ACT_1,
    ACT_2,
    REFLECTIONS,
    hardest,
    lock,
    locked,
    reveal_history,
    reveal_tier,
    rounds,
    save,
)
from reckoner.audit.report_card import card_of, report_card
from reckoner.audit.run import audit
from reckoner.errors import InputError
from reckoner.ledger import Ledger
from reckoner.ledger.exchange import import_seed_ledger

HISTORY = {
    "track": "cloud",
    "current_chapter": 16,
    "last_updated": "2026-01-01",
    "history": [
        {"chapter": 2, "design": {"act1_correct": True, "constraint_hit": False, "context": "cloud"}},
        {"chapter": 5, "design": {"act1_correct": True, "constraint_hit": True, "context": "edge"}},
        {"chapter": 13, "design": {"act1_correct": True, "constraint_hit": True, "context": "cloud"}},
        {"chapter": 13, "design": {"act1_correct": False, "constraint_hit": True, "context": "cloud"}},
        {"chapter": 14, "design": {"act1_correct": True, "constraint_hit": False, "context": "mobile"}},
    ],
}
WORDS = dict.fromkeys(REFLECTIONS, "A sentence.")


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "seed.json").write_text(json.dumps(HISTORY))
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        import_seed_ledger(opened, tmp_path / "seed.json")
        yield opened


def test_a_lock_is_never_undone(ledger):
    first = lock(ledger, "ann", ACT_1, "queuing", 0.6)
    again = lock(ledger, "ann", ACT_1, "drift", 0.1)
    assert again == first == locked(ledger, "ann", ACT_1)
    assert (again.choice, again.figure) == ("queuing", 0.6)


def test_two_people_lock_apart(ledger):
    lock(ledger, "ann", ACT_1, "queuing", 0.6)
    assert locked(ledger, "bob", ACT_1) is None
    assert lock(ledger, "bob", ACT_1, "drift", 0.2).choice == "drift"
    assert locked(ledger, "ann", ACT_1).choice == "queuing"


def test_of_two_tabs_the_first_entry_counts(ledger, tmp_path):
    found = []

    def tab(choice):
        with Ledger.open(tmp_path / "ledger.sqlite") as own:
            found.append(lock(own, "ann", ACT_2, choice, 10.0))

    tabs = [threading.Thread(target=tab, args=(choice,)) for choice in ("cloud", "edge", "mobile", "tinyml")]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    kept = locked(ledger, "ann", ACT_2)
    assert all(one == kept for one in found)


@pytest.mark.parametrize(("choice", "figure"), [("queueing", 0.5), ("queuing", 1.5), ("queuing", float("nan"))])
def test_a_guess_out_of_bounds_is_refused(ledger, choice, figure):
    with pytest.raises(InputError):
        lock(ledger, "ann", ACT_1, choice, figure)
    assert locked(ledger, "ann", ACT_1) is None


def test_the_report_card_counts_what_the_history_holds(ledger):
    card = report_card(ledger, "ann")
    assert card.done == (2, 5, 13, 14)
    assert (card.right, card.hits, card.share_right) == (3, 2, 0.75)
    assert (card.weakest, card.favourite) == ("little", "cloud")
    assert {p.invariant: p.share_right for p in card.practice}["fairness"] is None


def test_without_a_history_nothing_is_made_up(tmp_path):
    with Ledger.open(tmp_path / "empty.sqlite") as empty:
        first = lock(empty, "ann", ACT_1, "drift", 0.5)
        card = report_card(empty, "ann")
        found = reveal_history(first, card)
    assert (card.share_right, card.weakest, card.favourite) == (None, None, None)
    assert (found.right, found.off_by) == (None, None)
    assert "Nothing can be said yet" in found.says


def test_the_reveal_says_by_how_much(ledger):
    found = reveal_history(lock(ledger, "ann", ACT_1, "queuing", 0.5), report_card(ledger, "ann"))
    assert found.right is True
    assert found.off_by == pytest.approx(1.5)
    assert "You predicted 0.5, actual 0.75, off by 1.5 x." in found.says


def test_the_hardest_tier_is_the_one_that_misses_by_most(the_brief, ledger):
    found = audit(the_brief)
    tier, factor, _ = hardest(found)
    own = [v for v in found.failed if v.tier and v.value < float("inf")]
    assert factor == max(v.limit / v.value if v.at_least else v.value / v.limit for v in own)
    shown = reveal_tier(lock(ledger, "ann", ACT_2, tier, 100.0), found)
    assert shown.right is True


def test_saving_takes_both_predictions_and_all_reflections_and_begins_a_new_round(the_brief, ledger):
    found, card = audit(the_brief), report_card(ledger, "ann")
    with pytest.raises(InputError, match="act 1 has no locked prediction"):
        save(ledger, "ann", found, card, before=found, reflection=WORDS)
    lock(ledger, "ann", ACT_1, "drift", 0.5)
    lock(ledger, "ann", ACT_2, "tinyml", 10.0)
    with pytest.raises(InputError, match="reflection is missing: wall"):
        save(ledger, "ann", found, card, before=found, reflection=WORDS | {"wall": " "})
    save(ledger, "ann", found, card, before=found, reflection=WORDS)
    assert rounds(ledger, "ann") == 1
    assert locked(ledger, "ann", ACT_1) is None
    kept = list(ledger.entries(kind="decision", subject="chapter 16"))[-1].body["details"]
    assert kept["system_valid"] is False
    assert kept["act1_correct"] is False
    assert kept["plan"]["tiers"]["cloud"]["device"] == "h100"
    scores = {score.metric: score for score in ledger.score(predictor="ann")}
    assert scores["share_right"].n == 1
    assert report_card(ledger, "ann").guesses


def test_a_chapter_done_wrong_is_no_chapter_done_right():
    card = card_of({7: {"act1_correct": "yes", "constraint_hit": 1}})
    assert (card.right, card.hits) == (0, 0)
