"""Retention: old entries sealed into Parquet files, their statistics kept in the chain."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reckoner.errors import DamagedError, InputError, MissingExtraError
from reckoner.files import sha256, sha256_file, write_atomic
from reckoner.ledger.entries import Id, RawEntry
from reckoner.ledger.ledger import Kept, Ledger, score_pairs
from reckoner.ledger.scores import hour_of

COLUMNS = ("seq", "kind", "subject", "predictor", "at", "prev", "hash", "body")
_ROWS = 200_000  # rows a file, an assumption: some 50 MB in memory while one is written
# Entries that sealing takes out of the database: outcomes, and predictions that have met theirs. The rest is small or
# still needed, and stays as a live copy.
_DELETE = """
DELETE FROM entries WHERE seq BETWEEN ? AND ? AND (kind = 'observation' OR (kind = 'prediction' AND EXISTS (
    SELECT 1 FROM entries o WHERE o.subject = entries.subject AND o.kind = 'observation'
    AND o.seq > entries.seq AND o.seq <= ?)))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One sealed file, as its seal in the chain describes it."""

    first: int
    last: int
    prev: str
    hash: str
    file: str
    sha256: str
    rows: int


def sealed_upto(ledger: Ledger) -> int:
    """Number of the last sealed entry; 0 when nothing is sealed."""
    return int(next(iter(ledger.store.rows("SELECT upto FROM sealed")))[0])


def segments(ledger: Ledger) -> list[Segment]:
    """Every sealed segment, oldest first."""
    found = []
    for kept in ledger.entries(kind="seal"):
        told = kept.body["body"]
        found.append(Segment(**{part: told[part] for part in Segment.__slots__}))
    return sorted(found, key=lambda segment: segment.first)


def seal(ledger: Ledger, *, before: str | None = None, upto: int | None = None) -> list[Segment]:
    """Move old entries into Parquet segments, leaving their statistics in the chain.

    Parameters
    ----------
    before : str, optional
        UTC time stamp or the beginning of one (``"2026-10"``): seal the longest run of entries older than it.
    upto : int, optional
        Number of the last entry to seal; by default all that ``before`` allows.

    Returns
    -------
    list of Segment
        The new segments; empty when there was nothing to seal. Files are written and read back before a row is
        deleted, so that a crash at any moment loses nothing.
    """
    made: list[Segment] = []
    done = sealed_upto(ledger)
    last = len(ledger) if upto is None else min(upto, len(ledger))
    if before is not None:
        newer = ledger.store.rows("SELECT min(seq) FROM entries WHERE seq > ? AND at >= ?", (done, before))
        first_newer = next(iter(newer))[0]
        last = last if first_newer is None else min(last, int(first_newer) - 1)
    while done < last:
        end = min(done + _ROWS, last)
        made.append(_seal_range(ledger, done + 1, end))
        done = end
    return made


def history(ledger: Ledger, *, after: int = 0) -> Iterator[Kept]:
    """Stream all entries, sealed ones included, oldest first.

    Raises
    ------
    DamagedError
        A segment is missing or is not the file that was sealed.
    """
    done = sealed_upto(ledger)
    if after < done:
        for segment in segments(ledger):
            if segment.last > after:
                for row in read_segment(ledger, segment):
                    if row["seq"] > after:
                        body = json.loads(row["body"])
                        yield Kept(id=Id(row["seq"], row["hash"]), at=row["at"], prev=row["prev"], body=body)
    yield from ledger.entries(after=max(after, done))


def read_segment(ledger: Ledger, segment: Segment) -> list[dict[str, Any]]:
    """Rows of a segment, after checking that it is the very file that was sealed."""
    path = ledger.segments / segment.file
    if not path.exists():
        raise DamagedError(
            f"segment {path} is missing, entries {segment.first} to {segment.last} are in it; restore it from a backup"
        )
    found = sha256_file(path)
    if found != segment.sha256:
        raise DamagedError(
            f"segment {path} has SHA-256 {found[:12]}, sealed was {segment.sha256[:12]}; restore it from a backup"
        )
    rows: list[dict[str, Any]] = _parquet().read_table(path).to_pylist()
    return rows


def _seal_range(ledger: Ledger, first: int, last: int) -> Segment:
    sql = f"SELECT {', '.join(COLUMNS)} FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
    rows = list(ledger.store.rows(sql, (first, last)))
    if [row[0] for row in rows] != list(range(first, last + 1)):
        raise DamagedError(
            f"ledger {ledger.store.shown}: entries {first} to {last} are not all there; run 'reckoner ledger verify'"
        )
    content = _to_parquet(rows)
    file = f"{first:012d}-{last:012d}-{rows[-1][6][:12]}.parquet"
    segment = Segment(
        first=first,
        last=last,
        prev=rows[0][5],
        hash=rows[-1][6],
        file=file,
        sha256=sha256(content),
        rows=len(rows),
    )
    write_atomic(ledger.segments / file, content)
    if [tuple(row.values()) for row in read_segment(ledger, segment)] != [tuple(row) for row in rows]:
        raise DamagedError(
            f"segment {ledger.segments / file} does not read back as it was written; nothing was deleted"
        )
    body = {
        **{part: getattr(segment, part) for part in Segment.__slots__},
        "scores": score_pairs(ledger.pairs(after=first - 1, upto=last)).rows(),
        "requests": _requests(rows),
    }
    entry = RawEntry(kind="seal", subject=f"entries {first} to {last}", body=body)
    with ledger.store.write() as execute:
        if int(execute("SELECT upto FROM sealed")[0][0]) != first - 1:
            raise InputError("another process has sealed these entries meanwhile; nothing was done twice")
        execute("UPDATE sealed SET upto = ?", (last,))
        execute(_DELETE, (first, last, last))
        ledger.append(execute, [entry.content()])
    ledger.store.shrink()
    return segment


def _requests(rows: list[Any]) -> list[dict[str, Any]]:
    """Additive (model, hour) statistics of the outcomes in a segment."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row[1] != "observation":
            continue
        body = json.loads(row[7])
        model = body["inputs"].get("model")
        key = (model if isinstance(model, str) else "-", hour_of(row[4]))
        group = sums.setdefault(key, {"n": 0})
        group["n"] += 1
        for part in ("prompt_tokens", "completion_tokens"):
            if part in body["inputs"]:
                group[part] = group.get(part, 0) + body["inputs"][part]
        for metric, value in body["figures"].items():
            group[f"sum_{metric}"] = group.get(f"sum_{metric}", 0.0) + value
    return [{"model": model, "hour": hour, **sums[model, hour]} for model, hour in sorted(sums)]


def _to_parquet(rows: list[Any]) -> bytes:
    parquet = _parquet()
    import pyarrow as pa

    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {
            name: pa.array(values, type=pa.int64() if name == "seq" else pa.string())
            for name, values in zip(COLUMNS, columns, strict=True)
        }
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "ledger") from error
    return parquet
