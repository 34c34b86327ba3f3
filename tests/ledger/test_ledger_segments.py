import json

import pytest

from reckoner.errors import DamagedError, InputError, ReckonerError
from reckoner.ledger import Id, request
from reckoner.ledger import segments as segments_module
from reckoner.ledger.exchange import (
    SEED_CALIBRATOR,
    SEED_LEDGER,
    export_lines,
    import_lines,
    import_seed_calibrator,
    import_seed_ledger,
    imported,
)
from reckoner.ledger.ledger import Ledger
from reckoner.ledger.migrations import LATEST, migrate, version
from reckoner.ledger.segments import history, seal
from reckoner.ledger.verify import verify


def fill(ledger, n=30):
    for i in range(n):
        ledger.predict(f"r{i}", "physics", {"e2e_s": 1.0 + i})
        if i % 5:
            ledger.record(request(f"r{i}", model=f"m{i % 2}", prompt_tokens=i, completion_tokens=2 * i, e2e_s=2.0 + i))
    ledger.decide("fleet", "one", because="enough")


def test_sealing_changes_no_score_and_no_history(ledger, monkeypatch):
    fill(ledger)
    before, entries = ledger.score(by_model=True), list(history(ledger))
    lines = "".join(export_lines(ledger))
    monkeypatch.setattr(segments_module, "_ROWS", 20)

    made = seal(ledger, upto=45)

    assert [(segment.first, segment.last) for segment in made] == [(1, 20), (21, 40), (41, 45)]
    assert ledger.score(by_model=True) == before
    assert list(history(ledger))[: len(entries)] == entries
    assert "".join(export_lines(ledger)).startswith(lines)
    assert verify(ledger).ok
    assert len(list(ledger.entries(kind="observation"))) < 24


def test_a_prediction_sealed_before_its_outcome_is_scored_when_it_comes(ledger):
    ledger.predict("open", "ann", {"e2e_s": 2.0})
    ledger.predict("met", "ann", {"e2e_s": 2.0})
    ledger.observe("met", {"e2e_s": 2.0})
    seal(ledger)
    ledger.observe("open", {"e2e_s": 4.0})

    (score,) = ledger.score()

    assert (score.n, score.mean_ape) == (2, 0.25)
    assert [pair.subject for pair in ledger.pairs()] == ["open"]


def test_a_seal_keeps_sums_by_model_and_hour(ledger):
    fill(ledger, 10)
    seal(ledger)
    (kept,) = ledger.entries(kind="seal")

    rows = kept.body["body"]["requests"]
    assert [(row["model"], row["n"]) for row in rows] == [("m0", 4), ("m1", 4)]
    assert sum(row["prompt_tokens"] for row in rows) == sum(i for i in range(10) if i % 5)


def test_sealing_again_and_sealing_nothing_do_no_harm(ledger):
    assert seal(ledger) == []
    fill(ledger, 6)
    assert len(seal(ledger)) == 1
    again = seal(ledger)  # the first seal's own entry
    assert len(again) == 1
    assert verify(ledger).ok
    assert seal(ledger, before="2000") == []


def test_a_changed_or_missing_segment_is_named(ledger):
    fill(ledger, 6)
    (made,) = seal(ledger)
    path = ledger.segments / made.file
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"x" + content[-8:])
    assert [made.file in problem for problem in verify(ledger).problems] == [True]
    with pytest.raises(DamagedError, match="SHA-256"):
        list(history(ledger))

    path.unlink()
    (problem,) = verify(ledger).problems
    assert "is missing, entries 1 to" in problem


def test_an_entry_cannot_be_changed_or_deleted_through_the_database(ledger):
    fill(ledger, 3)
    for sql in ("UPDATE entries SET body = '{}'", "DELETE FROM entries WHERE seq = 2"):
        with pytest.raises(ReckonerError, match="append"), ledger.store.write() as execute:
            execute(sql)
    assert verify(ledger).ok


def tamper(ledger, *statements):
    """Change rows as someone with full rights could."""
    with ledger.store.write() as execute:
        if ledger.store.dialect == "sqlite":
            execute("DROP TRIGGER entries_no_update")
            execute("DROP TRIGGER entries_no_delete")
        else:
            execute("ALTER TABLE entries DISABLE TRIGGER entries_append_only")
        for sql in statements:
            execute(sql)


def test_a_tampered_entry_is_named(ledger):
    fill(ledger, 6)
    tamper(ledger, "UPDATE entries SET body = replace(body, '1.0', '9.0') WHERE seq = 1")

    assert verify(ledger).problems == ("entry 1 does not match its hash: its content was changed",)


def test_a_deleted_entry_is_named(ledger):
    fill(ledger, 6)
    tamper(ledger, "DELETE FROM entries WHERE seq = 3")

    assert verify(ledger).problems == ("entry 3 is missing: deleted",)


def test_a_column_that_contradicts_its_entry_is_named(ledger):
    fill(ledger, 6)
    tamper(ledger, "UPDATE entries SET subject = 'other' WHERE seq = 2")

    (problem,) = verify(ledger).problems
    assert problem.startswith("entry 2: column subject says 'other'")


def test_an_entry_replaced_with_a_fitting_hash_breaks_the_link(ledger):
    from reckoner.ledger.entries import chain_hash

    fill(ledger, 6)
    second = list(ledger.entries())[1]
    body = json.dumps({**second.body, "subject": "forged"}, sort_keys=True, separators=(",", ":"))
    forged = chain_hash(second.prev, body)
    tamper(ledger, f"UPDATE entries SET body = '{body}', hash = '{forged}', subject = 'forged' WHERE seq = 2")

    assert verify(ledger).problems == ("entry 3 does not continue entry 2: one of the two was replaced",)


def test_only_an_anchor_shows_that_the_end_was_cut_off(ledger):
    fill(ledger, 6)
    anchor = ledger.head()
    tamper(ledger, f"DELETE FROM entries WHERE seq >= {anchor.seq - 1}")

    assert verify(ledger).ok
    assert verify(ledger, anchor=anchor).problems == (
        f"entry {anchor.seq} of the anchor is not there: the end was cut off",
    )
    (problem,) = verify(ledger, anchor=Id(1, "ff")).problems
    assert problem.startswith("entry 1 has hash")


def test_an_export_is_read_back_with_every_hash(ledger, tmp_path):
    fill(ledger, 6)
    text = "".join(export_lines(ledger))
    (tmp_path / "x.jsonl").write_text(text)
    with Ledger.open(tmp_path / "other.db") as other:
        assert import_lines(other, tmp_path / "x.jsonl") == len(ledger)
        assert "".join(export_lines(other)) == text
        assert verify(other, anchor=ledger.head()).ok
        assert import_lines(other, tmp_path / "x.jsonl") == 0

        ledger.observe("later", {"e2e_s": 1})
        (tmp_path / "x.jsonl").write_text("".join(export_lines(ledger)))
        assert import_lines(other, tmp_path / "x.jsonl") == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2 - 9], "line 3: no entry"),
        (lambda text: text.replace('"value":2.0', '"value":7.0', 1), "line 2: entry 2 does not match"),
        (lambda text: text.split("\n", 1)[1], "line 1: entry 2 does not continue entry 0"),
        (lambda text: "null\n" + text, "line 1: no entry"),
    ],
)
def test_a_damaged_export_is_refused_whole(tmp_path, damage, message):
    with Ledger.open(tmp_path / "a.db") as ledger, Ledger.open(tmp_path / "b.db") as other:
        for i in range(6):
            ledger.predict(f"r{i}", "physics", {"e2e_s": 1.0 + i})
        (tmp_path / "x.jsonl").write_text(damage("".join(export_lines(ledger))))
        with pytest.raises(DamagedError, match=message):
            import_lines(other, tmp_path / "x.jsonl")
        assert len(other) == 0


def test_another_ledgers_export_is_refused(tmp_path):
    with Ledger.open(tmp_path / "a.db") as ledger, Ledger.open(tmp_path / "b.db") as other:
        fill(ledger, 3)
        fill(other, 3)
        (tmp_path / "x.jsonl").write_text("".join(export_lines(ledger)))
        with pytest.raises(InputError, match="line 1: entry 1 is not this ledger's"):
            import_lines(other, tmp_path / "x.jsonl")


def test_the_seeds_ledger_is_taken_over_without_loss(ledger, tmp_path):
    document = {
        "track": "cloud",
        "current_chapter": 16,
        "history": [
            {"chapter": 5, "design": {"context": "edge", "act1_correct": True, "p99_latency_ms": 12.5}},
            {"chapter": 16, "design": {"context": "all", "constraint_hit": False, "notes": None}},
        ],
        "last_updated": "2026-03-02T10:00:00",
    }
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(document))
    import_seed_ledger(ledger, path)

    assert imported(ledger, SEED_LEDGER) == [document]
    decisions = [kept.entry for kept in ledger.entries(kind="decision")]
    assert [(entry.subject, dict(entry.details)) for entry in decisions] == [
        (f"chapter {item['chapter']}", item["design"]) for item in document["history"]
    ]
    with pytest.raises(InputError, match="already"):
        import_seed_ledger(ledger, path)


def test_the_seeds_calibrator_state_is_taken_over_without_loss(ledger, tmp_path):
    document = {"version": 1, "saved_at": 1.5, "models": [{"model": "timmy:q4", "sample_count": 3, "alpha": 0.15}]}
    path = tmp_path / "state.json"
    path.write_text(json.dumps(document))
    import_seed_calibrator(ledger, path)

    assert imported(ledger, SEED_CALIBRATOR) == [document]
    path.write_text(json.dumps({**document, "version": 2}))
    with pytest.raises(InputError, match="version is 2"):
        import_seed_calibrator(ledger, path)


def test_migrations_lead_forward_and_back(open_ledger):
    ledger = open_ledger()
    assert len(migrate(ledger.store, 0)) == LATEST
    assert len(migrate(ledger.store)) == LATEST
    fill(ledger, 3)
    assert migrate(ledger.store, 1)[-1] == "subjects and kinds are found fast"
    with pytest.raises(InputError, match="export them"):
        migrate(ledger.store, 0)
    again = open_ledger()
    with again.store.write() as execute:
        assert version(execute) == LATEST
    assert verify(again).ok


def test_sealed_segments_forbid_the_way_back(ledger):
    fill(ledger, 3)
    seal(ledger)
    with pytest.raises(InputError, match="sealed segments"):
        migrate(ledger.store, 1)
    assert verify(ledger).ok


def test_a_ledger_of_a_newer_reckoner_is_left_alone(open_ledger):
    ledger = open_ledger()
    fill(ledger, 3)
    with ledger.store.write() as execute:
        execute("UPDATE reckoner_schema SET version = 99")
    with pytest.raises(InputError, match=r"schema version 99.*upgrade. Nothing was changed"):
        open_ledger()
    assert len(ledger) == len(list(ledger.entries()))
