"""What a deployment gets of the printed limits, learned from what was measured on it and on its relatives.

The logarithm of each efficiency is a prior plus three effects: of the engine, of the engine on a device, and of a model
there. All effects are one Gaussian; a measurement updates it by an extended Kalman filter, so what is learned on one
model moves the forecast of another on the same device and engine, and less so on other devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design, Workload
from reckoner.errors import DamagedError, InputError, UnknownNameError
from reckoner.predict.deployment import features
from reckoner.predict.efficiency import NAMES, PRIOR, Efficiency
from reckoner.predict.metrics import metrics_of
from reckoner.predict.numbers import numbers_of, point_of
from reckoner.predict.plan import prepare
from reckoner.predict.prediction import Prediction

Key: TypeAlias = tuple[str, ...]
Array: TypeAlias = NDArray[np.float64]

SHARES = (0.3, 0.45, 0.25)
"""Of the prior's variance: engine, engine on a device, model there. Assumption: engines differ by their kernels, and
more by how those suit a device; two models on both have most in common."""

METRICS = ("ttft_s", "tpot_s", "e2e_s", "output_tokens_per_s")
"""What can be learned from."""

MODEL_SIGMA = 0.1
"""Log standard deviation that the formulas miss a measurement by when the efficiencies are right. Assumption."""

NOISE = 0.03
"""Log standard deviation of a repeated measurement: public runs repeat within 0.5 to 3 % (InferenceX, MLPerf, 2025)."""

NU = 4.0
"""Degrees of freedom of the Student law of misses: a run with a fault in it is outvoted. Assumption."""

_SHARES_OF_LIMITS = ("mbu", "mbu_kv", "mfu", "mfu_decode", "link")
_STEP = 1e-4
_SPREAD = PRIOR.covariance
"""How far deployments stray from what public measurements of others have taught. Assumption: as far as from the prior
that knows none; half of it learns too little from one other model (prefill 52 % instead of 28 % on public rows)."""

_WIDTH = len(NAMES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What has been learned about deployments; :meth:`update` returns a new one.

    Parameters
    ----------
    base : Efficiency, optional
        What is assumed where nothing was measured, with its covariance; by default what public measurements have taught
        about each design's device, engine and number format (:func:`learned`).
    keys : tuple of tuple of str
        Effects that a measurement has touched: (engine,), (engine, device) and (engine, device, model).
    mean : (7 k,) float
        Effects on the logarithms of :data:`~reckoner.predict.efficiency.NAMES`, key by key.
    covariance : (7 k, 7 k) float
        Of ``mean``.
    counts : tuple of int
        Measurements behind each key.

    Examples
    --------
    >>> from reckoner.catalogue.find import device, model
    >>> from reckoner.predict.prediction import predict
    >>> small = Design(model=model("llama-3.1-8b"), device=device("h100"))
    >>> large = Design(model=model("llama-3.1-70b"), device=device("h100"))
    >>> before = Calibration()
    >>> said = predict(small, efficiency=before.efficiency(small))
    >>> after = before.update(said, {"tpot_s": 1.5 * said.tpot_s})
    >>> learned = predict(small, efficiency=after.efficiency(small))
    >>> 1.3 < learned.tpot_s / said.tpot_s < 1.5
    True
    >>> change = lambda design: (predict(design, efficiency=after.efficiency(design)).tpot_s
    ...                          / predict(design, efficiency=before.efficiency(design)).tpot_s)
    >>> 1.2 < change(large) < change(small)
    True
    """

    base: Efficiency | None = None
    keys: tuple[Key, ...] = ()
    mean: Array = field(default_factory=lambda: np.zeros(0))
    covariance: Array = field(default_factory=lambda: np.zeros((0, 0)))
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a base that is sure of itself: nothing could be learned."""
        if self.base is not None and not np.all(np.diag(self.base.covariance) > 0.0):
            raise InputError(
                f"base ({self.base.source}) has no covariance; give it one, such as reckoner.predict.efficiency.PRIOR's"
            )

    def update(self, prediction: Prediction, measurement: Mapping[str, float], *, noise: float = NOISE) -> Calibration:
        """Learn from what was measured where something had been predicted.

        Parameters
        ----------
        prediction : Prediction
            Of one point (no arrays); its design and workload say what was measured.
        measurement : mapping of str to float
            Measured metrics by name, some of :data:`METRICS`, in seconds and tokens per second.
        noise : float
            Log standard deviation of the measurement.

        Raises
        ------
        InputError
            The question held arrays, or a value is not positive and finite.
        UnknownNameError
            A metric that cannot be learned from.
        """
        found = _checked(measurement)
        design, workload = prediction.design, prediction.workload
        plan, numbers = prepare(design), numbers_of(design, workload)
        grown = self._with(keys_of(design))
        places = [grown.keys.index(key) for key in keys_of(design)]
        columns = np.concatenate([np.arange(_WIDTH * i, _WIDTH * (i + 1)) for i in places])
        mean, covariance = grown.mean, grown.covariance
        for metric, _ in found:
            if np.ndim(getattr(prediction, metric)):
                raise InputError(
                    f"{metric} is an array of shape {np.shape(getattr(prediction, metric))}; predict one point instead"
                )
        base = self.base or learned(design, workload)
        for metric, value in found:

            def forecast(offset: Array, metric: str = metric) -> float:
                given = _shifted(base, offset, base.covariance, "", 0)
                return math.log(float(metrics_of(plan.outcome(numbers, given), numbers)[metric]))

            remainder = MODEL_SIGMA**2 + noise**2
            mean, covariance = _learn(forecast, math.log(value), remainder, mean, covariance, columns, _room(base))
        counts = tuple(n + (i in places) for i, n in enumerate(grown.counts))
        return replace(grown, mean=mean, covariance=covariance, counts=counts)

    def efficiency(self, design: Design, workload: Workload | None = None) -> Efficiency:
        """Return what is expected of a design, with covariance, for :func:`~reckoner.predict.prediction.predict`.

        A model never measured takes what its engine and device have taught, and stays less sure.

        Parameters
        ----------
        design : Design
            Of scalars.
        workload : Workload, optional
            What public measurements have taught depends on lengths a little; 1024 tokens in and 256 out by default.
        """
        base = self.base or learned(design, workload or Workload())
        keys = keys_of(design)
        grown = self._with(keys)
        columns = [grown.keys.index(key) for key in keys]
        offset = np.sum([grown.mean[_WIDTH * i : _WIDTH * (i + 1)] for i in columns], axis=0)
        blocks = grown.covariance.reshape(len(grown.keys), _WIDTH, len(grown.keys), _WIDTH)
        covariance = blocks[columns][:, :, columns].sum(axis=(0, 2))
        touched = [key for key, n in zip(grown.keys, grown.counts, strict=True) if n and key in keys]
        n = grown.counts[grown.keys.index(keys[1])]
        source = f"measured on {' + '.join(touched[-1])}" if touched else base.source
        return _shifted(base, offset, covariance, source, n)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the base is not among them."""
        return {
            "names": list(NAMES),
            "keys": [list(key) for key in self.keys],
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "counts": list(self.counts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, base: Efficiency | None = None) -> Calibration:
        """Read what :meth:`to_dict` wrote; ``base`` is what it was learned on.

        Raises
        ------
        DamagedError
            A part is missing, has another size, or is of another set of efficiencies.
        """
        try:
            keys = tuple(tuple(str(part) for part in key) for key in values["keys"])
            size = _WIDTH * len(keys)
            mean = np.array(values["mean"], dtype=np.float64).reshape(size)
            covariance = np.array(values["covariance"], dtype=np.float64).reshape(size, size)
            counts = tuple(int(n) for n in values["counts"])
            names = tuple(values["names"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"calibration cannot be read ({error}); measure again, or restore it") from error
        if names != NAMES or len(counts) != len(keys) or not np.all(np.isfinite(covariance)):
            raise DamagedError(f"calibration is of {', '.join(names)} and this reckoner learns {', '.join(NAMES)}")
        return cls(base=base, keys=keys, mean=mean, covariance=covariance, counts=counts)

    def _with(self, keys: tuple[Key, ...]) -> Calibration:
        """Grow by effects not seen before, at their prior."""
        new = tuple(key for key in keys if key not in self.keys)
        if not new:
            return self
        old, size = self.mean.size, self.mean.size + _WIDTH * len(new)
        covariance = np.zeros((size, size))
        covariance[:old, :old] = self.covariance
        for i, key in enumerate(new):
            at = slice(old + _WIDTH * i, old + _WIDTH * (i + 1))
            covariance[at, at] = SHARES[len(key) - 1] * (_SPREAD if self.base is None else self.base.covariance)
        return replace(
            self,
            keys=self.keys + new,
            mean=np.concatenate([self.mean, np.zeros(_WIDTH * len(new))]),
            covariance=covariance,
            counts=self.counts + (0,) * len(new),
        )


def learned(design: Design, workload: Workload) -> Efficiency:
    """What public measurements have taught about a design's device, engine and number format, as one efficiency.

    :func:`~reckoner.predict.prediction.predict` knows the first token and the gaps apart, each with a factor on the
    whole; here each factor goes into the terms that it is mostly made of.
    """
    found = prepare(design).deployment.factors(features(point_of(numbers_of(design, workload))))
    gaps, first = found.efficiency, found.first

    def share(of: float, factor: float) -> float:
        """Share of a limit when what exceeds it is multiplied, as in :func:`reckoner.predict.combine.beyond`."""
        return 1.0 / (1.0 + (1.0 / of - 1.0) * factor)

    return Efficiency(
        mbu=share(float(gaps.mbu), float(found.tpot)),
        mbu_kv=share(float(gaps.mbu_kv), float(found.tpot)),
        mfu_decode=share(float(gaps.mfu_decode), float(found.tpot)),
        mfu=share(float(first.mfu), float(found.ttft)),
        link=min(float(gaps.link / found.tpot), 1.0),
        layer=float(gaps.layer * found.tpot),
        layer_prefill=float(first.layer_prefill * found.ttft),
        queue=float(first.queue),
        covariance=_SPREAD,
        sigma=gaps.sigma,
        source=gaps.source,
        n=gaps.n,
    )


def _room(base: Efficiency) -> Array:
    """How far the logarithm of each efficiency can rise before a limit is reached."""
    return np.array([-math.log(getattr(base, n)) if n in _SHARES_OF_LIMITS else math.inf for n in NAMES])


def keys_of(design: Design) -> tuple[Key, Key, Key]:
    """Effects that act on a design: its engine, the engine on its device, its model there."""
    engine, device = design.engine, design.device.name
    return (engine,), (engine, device), (engine, device, design.model.name)


def _checked(measurement: Mapping[str, float]) -> list[tuple[str, float]]:
    if not measurement:
        raise InputError(f"measurement is empty; give one of {', '.join(METRICS)}")
    for name, value in measurement.items():
        if name not in METRICS:
            raise UnknownNameError.of("metric to learn from", name, METRICS)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < math.inf:
            raise InputError(f"{name} is {value!r}; a measured value is a positive number")
    return sorted(measurement.items())


def _shifted(base: Efficiency, offset: Array, covariance: Array, source: str, n: int) -> Efficiency:
    """Efficiencies at ``base`` times the exponential of ``offset``; no share of a limit exceeds 1."""
    changed: dict[str, Any] = {}
    for name, by in zip(NAMES, offset, strict=True):
        value = getattr(base, name) * math.exp(float(by))
        changed[name] = min(value, 1.0) if name in _SHARES_OF_LIMITS else value
    return replace(base, **changed, covariance=covariance, source=source, n=n)


def _learn(
    forecast: Callable[[Array], float],
    log_value: float,
    remainder: float,
    mean: Array,
    covariance: Array,
    columns: NDArray[np.int64],
    room: Array,
) -> tuple[Array, Array]:
    """One extended Kalman update, linearised again at its own answer (an iterated filter), with a Student weight.

    ``forecast`` takes the sum of a design's effects, which stand at ``columns``; ``remainder`` is the variance that is
    left when it is right.
    """
    at = mean
    slope, gain, spread = np.zeros(mean.size), np.zeros(mean.size), remainder
    for _ in range(3):
        # past a limit nothing moves, and nothing would ever be learned: the slope is taken on this side of it
        offset = np.minimum(at[columns].reshape(len(SHARES), _WIDTH).sum(axis=0), room)
        here = forecast(offset)
        moved = [forecast(offset - _STEP * unit) for unit in np.eye(_WIDTH)]
        slope = np.zeros(mean.size)
        slope[columns] = np.tile((here - np.array(moved)) / _STEP, len(SHARES))
        miss = log_value - here - float(slope @ (mean - at))
        through = float(slope @ covariance @ slope)
        weight = (NU + 1.0) / (NU + miss**2 / (through + remainder))
        spread = remainder / weight
        gain = covariance @ slope / (through + spread)
        at = mean + gain * miss
    keep = np.eye(mean.size) - np.outer(gain, slope)
    return at, keep @ covariance @ keep.T + spread * np.outer(gain, gain)  # Joseph's form stays positive definite
