"""Many designs at once: named axes, one broadcast call over the numeric ones, columns out.

Numeric axes stay open (each is long in its own direction only) until a formula joins them, so that what depends on the
batch alone is computed once for each batch and not once for each design. The grid is walked in pieces that fit a
processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue import find
from reckoner.catalogue.device import Device
from reckoner.catalogue.model import Model
from reckoner.design import MOST, SERVING_NUMBERS, Design, Workload
from reckoner.errors import InputError, MissingExtraError, UnknownNameError, require
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.metrics import UNITS, fits, metrics_of
from reckoner.predict.numbers import Numbers, numbers_of
from reckoner.predict.plan import Plan, prepare
from reckoner.units import show

NOUNS = ("model", "device", "draft", "weights", "kv", "compute", "engine", "engine_version", "scheduler")
WORKLOAD_NUMBERS = ("prompt_tokens", "output_tokens", "requests_per_s", "prefix_hit")
_COLUMN = {"requests_per_s": "arrivals_per_s"}  # what arrives, apart from what is served
_PIECE = 1 << 16  # designs a piece: fastest of 2^12 ... 2^18 on a server core (benchmarks/bench_predict.py)
_KEPT_BY_ALLOCATOR = 1 << 21  # 16 MiB of float64, above any temporary and below glibc's largest threshold of 32 MiB
_COMPARED = 2048  # rows sorted into a Pareto front at once

Piece = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """A table of designs and what is predicted for each.

    Parameters
    ----------
    axes : mapping of str to sequence
        Values of each axis, in the order given; the table runs through the last axis fastest.
    metrics : mapping of str to array
        One number (``fits``: one truth value) a design, over the whole grid.
    rows : array of int, optional
        Which designs of the grid this table keeps, in its order; all of them by default.
    """

    axes: Mapping[str, Sequence[Any] | NDArray[np.float64]]
    metrics: Mapping[str, NDArray[Any]]
    rows: NDArray[np.intp] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        if self.rows is not None:
            return len(self.rows)
        return math.prod(len(values) for values in self.axes.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Columns: the axes, then the metrics."""
        return (*self.axes, *self.metrics)

    def column(self, name: str) -> NDArray[Any]:
        """One column as a 1-D array.

        Raises
        ------
        UnknownNameError
            No such column.
        """
        require("column", name, str, "give one of " + ", ".join(self.names))
        if name in self.metrics:
            values = self.metrics[name]
            return values if self.rows is None else values[self.rows]
        if name in self.axes:
            labels: NDArray[Any] = np.asarray(_labels(self.axes[name]))
            return labels[self._codes(name)]
        raise UnknownNameError.of("column", name, self.names)

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns as 1-D arrays of equal length."""
        return {name: self.column(name) for name in self.names}

    def records(self) -> Iterator[dict[str, Any]]:
        """One mapping of plain Python values a design."""
        columns = [values.tolist() for values in self.columns.values()]
        for row in zip(*columns, strict=True):
            yield dict(zip(self.names, row, strict=True))

    def where(
        self,
        *,
        at_most: Mapping[str, float] | None = None,
        at_least: Mapping[str, float] | None = None,
        fits: bool | None = None,
    ) -> Sweep:
        """Keep the designs that meet every constraint.

        Parameters
        ----------
        at_most, at_least : mapping of str to float, optional
            Bounds by column, inclusive.
        fits : bool, optional
            True keeps what fits into memory, False what does not.

        Raises
        ------
        UnknownNameError
            No such column.
        """
        keep = np.ones(len(self), dtype=bool)
        for words, bounds in (("at_most", at_most), ("at_least", at_least)):
            if bounds is not None:
                require(words, bounds, Mapping, "give bounds by column, such as {'e2e_s': 2.0}")
                for name, bound in bounds.items():
                    if not isinstance(bound, (float, np.number)) or math.isnan(bound):
                        require(f"{words}[{name!r}]", bound, int, "give a number")
                        if abs(bound) > MOST:
                            raise InputError(f"{words}[{name!r}] is beyond {MOST:g}; give a number that can be meant")
        for name, bound in (at_most or {}).items():
            keep &= self.column(name) <= bound
        for name, bound in (at_least or {}).items():
            keep &= self.column(name) >= bound
        if fits is not None:
            keep &= self.column("fits") == fits
        return self._take(np.flatnonzero(keep))

    def pareto(self, *, minimise: Sequence[str] = (), maximise: Sequence[str] = ()) -> Sweep:
        """Keep the designs that no other one beats in some objective without losing in another; equal ones all stay.

        Raises
        ------
        InputError
            No objective is given.
        """
        for words, names in (("minimise", minimise), ("maximise", maximise)):
            require(words, names, (list, tuple), "give a list of columns")
        if not minimise and not maximise:
            raise InputError("pareto has no objective; name columns in minimise or maximise")
        costs = [self.column(name) for name in minimise] + [-self.column(name) for name in maximise]
        return self._take(front(np.column_stack(costs).astype(np.float64)))

    def sort(self, by: str, *, descending: bool = False) -> Sweep:
        """Order the designs by one column; equal ones keep their order."""
        values = self.column(by)
        return self._take(np.argsort(-values if descending else values, kind="stable"))

    def head(self, n: int) -> Sweep:
        """Keep the first ``n`` designs."""
        require("n", n, (int, np.integer), "give a whole number of designs")
        if n < 0:
            raise InputError(f"n is {n}; give a whole number of designs, at least 0")
        return self._take(np.arange(min(n, len(self))))

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``; names are dictionary-encoded.

        Raises
        ------
        MissingExtraError
            pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise MissingExtraError.of("pyarrow", "ledger") from error
        columns = {}
        for name in self.names:
            if name in NOUNS:
                codes = pa.array(self._codes(name).astype(np.int32))
                columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(_labels(self.axes[name])))
            else:
                columns[name] = pa.array(self.column(name))
        return pa.table(columns)

    def _codes(self, name: str) -> NDArray[np.intp]:
        """Position on one axis of each design kept."""
        sizes = [len(values) for values in self.axes.values()]
        place = list(self.axes).index(name)
        inner = math.prod(sizes[place + 1 :])
        rows = np.arange(len(self)) if self.rows is None else self.rows
        codes: NDArray[np.intp] = rows // inner % sizes[place]
        return codes

    def _take(self, places: NDArray[np.intp]) -> Sweep:
        return replace(self, rows=places if self.rows is None else self.rows[places])


def sweep(
    design: Design, workload: Workload | None = None, *, efficiency: Efficiency | None = None, **axes: Any
) -> Sweep:
    """Predict every combination of the values on named axes.

    Parameters
    ----------
    design : Design
        What stays the same where no axis says otherwise.
    workload : Workload, optional
        As in :func:`~reckoner.predict.prediction.predict`.
    efficiency : Efficiency, optional
        One for every design; by default each combination of names gets its own.
    **axes : sequence
        Values by axis. Names: model, device, draft (nouns or their names), weights, kv, compute, engine,
        engine_version, scheduler. Numbers: those of :class:`~reckoner.design.Serving` and
        :class:`~reckoner.design.Workload`; the column of ``requests_per_s`` is ``arrivals_per_s``.

    Returns
    -------
    Sweep
        One row a combination, the last axis fastest.

    Raises
    ------
    InputError
        An axis is unknown, empty, or holds a value that the design refuses.

    Examples
    --------
    >>> from reckoner.catalogue.find import device, model
    >>> base = Design(model=model("llama-3.1-8b"), device=device("h100"))
    >>> grid = sweep(base, device=["h100", "l40s"], batch=[1, 8, 64])
    >>> len(grid), grid.column("device")[3].item(), grid.column("batch").tolist()
    (6, 'nvidia-l40s', [1.0, 8.0, 64.0, 1.0, 8.0, 64.0])
    """
    around = workload if workload is not None else Workload()
    require("design", design, Design, "give a reckoner.Design")
    require("workload", around, Workload, "give a reckoner.Workload")
    resolved = {name: _axis(name, values) for name, values in axes.items()}
    nouns = [name for name in resolved if name in NOUNS]
    numeric = [name for name in resolved if name not in NOUNS]
    shape = tuple(len(resolved[name]) for name in numeric)
    opened = {name: np.reshape(resolved[name], _open_shape(place, shape)) for place, name in enumerate(numeric)}
    served = {name: opened[name] for name in numeric if name in SERVING_NUMBERS}
    asked = replace(around, **{name: opened[name] for name in numeric if name in WORKLOAD_NUMBERS})
    chosen = list(product(*(resolved[name] for name in nouns)))
    grids: dict[str, NDArray[Any]] = {}
    np.empty(_KEPT_BY_ALLOCATOR)  # freed at once: from then on glibc keeps temporaries instead of unmapping each one
    _check_room(len(chosen) * math.prod(shape))
    for place, values in enumerate(chosen):
        varied = _vary(design, dict(zip(nouns, values, strict=True)), served)
        plan = prepare(varied)
        numbers = numbers_of(varied, asked)
        for piece in pieces(shape, _PIECE):
            cut = Numbers(*(_cut(value, piece) for value in numbers))
            for name, found in _metrics(plan, cut, efficiency).items():
                if name not in grids:
                    grids[name] = np.empty((len(chosen), *shape), dtype=bool if name == "fits" else np.float64)
                grids[name][(slice(place, place + 1), *piece)] = found
    looped = [*nouns, *numeric]
    turn = [looped.index(name) for name in resolved]  # back to the caller's order of axes
    sizes = [len(resolved[name]) for name in looped]
    metrics = {name: grid.reshape(sizes).transpose(turn).reshape(-1) for name, grid in grids.items()}
    return Sweep(axes={_COLUMN.get(name, name): values for name, values in resolved.items()}, metrics=metrics)


def _check_room(designs: int) -> None:
    """Refuse a table that does not fit into memory before anything is computed.

    Raises
    ------
    InputError
        It does not.
    """
    try:
        np.empty((len(UNITS), designs))
    except (MemoryError, ValueError) as error:  # beyond the memory, and beyond any address
        need = show(8.0 * len(UNITS) * designs, "B", 3)
        raise InputError(f"{designs:,} designs need {need}; give fewer values an axis, or sweep in parts") from error


def front(costs: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows that no other row matches or undercuts in every column while undercutting it in one; in rising order.

    Parameters
    ----------
    costs : (rows, objectives) float
        Smaller is better in every column.

    Returns
    -------
    (kept,) int
        Row numbers.

    Examples
    --------
    >>> front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0]])).tolist()
    [0, 1, 3]
    """
    order = np.lexsort(costs.T[::-1])  # sorted so that a row is beaten by earlier rows only
    kept: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    for start in range(0, len(order), _COMPARED):
        rows = order[start : start + _COMPARED]
        rows = rows[~_beaten(costs[rows], costs[kept])]
        rows = rows[~_beaten(costs[rows], costs[rows])]
        kept = np.concatenate([kept, rows])
    return np.sort(kept)


def _beaten(costs: NDArray[np.float64], rivals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows some rival beats."""
    alive = np.arange(len(costs))
    beaten = np.zeros(len(costs), dtype=bool)
    for rival in rivals:
        left = costs[alive]
        lost = (rival <= left).all(axis=1) & (rival < left).any(axis=1)
        if lost.any():
            beaten[alive[lost]] = True
            alive = alive[~lost]
    return beaten


def pieces(shape: tuple[int, ...], size: int) -> Iterator[Piece]:
    """Cut a grid into blocks of at most ``size`` points (one row of the last axis at least a point).

    >>> list(pieces((2, 3), 3))
    [(slice(0, 1, None), slice(0, 3, None)), (slice(1, 2, None), slice(0, 3, None))]
    """
    lengths: list[int] = []
    room = size
    for length in reversed(shape):  # as much as fits of the fastest axes, then part of the next, then one by one
        lengths.append(max(1, min(length, room)))
        room //= lengths[-1]
    steps = lengths[::-1]
    for starts in product(*(range(0, length, step) for length, step in zip(shape, steps, strict=True))):
        yield tuple(
            slice(start, min(start + step, length)) for start, step, length in zip(starts, steps, shape, strict=True)
        )


def _cut(value: Any, piece: Piece) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return value[tuple(part if length > 1 else slice(None) for part, length in zip(piece, value.shape, strict=True))]


def _metrics(plan: Plan, numbers: Numbers, efficiency: Efficiency | None) -> dict[str, Any]:
    outcome = plan.outcome(numbers, efficiency)
    found: dict[str, Any] = {**metrics_of(outcome, numbers)}
    found["fits"] = fits(plan.design, outcome.memory)
    return found


def _open_shape(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length if index == place else 1 for index, length in enumerate(shape))


def _vary(design: Design, nouns: Mapping[str, Any], served: Mapping[str, Any]) -> Design:
    made = {name: nouns.get(name, getattr(design, name)) for name in ("model", "device", "draft")}
    words = {name: value for name, value in nouns.items() if name not in made}
    return Design(**made, serving=replace(design.serving, **words, **served))


def _axis(name: str, values: Any) -> Sequence[Any] | NDArray[np.float64]:
    if name not in (*NOUNS, *SERVING_NUMBERS, *WORKLOAD_NUMBERS):
        raise UnknownNameError.of("axis", name, [*NOUNS, *SERVING_NUMBERS, *WORKLOAD_NUMBERS])
    if name not in NOUNS:
        try:
            if np.iscomplexobj(values) or np.ma.isMaskedArray(values):
                raise TypeError("neither complex nor masked numbers mean anything here")
            numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError, OverflowError) as error:
            seen = " ".join(repr(values)[:80].split())
            raise InputError(f"axis {name} is {seen}; give numbers") from error
        if numbers.ndim != 1 or numbers.size == 0:
            raise InputError(f"axis {name} has shape {numbers.shape}; give one row of numbers")
        return numbers
    one = isinstance(values, (str, Model, Device)) or values is None
    try:
        items = [values] if one else list(values)
    except TypeError:
        require(f"axis {name}", values, (list, tuple), "give a list of names")
        raise
    if not items:
        raise InputError(f"axis {name} is empty; give at least one value")
    if name in ("model", "draft"):
        return [
            item if isinstance(item, Model) or (item is None and name == "draft") else find.model(item)
            for item in items
        ]
    if name == "device":
        return [item if isinstance(item, Device) else find.device(item) for item in items]
    return items


def _labels(values: Sequence[Any] | NDArray[np.float64]) -> Sequence[Any] | NDArray[np.float64]:
    if isinstance(values, np.ndarray):
        return values
    return [item.name if isinstance(item, (Model, Device)) else item for item in values]
