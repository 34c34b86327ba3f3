"""Predictions for a file of items, of networks or of runs: every row gets one, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from reckoner.errors import InputError
from reckoner.predict import learned, networks
from reckoner.predict.rows import KINDS, NUMBERS, TEXTS, Column, Rows, build, each_row, kind_of
from reckoner.predict.silicon import as_items, is_silicon

_PART = 5_000  # rows answered at once: each takes about 20 kB while it is worked on (seen 2026-11-21)
_NOTED = ("measured", "run_id", "source", "spec_decode")  # of the schema, and nothing that a prediction may look at
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
    return [one for part in answers(path) for one in part]


class Spans(NamedTuple):
    """Logarithms of predictions and of the ends of their 90 % intervals, (n,) each."""

    log: Column
    low: Column
    high: Column


Revise: TypeAlias = Callable[[Rows, learned.Answers], Spans]
"""Looks at items and their answers, and gives better ones where it has any."""


def spans(found: learned.Answers) -> Spans:
    """Ends of the intervals of answers."""
    return Spans(found.log, found.log - found.half_width, found.log + found.half_width)


def answers(path: str | Path, *, revise: Revise | None = None) -> Iterator[list[Answer]]:
    """Answer a file part by part, in memory that does not grow with it; see :func:`answer`."""
    first, kind, any_asked = 0, "", False
    with closing(each_row(path)) as rows:
        while part := list(islice(rows, _PART)):
            kind = kind or repr(part[0].get("kind"))
            found = _answered(part, str(path), first, revise)
            any_asked = any_asked or any(not one.why_not for one in found)
            yield found
            first += len(part)
    if not first:
        raise InputError(f"{path} holds no rows; give a CSV file with a header and at least one item")
    if not any_asked:
        raise _unasked(str(path), kind)


def unread(path: str | Path) -> list[str]:
    """Columns of a file of items that are not among its schema's and so tell nothing; sorted."""
    with closing(each_row(path)) as rows:
        columns = list(next(rows, {}))
    if is_silicon(columns) or networks.is_networks(columns):
        return []
    return sorted(set(columns) - {*NUMBERS, *TEXTS, *_NOTED})


def answer_raw(raw: Sequence[Mapping[str, str]], name: str = "items", *, revise: Revise | None = None) -> list[Answer]:
    """Answer rows that are already read; see :func:`answer`."""
    found = _answered(raw, name, 0, revise)
    if all(one.why_not for one in found):
        raise _unasked(name, repr(raw[0].get("kind")))
    return found


def _unasked(name: str, kind: str) -> InputError:
    return InputError(f"{name}: kind is {kind} and the like; use one of {', '.join(KINDS)}")


def _answered(raw: Sequence[Mapping[str, str]], name: str, first: int, revise: Revise | None) -> list[Answer]:
    columns = list(raw[0])
    if is_silicon(columns):
        return _items(as_items(raw), first, revise)
    if networks.is_networks(columns) or kind_of(raw[0]) in networks.KINDS:
        log, half = networks.answer(raw)
        return _answers(Spans(log, log - half, log + half), names=[_name(row, first + i) for i, row in enumerate(raw)])
    if "kind" not in columns:
        raise InputError(f"{name}: no column 'kind'; use the schema of validation/README.md (items, networks or runs)")
    return _items(raw, first, revise)


def _items(raw: Sequence[Mapping[str, str]], first: int, revise: Revise | None) -> list[Answer]:
    """Answer items; one of an unknown kind says so and the others go on."""
    asked = [i for i, row in enumerate(raw) if kind_of(row) in KINDS]
    answered: Iterator[Answer] = iter(())
    if asked:
        part = raw if len(asked) == len(raw) else [raw[i] for i in asked]
        rows = build(part)
        found = learned.answer_rows(rows, learned.packaged())
        told = spans(found) if revise is None else revise(rows, found)
        answered = iter(_answers(told, names=[_name(raw[i], first + i) for i in asked]))
    known = set(asked)
    return [
        next(answered)
        if i in known
        else Answer(item=_name(row, first + i), why_not=f"kind is {row.get('kind')!r}; use one of {', '.join(KINDS)}")
        for i, row in enumerate(raw)
    ]


def _name(row: Mapping[str, str], place: int) -> str:
    return row.get("item") or row.get("run_id") or str(place)


def _answers(told: Spans, *, names: Sequence[str]) -> list[Answer]:
    middle = np.clip(told.log, -_FARTHEST, _FARTHEST)
    low, high = middle + (told.low - told.log), middle + (told.high - told.log)
    columns = zip(names, np.exp(middle), np.exp(low), np.exp(high), strict=True)
    return [Answer(item=n, predicted=float(p), low=float(a), high=float(b)) for n, p, a, b in columns]
