"""Predictions for a file of items, of networks or of runs: every row gets one, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reckoner.errors import InputError
from reckoner.predict import learned, networks
from reckoner.predict.rows import KINDS, Column, build, kind_of, read_csv
from reckoner.predict.silicon import as_items, is_silicon

_FARTHEST = 100.0  # largest logarithm of an answer: far beyond any quantity, far from overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One row's prediction and its 90 % interval, in the unit of its kind; ``why_not`` where a row has none."""

    item: str
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    why_not: str = ""


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
        return _items(as_items(raw), name)
    if networks.is_networks(columns) or kind_of(raw[0]) in networks.KINDS:
        return _answers(raw, *networks.answer(raw))
    if "kind" not in columns:
        raise InputError(f"{name}: no column 'kind'; use the schema of validation/README.md (items, networks or runs)")
    return _items(raw, name)


def _items(raw: Sequence[Mapping[str, str]], name: str) -> list[Answer]:
    """Answer items; one of an unknown kind says so and the others go on."""
    asked = [i for i, row in enumerate(raw) if kind_of(row) in KINDS]
    if not asked:
        raise InputError(f"{name}: kind is {raw[0].get('kind')!r} and the like; use one of {', '.join(KINDS)}")
    part = raw if len(asked) == len(raw) else [raw[i] for i in asked]
    found = learned.answer_rows(build(part), learned.packaged())
    answered = iter(_answers(part, found.log, found.half_width))
    known = set(asked)
    return [
        next(answered)
        if i in known
        else Answer(item=_name(row, i), why_not=f"kind is {row.get('kind')!r}; use one of {', '.join(KINDS)}")
        for i, row in enumerate(raw)
    ]


def _name(row: Mapping[str, str], place: int) -> str:
    return row.get("item") or row.get("run_id") or str(place)


def _answers(raw: Sequence[Mapping[str, str]], log: Column, half_width: Column) -> list[Answer]:
    names = [_name(row, i) for i, row in enumerate(raw)]
    middle = np.clip(log, -_FARTHEST, _FARTHEST)
    columns = zip(names, np.exp(middle), np.exp(middle - half_width), np.exp(middle + half_width), strict=True)
    return [Answer(item=n, predicted=float(p), low=float(a), high=float(b)) for n, p, a, b in columns]
