"""The least to beat: the simplest roofline, with one fitted efficiency for each device and engine family."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.quantities import EFFECTS, LOSS, Basis, log_quantity
from reckoner.predict.rows import Column, Rows

_ABSENT = (*LOSS, "layers", "prefill_layers", "served_layers", "link", "queue", "workspace")
_NOTHING = -30.0  # logarithm of a factor that leaves no trace
_FEWEST = 3


def bare(rows: Rows, base: Basis) -> Column:
    """Logarithm of what bytes, operations and printed limits alone say: no overheads, no links, no queues."""
    effects = np.zeros((len(rows), len(EFFECTS)))
    for name in _ABSENT:
        effects[:, EFFECTS.index(name)] = _NOTHING
    return log_quantity(rows, base, effects)


def fitted(rows: Rows, bound: Column, train: NDArray[np.int64], test: NDArray[np.int64]) -> Column:
    """Predict ``test`` with the median log ratio of its kind, device and engine family in ``train``.

    Falls back to kind and engine family, to the kind, and to everything, where fewer than three rows share them.

    Returns
    -------
    (len(test),) float
        Logarithms.
    """
    ratio = np.log(rows.number["measured"][train]) - bound[train]
    levels = (("kind", "hardware", "family"), ("kind", "family"), ("kind",), ())
    out = np.full(len(test), np.nan)
    for names in levels:
        table = _medians(["|".join(rows.label[n][i] for n in names) for i in train], ratio)
        for k, i in enumerate(test):
            if np.isnan(out[k]):
                out[k] = table.get("|".join(rows.label[n][i] for n in names), np.nan)
    return np.asarray(bound[test] + out, dtype=np.float64)


def _medians(keys: list[str], values: Column) -> dict[str, float]:
    names, inverse, counts = np.unique(np.array(keys, dtype=str), return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    groups = np.split(values[order], np.cumsum(counts)[:-1])
    return {str(n): float(np.median(g)) for n, g in zip(names, groups, strict=True) if len(g) >= _FEWEST}
