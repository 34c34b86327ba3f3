"""Whether a ledger is what was written: every entry rehashed, every link followed, every fault named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reckoner.errors import DamagedError
from reckoner.ledger.entries import GENESIS, Id, chain_hash
from reckoner.ledger.ledger import Ledger
from reckoner.ledger.segments import COLUMNS, read_segment, sealed_upto, segments

_SHOWN = 20  # problems listed in full; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a check found."""

    checked: int
    sealed: int
    head: Id
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "ok": self.ok,
            "checked": self.checked,
            "sealed": self.sealed,
            "head": {"seq": self.head.seq, "hash": self.head.hash},
            "problems": list(self.problems),
        }


def verify(ledger: Ledger, *, anchor: Id | None = None) -> Verification:
    """Rehash the whole chain, sealed segments included.

    Parameters
    ----------
    anchor : Id, optional
        Number and hash (or its first digits) of an entry, written down elsewhere. Someone who can write the database
        can rewrite the whole chain consistently, or cut off its end; only an anchor shows that.

    Notes
    -----
    Each fault is named by its entry: content that does not match its hash, a link that does not continue the entry
    before, entries that are missing, columns that contradict the content.
    """
    problems = list(_database(ledger))
    checked, expected, prev = 0, 1, GENESIS
    anchored = anchor is None
    for row in _rows(ledger, problems):
        if isinstance(row, int):  # a segment that could not be read: go on after it
            expected, prev = row + 1, ""
            continue
        checked += 1
        seq = row["seq"]
        if seq < expected:
            problems.append(f"entry {seq} stands where entry {expected} is due: out of order or doubled")
            continue
        if seq > expected:
            gone = f"entry {expected} is" if seq == expected + 1 else f"entries {expected} to {seq - 1} are"
            problems.append(f"{gone} missing: deleted")
        elif prev and row["prev"] != prev:
            problems.append(f"entry {seq} does not continue entry {seq - 1}: one of the two was replaced")
        problems.extend(_faults(row))
        if anchor is not None and seq == anchor.seq:
            anchored = True
            if not row["hash"].startswith(anchor.hash):
                problems.append(
                    f"entry {seq} has hash {row['hash'][:12]}, the anchor says {anchor.hash[:12]}: rewritten"
                )
        expected, prev = seq + 1, row["hash"]
    if not anchored and anchor is not None:
        problems.append(f"entry {anchor.seq} of the anchor is not there: the end was cut off")
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"and {len(problems) - _SHOWN} more"]
    return Verification(checked=checked, sealed=sealed_upto(ledger), head=ledger.head(), problems=tuple(problems))


def _rows(ledger: Ledger, problems: list[str]) -> Iterator[dict[str, Any] | int]:
    """Rows in chain order; an unreadable segment yields the number of its last entry."""
    upto = sealed_upto(ledger)
    for segment in segments(ledger):
        try:
            yield from read_segment(ledger, segment)
        except DamagedError as error:
            problems.append(str(error))
            yield segment.last
    sql = f"SELECT {', '.join(COLUMNS)} FROM entries WHERE seq > ? ORDER BY seq"
    for row in ledger.store.rows(sql, (upto,)):
        yield dict(zip(COLUMNS, row, strict=True))
    for row in ledger.store.rows(sql.replace("seq > ?", "seq <= ?"), (upto,)):
        # live copies of sealed entries: their place was checked in the segment, their content is checked here
        problems.extend(_faults(dict(zip(COLUMNS, row, strict=True))))


def _faults(row: dict[str, Any]) -> Iterator[str]:
    seq = row["seq"]
    if chain_hash(row["prev"], row["body"]) != row["hash"]:
        yield f"entry {seq} does not match its hash: its content was changed"
        return
    body = json.loads(row["body"])
    for column in ("seq", "kind", "subject", "predictor", "at"):
        if row[column] != body.get(column):
            yield f"entry {seq}: column {column} says {row[column]!r}, the entry itself {body.get(column)!r}"


def _database(ledger: Ledger) -> Iterator[str]:
    if ledger.store.dialect == "sqlite":
        for (line,) in ledger.store.rows("PRAGMA quick_check(5)"):
            if line != "ok":
                yield f"database: {line}"
