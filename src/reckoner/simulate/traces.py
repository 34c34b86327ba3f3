"""Traces as arrivals: CSV, JSON lines and Parquet, in the columns that public traces use."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError, MissingExtraError
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.lengths import Lengths, empirical
from reckoner.simulate.prefix import HASH_TOKENS, cached_blocks

COLUMNS = {
    "arrival": ("arrival_s", "arrived_at", "Timestamp", "TIMESTAMP", "timestamp"),
    "prompt": (
        "prompt_tokens", "input_tokens", "input_toks", "ContextTokens", "Request tokens", "input_length",
        "num_prefill_tokens",
    ),
    "output": (
        "output_tokens", "completion_tokens", "output_toks", "GeneratedTokens", "Response tokens", "output_length",
        "num_decode_tokens",
    ),
}  # fmt: skip
"""Names that public traces use: our own, Vidur, BurstGPT, Azure, Mooncake (whose ``timestamp`` is in milliseconds)."""

HASHES = "hash_ids"
"""Blocks of the prompt by content, as in Mooncake's traces: equal numbers are equal prefixes."""


def replay(path: str | Path, *, cache_blocks: int = 0, skip_empty: bool = False) -> Arrivals:
    """Requests of a trace file, from its first arrival on.

    Parameters
    ----------
    path : path
        ``.csv``, ``.jsonl`` or ``.parquet``.
    cache_blocks : int
        Blocks of :data:`~reckoner.simulate.prefix.HASH_TOKENS` tokens that a prefix cache holds, for traces with
        :data:`HASHES`; 0 for none.
    skip_empty : bool
        Leave requests without prompt or answer out instead of refusing the file; BurstGPT logs failures so.

    Raises
    ------
    InputError
        A column is missing (those found are named), the file holds nothing, or a row is not valid.
    MissingExtraError
        Parquet needs pyarrow.
    """
    file = Path(path)
    table = read_table(file)
    names = _named(file, table, tuple(COLUMNS))
    times = _seconds(file, table, names["arrival"])
    if times.min() < 0.0:
        row = int(np.argmax(times < 0.0))
        raise InputError(f"{file.name}, row {row + 1}: arrives at {times[row]:g} s; arrival times are seconds >= 0")
    prompt, output = (_tokens(file, table, names[kind]) for kind in ("prompt", "output"))
    keep = np.ones(len(times), bool)
    empty = (prompt < 1) | (output < 1)
    if skip_empty:
        keep = ~empty
    elif np.any(empty):
        row = int(np.argmax(empty))
        raise InputError(
            f"{file.name}, row {row + 1}: {prompt[row]:g} tokens in and {output[row]:g} out; "
            "requests have at least one of each, or skip them with skip_empty"
        )
    if not np.any(keep):
        raise InputError(f"{file.name} holds no request with tokens in and out")
    back = np.flatnonzero(np.diff(times) < 0.0)
    if back.size:
        row = int(back[0]) + 1
        raise InputError(f"{file.name}, row {row + 1}: arrives {times[row - 1] - times[row]:g} s before the row above")
    cached = None
    if cache_blocks > 0 and HASHES in table:
        hits = cached_blocks([_hashes(value) for value in table[HASHES]], cache_blocks)
        cached = np.minimum(hits * HASH_TOKENS, prompt - 1).astype(np.int32)[keep]
    times = times[keep]
    return Arrivals(
        arrival_s=times - times[0],
        prompt_tokens=prompt[keep].astype(np.int64),
        output_tokens=output[keep].astype(np.int64),
        cached_tokens=cached,
        name=file.name if keep.all() else f"{file.name} ({int(empty.sum()):,} empty requests left out)",
    )


def lengths_of(path: str | Path) -> Lengths:
    """Draw pairs of lengths from the rows of a file: a trace, or one that has lengths alone, such as ShareGPT's.

    Rows without prompt or answer are left out.

    Raises
    ------
    InputError
        A column is missing (those found are named), or no row has both.
    """
    file = Path(path)
    table = read_table(file)
    names = _named(file, table, ("prompt", "output"))
    prompt, output = (_tokens(file, table, names[kind]) for kind in ("prompt", "output"))
    keep = (prompt >= 1) & (output >= 1)
    if not np.any(keep):
        raise InputError(f"{file.name} holds no request with tokens in and out")
    return empirical(prompt[keep], output[keep])


def _named(file: Path, table: dict[str, Sequence[Any]], kinds: Sequence[str]) -> dict[str, str]:
    """Columns of the kinds asked for, by any of their names."""
    if not table or not len(next(iter(table.values()))):
        raise InputError(f"{file.name} holds no requests; a trace has one row a request")
    names = {kind: next((name for name in COLUMNS[kind] if name in table), "") for kind in kinds}
    missing = [kind for kind, name in names.items() if not name]
    if missing:
        wanted = "; ".join(f"{kind}: {' or '.join(COLUMNS[kind])}" for kind in missing)
        raise InputError(f"{file.name} has no column for {', '.join(missing)}; found {', '.join(table)}; need {wanted}")
    return names


def read_table(file: Path) -> dict[str, Sequence[Any]]:
    """Columns of a ``.csv``, ``.jsonl`` or ``.parquet`` file."""
    if not file.is_file():
        raise InputError(f"there is no file {str(file)!r}; give a trace as .csv, .jsonl or .parquet")
    if file.suffix == ".parquet":
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError.of("pyarrow", "ledger") from error
        try:
            read = parquet.read_table(file)
        except pa.ArrowInvalid as error:
            raise InputError(f"{file.name} is no Parquet file: {error}") from error
        return {name: read.column(name).to_pylist() for name in read.column_names}
    if file.suffix == ".csv":
        try:
            rows = list(csv.reader(io.StringIO(_text(file))))
        except csv.Error as error:
            raise InputError(f"{file.name} is no CSV file: {error}") from error
        if not rows:
            return {}
        short = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
        if short is not None:
            raise InputError(f"{file.name}, line {short + 1}: {len(rows[short])} fields under {len(rows[0])} columns")
        return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}
    if file.suffix in (".jsonl", ".ndjson"):
        return _json_lines(file)
    raise InputError(f"{file.name} is a {file.suffix or 'nameless'} file; traces are .csv, .jsonl or .parquet")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name}: byte {error.start} is no UTF-8; save the trace as UTF-8") from error


def _json_lines(file: Path) -> dict[str, Sequence[Any]]:
    table: dict[str, list[Any]] = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{file.name}, line {number}: {error.msg}; each line is one JSON object") from error
        if not isinstance(row, dict):
            raise InputError(f"{file.name}, line {number}: {type(row).__name__}; each line is one JSON object")
        table = table or {name: [] for name in row}
        for name, values in table.items():
            if name not in row:
                raise InputError(f"{file.name}, line {number}: no {name}; every line has the same fields")
            values.append(row[name])
    return dict(table)


def _tokens(file: Path, table: dict[str, Sequence[Any]], name: str) -> NDArray[np.float64]:
    try:
        values = np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{file.name}: {name} holds something that is no number: {error}") from error
    if values.ndim != 1:
        raise InputError(f"{file.name}: {name} holds lists; give one number a row")
    bad = ~np.isfinite(values) | (values < 0.0)
    if np.any(bad):
        row = int(np.argmax(bad))
        raise InputError(f"{file.name}, row {row + 1}: {name} is {values[row]}; token counts are whole numbers")
    return values


def _seconds(file: Path, table: dict[str, Sequence[Any]], name: str) -> NDArray[np.float64]:
    raw = table[name]
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array([_moment(file, row, str(text)) for row, text in enumerate(raw, start=1)])
    if values.ndim != 1:
        raise InputError(f"{file.name}: {name} holds lists; give one time a row")
    if not np.all(np.isfinite(values)):
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"{file.name}, row {row + 1}: {name} is {raw[row]!r}; give seconds or a date and time")
    return values / 1e3 if name == "timestamp" and "input_length" in table else values


def _moment(file: Path, row: int, text: str) -> float:
    head, dot, fraction = text.partition(".")
    try:  # Azure writes seven digits of a second, one more than datetime reads
        return datetime.fromisoformat(head + "+00:00").timestamp() + (float(f"0.{fraction}") if dot else 0.0)
    except ValueError as error:
        raise InputError(f"{file.name}, row {row}: {text!r} is neither seconds nor a date and time") from error


def _hashes(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.strip("[]").replace(",", " ").split()
    return [str(part) for part in value]
