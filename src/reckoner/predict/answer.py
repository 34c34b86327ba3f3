"""Predictions for a file of items, of networks or of runs: every row gets one, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reckoner.errors import InputError
from reckoner.predict import learned, networks
from reckoner.predict.rows import Column, build, read_csv
from reckoner.predict.silicon import as_items, is_silicon


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row's prediction and its 90 % interval, in the unit of its kind."""

    item: str
    predicted: float
    low: float
    high: float


def answer(path: str | Path) -> list[Answer]:
    """Answer each row of a CSV file; the header tells which of the three schemas it has.

    Raises
    ------
    InputError
        The file is unreadable, holds no rows, or has a header of none of the schemas.
    """
    raw = read_csv(path)
    if not raw:
        raise InputError(f"{path} holds no rows; give a CSV file with a header and at least one item")
    return answer_raw(raw, str(path))


def answer_raw(raw: Sequence[Mapping[str, str]], name: str = "items") -> list[Answer]:
    """Answer rows that are already read; see :func:`answer`."""
    columns = list(raw[0])
    if is_silicon(columns):
        return _items(as_items(raw))
    if networks.is_networks(columns):
        return _answers(raw, *networks.answer(raw))
    if "kind" not in columns:
        raise InputError(f"{name}: no column 'kind'; use the schema of validation/README.md (items, networks or runs)")
    return _items(raw)


def _items(raw: Sequence[Mapping[str, str]]) -> list[Answer]:
    rows = build(raw)
    found = learned.answer_rows(rows, learned.packaged())
    return _answers(raw, found.log, found.half_width)


def _answers(raw: Sequence[Mapping[str, str]], log: Column, half_width: Column) -> list[Answer]:
    names = [row.get("item") or row.get("run_id") or str(i) for i, row in enumerate(raw)]
    columns = zip(names, np.exp(log), np.exp(log - half_width), np.exp(log + half_width), strict=True)
    return [Answer(item=n, predicted=float(p), low=float(a), high=float(b)) for n, p, a, b in columns]
