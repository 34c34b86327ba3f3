"""Ledgers in and out: JSONL that keeps every hash, and the two files of the seed's world."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, InputError
from reckoner.files import read_json
from reckoner.ledger.entries import DecisionEntry, Id, RawEntry, canonical, chain_hash
from reckoner.ledger.ledger import INSERT, Ledger
from reckoner.ledger.segments import history

SEED_LEDGER = "mlsys-ledger"
SEED_CALIBRATOR = "nexus-calibrator"


def export_lines(ledger: Ledger) -> Iterator[str]:
    """Every entry, sealed ones included, as one canonical JSON line: same ledger, same bytes."""
    for kept in history(ledger):
        yield canonical({"entry": kept.body, "hash": kept.id.hash, "prev": kept.prev}) + "\n"


def import_lines(ledger: Ledger, path: str | Path) -> int:
    """Read an export into a new ledger, or the continuation of one into it; all of it or nothing.

    Returns
    -------
    int
        Entries added; those that are here already are skipped.

    Raises
    ------
    DamagedError
        A line is no entry, or its hash or its link does not fit; the message names the line.
    InputError
        The file is another ledger's: it shares no history with this one.
    """
    source = Path(path)
    added = 0
    try:
        with source.open(encoding="utf-8") as lines, ledger.store.write() as execute:
            found = execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")
            seq, prev = (int(found[0][0]), str(found[0][1])) if found else (0, "0" * 64)
            sealed = int(execute("SELECT upto FROM sealed")[0][0])
            for number, line in enumerate(lines, 1):
                row = _read_line(source, number, line)
                if row[0] <= seq:
                    here = execute("SELECT hash FROM entries WHERE seq = ?", (row[0],))
                    if row[0] > sealed and (not here or here[0][0] != row[6]):
                        raise InputError(
                            f"{source}, line {number}: entry {row[0]} is not this ledger's; "
                            "import another ledger's export into a new ledger"
                        )
                    continue
                if row[0] != seq + 1 or row[5] != prev:
                    raise DamagedError(
                        f"{source}, line {number}: entry {row[0]} does not continue entry {seq}; nothing was imported"
                    )
                execute(INSERT, row)
                seq, prev = row[0], row[6]
                added += 1
    except FileNotFoundError as error:
        raise InputError(f"no file {source}; check the path") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{source}: {error}; the file is damaged, nothing was imported") from error
    return added


def _read_line(source: Path, number: int, line: str) -> tuple[Any, ...]:
    try:
        told = json.loads(line)
        entry, found, prev = told["entry"], told["hash"], told["prev"]
        body = canonical(entry)
        row = (entry["seq"], entry["kind"], entry["subject"], entry.get("predictor"), entry["at"], prev, found, body)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{source}, line {number}: no entry ({error}); the file is cut off or damaged, nothing was imported"
        ) from error
    if not isinstance(prev, str) or chain_hash(prev, body) != found:
        raise DamagedError(
            f"{source}, line {number}: entry {entry['seq']} does not match its hash; nothing was imported"
        )
    return row


def import_seed_ledger(ledger: Ledger, path: str | Path) -> list[Id]:
    """Take over ``~/.mlsys/ledger.json``: the document as it stands, and each chapter's design as a decision.

    Raises
    ------
    InputError
        The file is no such ledger, or it is here already.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("history"), list):
        raise InputError(
            f"{path}: no 'history' list; a seed ledger is {{track, current_chapter, history, last_updated}}"
        )
    entries: list[RawEntry | DecisionEntry] = [_whole(ledger, SEED_LEDGER, document, path)]
    for index, item in enumerate(document["history"]):
        if not isinstance(item, dict) or not isinstance(item.get("design"), dict) or "chapter" not in item:
            raise InputError(f"{path}: history[{index}] is {item!r:.80}; each is {{chapter, design}}")
        entries.append(
            DecisionEntry(
                subject=f"chapter {item['chapter']}",
                choice="design",
                because="imported from the seed's ledger",
                details=item["design"],
            )
        )
    return ledger.record_many(entries)


def import_seed_calibrator(ledger: Ledger, path: str | Path) -> Id:
    """Take over ``~/.nexus/calibrator_state.json`` (version 1) as it stands.

    Raises
    ------
    InputError
        The file is no such state, its version is not 1, or it is here already.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("models"), list):
        raise InputError(f"{path}: no 'models' list; a calibrator state is {{version, saved_at, models}}")
    if document.get("version") != 1:
        raise InputError(f"{path}: version is {document.get('version')!r}; this reckoner reads the seed's version 1")
    return ledger.record(_whole(ledger, SEED_CALIBRATOR, document, path))


def imported(ledger: Ledger, kind: str) -> list[Any]:
    """Documents taken over, oldest first, equal to the files that they came from."""
    return [kept.body["body"]["document"] for kept in ledger.entries(kind="import", subject=kind)]


def _whole(ledger: Ledger, kind: str, document: Any, path: str | Path) -> RawEntry:
    if document in imported(ledger, kind):
        raise InputError(f"{path}: this very {kind} is in the ledger already; nothing was done twice")
    return RawEntry(kind="import", subject=kind, body={"document": document})
