"""Ways to hold rows out: by configuration inside cells, by model, by device, by source."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.rows import Rows

AXES: Mapping[str, str] = {"cell": "", "model": "model", "device": "hardware", "source": "source"}
"""Axis of holding out, and the label whose levels are held out whole; cells are split by a hash of the rows."""

_CONFIGURATION = ("model", "hardware", "engine", "dtype", "kv_dtype", "dp_attention")
_NUMBERS = ("n", "tp", "ep", "batch", "n_in", "n_out")
_SHARES = 10  # a tenth of the configurations is held out at a time


def folds(rows: Rows, axis: str, *, alone: int = 9, together: int = 3, hashed: int = 2) -> list[NDArray[np.int64]]:
    """Rows of each fold.

    Parameters
    ----------
    rows : Rows
        What is split.
    axis : str
        One of :data:`AXES`.
    alone : int
        The largest levels are held out one by one, so many of them.
    together : int
        The others are dealt into so many folds.
    hashed : int
        Folds of the hash split, each a tenth of the configurations, so that its rows are a sample.

    Returns
    -------
    list of (k,) int
        Disjoint; all rows together, except for the hash split.
    """
    if axis == "cell":
        columns = [rows.label[k] for k in _CONFIGURATION] + [rows.number[k].astype(str) for k in _NUMBERS]
        keys = ["|".join(map(str, row)) for row in zip(*columns, strict=True)]
        share = np.array([zlib.crc32(key.encode()) % _SHARES for key in keys])
        return [np.flatnonzero(share == i) for i in range(hashed)]
    names, inverse, counts = np.unique(rows.label[AXES[axis]].astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    fold = np.zeros(len(names), dtype=np.int64)
    fold[order[:alone]] = np.arange(min(alone, len(order)))
    fold[order[alone:]] = alone + np.arange(max(len(order) - alone, 0)) % together
    return [chosen for i in range(alone + together) if len(chosen := np.flatnonzero(fold[inverse] == i))]
