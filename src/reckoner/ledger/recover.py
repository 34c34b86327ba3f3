"""A damaged ledger file: moved aside untouched, every whole entry carried into a new one."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reckoner.errors import InputError, ReckonerError
from reckoner.files import sha256_file, write_atomic
from reckoner.ledger.entries import RawEntry, canonical, chain_hash
from reckoner.ledger.ledger import INSERT, Ledger
from reckoner.ledger.segments import COLUMNS
from reckoner.ledger.stores import Execute, Row
from reckoner.ledger.verify import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What became of a damaged ledger."""

    quarantined: Path
    kept: int
    beyond: int
    rest: Path | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "quarantined": str(self.quarantined),
            "kept": self.kept,
            "beyond": self.beyond,
            "rest": None if self.rest is None else str(self.rest),
        }


def recover(path: str | Path) -> Recovery:
    """Move a damaged SQLite ledger aside and carry its unbroken chain into a new one at the same path.

    Whole entries beyond the first break cannot continue the chain; they are written as JSONL beside the damaged file.

    Raises
    ------
    InputError
        There is no such file, or it is sound: then nothing is done.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"no ledger at {source}; check the path")
    if _is_sound(source):
        raise InputError(f"{source} is sound; nothing to recover")
    quarantined = source.with_name(f"{source.name}.damaged-{sha256_file(source)[:8]}")
    if quarantined.exists():
        raise InputError(f"{quarantined} exists already; move it elsewhere first, it may be the only copy")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "ledger.db"
        for suffix in ("", "-wal"):
            if (part := source.with_name(source.name + suffix)).exists():
                shutil.copyfile(part, copy.with_name(copy.name + suffix))
        rows = _readable(copy)
    for suffix in ("-wal", "-shm", ""):
        part = source.with_name(source.name + suffix)
        if part.exists():
            part.rename(quarantined.with_name(quarantined.name + suffix))
    whole, beyond = _split(rows)
    with Ledger.open(source) as ledger, ledger.store.write() as execute:
        for row in whole:
            execute(INSERT, row)
        _seal_again(ledger, execute, whole, beyond)
    rest = None
    if beyond:
        rest = quarantined.with_name(quarantined.name + ".rest.jsonl")
        lines = [canonical(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in beyond]
        write_atomic(rest, "".join(lines))
    return Recovery(quarantined=quarantined, kept=len(whole), beyond=len(beyond), rest=rest)


def _seal_again(ledger: Ledger, execute: Execute, whole: list[Row], beyond: list[Row]) -> None:
    """Carry the seals over: those beyond the break are written once more, or their segments would be lost."""
    bodies = {row[0]: json.loads(row[7])["body"] for row in (*whole, *beyond) if row[1] == "seal"}
    if not bodies:
        return
    newest = max(bodies.values(), key=lambda body: int(body["last"]))
    execute("UPDATE sealed SET upto = ?", (newest["last"],))
    head = (whole[-1][0], whole[-1][6]) if whole and whole[-1][0] > newest["last"] else (newest["last"], newest["hash"])
    lost = [bodies[row[0]] for row in beyond if row[1] == "seal"]
    again = [RawEntry(kind="seal", subject=f"entries {body['first']} to {body['last']}", body=body) for body in lost]
    ledger.append(execute, [entry.content() for entry in again], head=head)


def _is_sound(path: Path) -> bool:
    try:
        with Ledger.open(path, create=False) as ledger:
            return verify(ledger).ok
    except InputError:
        raise  # another program's database, or a newer ledger: no damage
    except ReckonerError:
        return False


def _readable(path: Path) -> list[Row]:
    """Every row that can still be read, stepping over pages that cannot."""
    rows: list[Row] = []
    last, step = 0, 0
    with closing(sqlite3.connect(path)) as connection:
        with contextlib.suppress(sqlite3.DatabaseError):
            # without it SQLite refuses a file that was cut off as a whole; the file is our copy
            connection.execute("PRAGMA writable_schema = ON")
        for _ in range(48):  # each failure doubles the step: 48 reach past any number of rows that a disk can hold
            try:
                sql = f"SELECT {', '.join(COLUMNS)} FROM entries NOT INDEXED WHERE seq > ? ORDER BY seq"
                for row in connection.execute(sql, (last,)):
                    rows.append(row)
                    last, step = row[0], 0
                break
            except sqlite3.DatabaseError:
                step = max(1, 2 * step)
                last += step
    return rows


def _split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows that make one chain (live copies of sealed entries before it), and whole rows beyond its first break."""
    whole: list[Row] = []
    beyond: list[Row] = []
    upto = max((_sealed_by(row) for row in rows), default=0)
    prev: str | None = None
    expected = upto + 1
    for row in rows:
        if not isinstance(row[5], str) or not isinstance(row[7], str) or chain_hash(row[5], row[7]) != row[6]:
            continue  # not whole: stays in the quarantined file
        if row[0] <= upto:
            whole.append(row)
        elif row[0] == expected and prev in (None, row[5]) and not beyond:
            whole.append(row)
            expected, prev = row[0] + 1, row[6]
        else:
            beyond.append(row)
    return whole, beyond


def _sealed_by(row: Row) -> int:
    if row[1] != "seal" or not isinstance(row[5], str) or chain_hash(row[5], row[7]) != row[6]:
        return 0
    return int(json.loads(row[7])["body"]["last"])
