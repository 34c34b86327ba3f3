"""Where to measure next: the point that shrinks the uncertainty of dollars per token most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design, Workload
from reckoner.errors import InputError, ReckonerError
from reckoner.measure.events import Floats
from reckoner.predict.efficiency import NAMES, PRIOR, Efficiency
from reckoner.predict.prediction import predict

NOISE = 0.05
"""Standard deviation, in the logarithm, of what a measured run says of a deployment. Assumption, a
little above the 3.75 % by which repeats of one benchmark differ (median of the 65 sets in
``validation/noise_repeats.csv``, counted 2026-11-21)."""
STEP = 1e-3
METRICS = ("ttft_s", "tpot_s", "output_tokens_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place to measure at, and what that would tell.

    Parameters
    ----------
    batch, prompt_tokens, output_tokens : float
        Where: requests in flight, and lengths.
    before, after : float
        Standard deviation of the logarithm of dollars per output token at the workload that matters, now and once this
        point was measured.
    """

    batch: float
    prompt_tokens: float
    output_tokens: float
    before: float
    after: float


def next_points(
    design: Design, matters: Workload, candidates: Sequence[tuple[float, Workload]], *, efficiency: Efficiency = PRIOR,
    measured: Sequence[tuple[float, Workload]] = (), noise: float = NOISE,
) -> list[Point]:  # fmt: skip
    r"""Rank places to measure at, best first.

    Parameters
    ----------
    design : Design
        With the batch that matters.
    matters : Workload
        That dollars are paid for.
    candidates : sequence of (float, Workload)
        Batch and workload of each place.
    efficiency : Efficiency
        What is known of the deployment, with its covariance.
    measured : sequence of (float, Workload)
        Places that were measured since: what they told is no longer to be learned.
    noise : float
        Standard deviation of a measurement, in the logarithm.

    Returns
    -------
    list of Point
        Candidates that cannot be predicted are left out.

    Notes
    -----
    The logarithm of each figure is taken as linear in the logarithms of the efficiencies, which are Gaussian: measuring
    figures with slopes :math:`H` and noise :math:`R` turns :math:`\Sigma` into
    :math:`\Sigma - \Sigma H^T (H \Sigma H^T + R)^{-1} H \Sigma`. The target's slopes pick out the variance of dollars
    per token.

    References
    ----------
    .. [1] D. V. Lindley, "On a measure of the information provided by an experiment", Ann. Math. Stat. 27(4), 1956.
    .. [2] K. Chaloner, I. Verdinelli, "Bayesian experimental design: a review", Statistical Science 10(3), 1995
       (c-optimality).
    """
    if not 0.0 < noise < np.inf:
        raise InputError(f"noise is {noise!r}; it must be above 0")
    target = slopes(design, matters, efficiency, ("output_tokens_per_s",))[0]
    sigma = efficiency.covariance
    for batch, workload in measured:
        sigma = learned(sigma, slopes(_at(design, batch), workload, efficiency, METRICS), noise)
    before = float(np.sqrt(target @ sigma @ target))
    found = []
    for batch, workload in candidates:
        try:
            rows = slopes(_at(design, batch), workload, efficiency, METRICS)
        except ReckonerError:
            continue
        after = learned(sigma, rows, noise)
        found.append(
            Point(
                batch=float(batch), prompt_tokens=float(workload.prompt_tokens),
                output_tokens=float(workload.output_tokens), before=before,
                after=float(np.sqrt(max(float(target @ after @ target), 0.0))),
            )
        )  # fmt: skip
    return sorted(found, key=lambda p: (p.after, p.batch, p.prompt_tokens, p.output_tokens))


def _at(design: Design, batch: float) -> Design:
    return replace(design, serving=replace(design.serving, batch=float(batch)))


def learned(sigma: Floats, rows: Floats, noise: float) -> Floats:
    """Covariance once figures with these slopes were measured.

    >>> learned(np.eye(2), np.array([[1.0, 0.0]]), 1.0).tolist()
    [[0.5, 0.0], [0.0, 1.0]]
    """
    seen = rows @ sigma
    inner = seen @ rows.T + noise**2 * np.eye(len(rows))
    found: NDArray[np.float64] = sigma - seen.T @ np.linalg.solve(inner, seen)
    return found


def slopes(design: Design, workload: Workload, efficiency: Efficiency, metrics: Sequence[str]) -> Floats:
    """Slopes of the logarithms of figures over those of the efficiencies.

    Returns
    -------
    (metrics, efficiencies) float
        In the order of :data:`~reckoner.predict.efficiency.NAMES`.
    """
    base = _logs(design, workload, efficiency, metrics)
    columns = []
    for name in NAMES:
        change: dict[str, Any] = {name: float(np.asarray(getattr(efficiency, name))) * (1.0 + STEP)}
        nudged = replace(efficiency, **change)
        columns.append((_logs(design, workload, nudged, metrics) - base) / np.log1p(STEP))
    found: Floats = np.stack(columns, axis=1)
    return found


def _logs(design: Design, workload: Workload, efficiency: Efficiency, metrics: Sequence[str]) -> Floats:
    found = predict(design, workload, efficiency=efficiency)
    return np.log([float(np.asarray(getattr(found, metric))) for metric in metrics])
