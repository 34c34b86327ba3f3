"""Records kept as they come: a journal that a kill cannot spoil, and Parquet once the run is over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from reckoner.errors import DamagedError, InputError, MissingExtraError
from reckoner.files import write_atomic
from reckoner.measure.events import RequestRecord
from reckoner.measure.metrics import VERSION

JOURNAL, RECORDS, FACTS = "journal.msgpack", "records.parquet", "run.json"
_SIZE = 4


class Journal:
    """What was seen of each request, appended the moment it ended.

    Each entry is a length and so many bytes; a last one that is cut off is left out when it is read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / JOURNAL
        if self.path.exists() or (self.path.parent / RECORDS).exists():
            raise InputError(f"{folder} holds a run already; give a folder of its own")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(
                f"cannot write to {folder}: {error.strerror}; give a folder that can be written"
            ) from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; one write, so that a kill leaves it whole or not at all."""
        content = msgspec.msgpack.encode(entry)
        self._file.write(len(content).to_bytes(_SIZE, "little") + content)

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def read_journal(folder: str | Path) -> list[dict[str, Any]]:
    """Entries of a journal, oldest first; one that a kill cut off is left out.

    Raises
    ------
    InputError
        There is none.
    """
    path = Path(folder) / JOURNAL
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    found = []
    at = 0
    while at + _SIZE <= len(content):
        size = int.from_bytes(content[at : at + _SIZE], "little")
        part = content[at + _SIZE : at + _SIZE + size]
        if len(part) < size:
            break
        try:
            found.append(msgspec.msgpack.decode(part))
        except msgspec.DecodeError as error:
            raise DamagedError(f"{path}: entry {len(found)} is damaged ({error})") from error
        at += _SIZE + size
    return found


def write_records(folder: str | Path, records: Sequence[RequestRecord], facts: Mapping[str, Any]) -> list[Path]:
    """Write records and what was asked; the journal goes once both stand.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    """
    pa, pq = _arrow()
    rows: list[dict[str, Any]] = []
    for record in records:
        row = {f.name: getattr(record, f.name) for f in fields(record)}
        row["stamp_s"], row["kind"] = record.stamp_s.tolist(), record.kind.tolist()
        row["timings"] = json.dumps(dict(record.timings), sort_keys=True)
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=_schema(pa))
    table = table.replace_schema_metadata({"reckoner.metrics": VERSION})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    base = Path(folder)
    written = [write_atomic(base / RECORDS, sink.getvalue().to_pybytes())]
    written.append(write_atomic(base / FACTS, json.dumps(facts, indent=2, sort_keys=True, allow_nan=False) + "\n"))
    (base / JOURNAL).unlink(missing_ok=True)
    return written


def read_records(folder: str | Path) -> list[RequestRecord]:
    """Records of a run, from which every metric can be computed again.

    Raises
    ------
    InputError
        There are none.
    DamagedError
        The file cannot be read whole.
    MissingExtraError
        pyarrow is not installed.
    """
    pa, pq = _arrow()
    path = Path(folder) / RECORDS
    if not path.exists():
        raise InputError(f"{folder} holds no {RECORDS}; give a folder that `reckoner measure --save` wrote")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"{path} cannot be read: {error}; restore it or measure again") from error
    found = []
    for row in table.to_pylist():
        row["stamp_s"] = np.array(row["stamp_s"], dtype=np.float64)
        row["kind"] = np.array(row["kind"], dtype=np.int8)
        row["timings"] = json.loads(row["timings"])
        found.append(RequestRecord(**row))
    return found


def _schema(pa: Any) -> Any:
    number, whole, text = pa.float64(), pa.int64(), pa.string()
    kinds = {
        "float": number, "float | None": number, "int": whole, "int | None": whole, "str": text,
        "Floats": pa.list_(number), "NDArray[np.int8]": pa.list_(pa.int8()), "Mapping[str, float]": text,
    }  # fmt: skip
    return pa.schema([(f.name, kinds[str(f.type)]) for f in fields(RequestRecord)])


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "ledger") from error
    return pa, pq
