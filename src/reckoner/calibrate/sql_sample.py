"""The sums of the SQL statement over rows in memory: what the long pass weights by is found on a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.calibrate.experts import NU, OVERSHOOT
from reckoner.calibrate.sql import Reference, Statistics

Rows = dict[str, NDArray[np.float64]]


def by_model(rows: Sequence[Sequence[Any]]) -> Rows:
    """Arrays (3, n) of prompt, completion and seconds by model, from rows (model, prompt, completion, seconds).

    >>> by_model([("m", 10, 2, 0.5), ("m", 20, 4, 0.75)])["m"]
    array([[10.  , 20.  ],
           [ 2.  ,  4.  ],
           [ 0.5 ,  0.75]])
    """
    found: dict[str, list[Sequence[Any]]] = {}
    for name, *numbers in rows:
        found.setdefault(str(name), []).append(numbers)
    return {name: np.array(found[name], dtype=np.float64).T for name in sorted(found)}


def sums_of(rows: Rows, reference: Reference | Mapping[str, Reference]) -> dict[str, Statistics]:
    """As :func:`reckoner.calibrate.sql.statistics`, of rows in memory."""
    return {
        name: _sums(name, part, reference if isinstance(reference, Reference) else reference[name])
        for name, part in rows.items()
        if isinstance(reference, Reference) or name in reference
    }


def _sums(name: str, part: NDArray[np.float64], reference: Reference) -> Statistics:
    prompt, completion, y = part
    f = reference.overhead_s + reference.s_per_prompt_token * prompt + reference.s_per_completion_token * completion
    g = y / f
    r = np.log(g)
    over = r > OVERSHOOT
    if reference.variance is None:
        u, w, bend = np.ones_like(f), 1.0 / f**2, np.ones_like(f)
    else:
        v = reference.variance
        u = (NU + 1.0) / (NU + r * r / v)
        w = u * np.where(over, 1.0 / (f * y), 1.0 / (f * f))
        falls = 2.0 / (NU + 1.0) * r * u / v * np.where(over, 1.0 - 1.0 / g, g - 1.0)
        bend = u * (np.where(over, 1.0, 2.0 * g - 1.0) - falls)
    p0 = float(prompt.mean()) if reference.prompt_0 is None else reference.prompt_0
    c0 = float(completion.mean()) if reference.completion_0 is None else reference.completion_0
    p, c = prompt - p0, completion - c0
    return Statistics(
        model=name,
        n=int(y.size),
        mean_p=p0,
        mean_c=c0,
        w=float(w.sum()),
        wp=float(w @ p),
        wc=float(w @ c),
        wpp=float((w * p) @ p),
        wpc=float((w * p) @ c),
        wcc=float((w * c) @ c),
        wy=float(w @ y),
        wpy=float((w * p) @ y),
        wcy=float((w * c) @ y),
        wyy=float((w * y) @ y),
        urr=float((u * r) @ r),
        ratio=float(g.sum()),
        wff=float((w * f) @ f),
        bend=float(bend.sum()),
    )
