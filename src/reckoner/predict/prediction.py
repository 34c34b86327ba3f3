"""Design + workload + efficiency -> prediction: times, rates, memory, energy, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import MOST, SERVING_NUMBERS, Design, Num, Workload, check_rent, shape_of_numbers
from reckoner.errors import DoesNotFitError, InputError, UnknownNameError, require
from reckoner.physics.arrays import Floats, exp, log, maximum, minimum, sqrt, where
from reckoner.physics.energy import carbon_g
from reckoner.predict.combine import beyond
from reckoner.predict.deployment import REACH_90
from reckoner.predict.efficiency import NAMES, Efficiency
from reckoner.predict.metrics import UNITS, bound_of, fits, metrics_of, price
from reckoner.predict.numbers import Memory, Outcome, numbers_of
from reckoner.predict.plan import prepare
from reckoner.predict.theory import gains, variance
from reckoner.units import show

if TYPE_CHECKING:
    from reckoner.predict.explain_passes import Term
    from reckoner.predict.relief import Relief

MEMORY_SIGMA = 0.3
"""Log standard deviation of memory: this count misses the median of 910 open measurements by 10 % and nine in ten of
them by at most a factor of 1.65, engines that fill what they are given included (2026-11-21)."""

POWER_SIGMA = 0.2
"""Log standard deviation of power at a given utilisation. Assumption: boards differ so much from a line."""

QUANTITY = {
    "ttft_s": "ttft",
    "tpot_s": "tpot",
    "e2e_s": "rate",
    "output_tokens_per_s": "rate",
    "requests_per_s": "rate",
    "j_per_token": "energy",
    "usd_per_m_output_tokens": "rate",
}
"""Which held-out errors an interval comes from."""

_ADDRESSES = 1 << 47  # of a process: no array has more elements
_STEP = 1e-3  # relative step of the numeric elasticities


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a design does with a workload; each metric is a float, or an array where the question held arrays.

    Parameters
    ----------
    design, workload : Design, Workload
        The question.
    given : Efficiency or None
        What the question assumed about the deployment; None takes what was learned.
    ttft_s, tpot_s, e2e_s : Num
        Time to first token, mean gap between tokens, and a whole request. [s]
    output_tokens_per_s, requests_per_s : Num
        Of all replicas together. [token/s], [1/s]
    memory_bytes : Num
        Weights, cache and workspace on each device; ``memory`` holds the parts. [byte]
    j_per_token : Num or None
        Energy of an output token over all devices; None where the device's power limit is unknown. [J/token]
    usd_per_m_output_tokens : Num or None
        Rent of all devices for a million output tokens; None where no rate was given. [USD]
    usd_per_hour : float or None
        That rate, of one device. [USD/h]
    bound : str or array of str
        What most of a request's time goes into; one of :data:`BOUNDS`.
    fits : bool or array of bool
        Whether each device has the memory (and the flash, where weights live there).
    """

    design: Design
    workload: Workload
    given: Efficiency | None
    ttft_s: Num
    tpot_s: Num
    e2e_s: Num
    output_tokens_per_s: Num
    requests_per_s: Num
    memory_bytes: Num
    j_per_token: Num | None
    usd_per_m_output_tokens: Num | None
    memory: Memory
    outcome: Outcome = field(repr=False)
    usd_per_hour: float | None = None

    @property
    def efficiency(self) -> Efficiency:
        """Efficiencies that were used: those given, or those learned."""
        return self.outcome.factors.efficiency

    @property
    def bound(self) -> str | NDArray[np.str_]:
        """What most of a request's time goes into."""
        return bound_of(self.outcome, self.workload.output_tokens)

    @property
    def fits(self) -> bool | NDArray[np.bool_]:
        """Whether each device has the memory."""
        return fits(self.design, self.memory)

    @property
    def overloaded(self) -> bool | NDArray[np.bool_]:
        """Whether requests arrive faster than the full batch serves them; first tokens then wait without end."""
        return self.e2e_s == math.inf

    @property
    def itl_max_s(self) -> Num:
        """Longest gap between tokens: a step that carries a prompt or a chunk of one, at least the mean gap."""
        o = self.outcome
        own_s = (o.own.total_s - o.own.layers_s) / o.passes
        apart = (self.design.serving.prefill_replicas > 0.0) | (o.batch <= 1.0)
        if self.design.serving.scheduler == "static":
            own_s = 0.0 * own_s
        return maximum(beyond(o.least.tpot_s, o.step.total_s + where(apart, 0.0, own_s), o.factors.tpot), self.tpot_s)

    @property
    def theory(self) -> tuple[str, ...]:
        """Gains in use that rest on theory alone; intervals are wider for them."""
        if self.design.serving.plain:
            return ()
        found = gains(numbers_of(self.design, self.workload))
        return tuple(name for name, used in found.items() if np.any(used))

    @property
    def headroom_bytes(self) -> Num:
        """Memory left on each device; negative where the design does not fit."""
        return self.design.device.memory_bytes - self.memory_bytes

    def interval(self, metric: str, level: float = 0.9) -> tuple[Num, Num]:
        """Central interval of a metric.

        Parameters
        ----------
        metric : str
            One of :data:`UNITS`.
        level : float
            Probability that the interval holds the measured value, between 0 and 1.

        Returns
        -------
        low, high : Num
            Ends, in the metric's unit.

        Raises
        ------
        UnknownNameError
            No such metric.
        InputError
            ``level`` is not between 0 and 1, or the metric is unknown for this device.
        """
        require("level", level, (int, float, np.number), "it must lie between 0 and 1, such as 0.9")
        if not 0.0 < level < 1.0:
            raise InputError(f"level is {level!r}; it must lie between 0 and 1, such as 0.9")
        value = self._metric(metric)
        if np.any(value == math.inf):
            raise InputError(f"{metric} is infinite: requests arrive faster than they are served; lower requests_per_s")
        reach = NormalDist().inv_cdf(0.5 + level / 2.0) * self.sigma(metric)
        low, high = value * exp(-reach), value * exp(reach)
        least = self.outcome.least._asdict().get(metric)
        if least is not None:  # no deployment beats the printed limits
            low = maximum(low, minimum(least, value))
        if metric in (
            "requests_per_s",
            "output_tokens_per_s",
        ):  # an open loop that is not overloaded serves what arrives
            served = (self.workload.requests_per_s > 0.0) & (self.e2e_s < math.inf)
            low, high = where(served, value, low), where(served, value, high)
        return low, high

    def sigma(self, metric: str) -> Num:
        """Log standard deviation of a metric.

        Learned: from the errors on measurements that were held out while fitting. With a given efficiency: from its
        covariance, by the delta method, and its own remainder. Either is wider where gains rest on theory alone
        (:mod:`reckoner.predict.theory`).
        """
        if metric == "memory_bytes":
            return MEMORY_SIGMA
        unproven: Floats = 0.0
        if not self.design.serving.plain:
            unproven = variance(numbers_of(self.design, self.workload), QUANTITY[metric])
        if self.given is None:
            learned = prepare(self.design).deployment.half_width[QUANTITY[metric]] / REACH_90
            return sqrt(learned**2 + unproven)
        if metric == "usd_per_m_output_tokens":
            return self.sigma("output_tokens_per_s")  # its inverse; the rate is taken as certain
        base = log(self._metric(metric))
        plan, numbers = prepare(self.design), numbers_of(self.design, self.workload)
        slopes: list[Floats] = []
        for name in NAMES:
            nudged = replace(self.given, **{name: getattr(self.given, name) * (1.0 + _STEP)})
            moved = metrics_of(plan.outcome(numbers, nudged), numbers)
            slopes.append((log(moved[metric]) - base) / _STEP)
        spread: Floats = self.given.sigma**2 + unproven + (POWER_SIGMA**2 if metric == "j_per_token" else 0.0)
        covariance = self.given.covariance
        for i, row in enumerate(slopes):
            for j, column in enumerate(slopes):
                spread = spread + float(covariance[i, j]) * row * column
        return sqrt(maximum(spread, 0.0))

    def carbon_g(self, grams_per_kwh: float, *, pue: float = 1.0, level: float = 0.9) -> tuple[Num, Num, Num]:
        """Carbon dioxide of a million output tokens, with its interval.

        Parameters
        ----------
        grams_per_kwh : float
            Carbon intensity of the supply. [g/kWh]
        pue : float
            Power of the site over that of the devices, at least 1.
        level : float
            As in :meth:`interval`; the intensity is taken as certain.

        Returns
        -------
        value, low, high : Num
            [g]

        Raises
        ------
        InputError
            A number is none that can be meant, or the device's power is unknown.
        """
        for name, given, least in (("grams_per_kwh", grams_per_kwh, 0.0), ("pue", pue, 1.0)):
            require(name, given, (int, float, np.number), "give one number")
            if not least <= given <= MOST:
                raise InputError(f"{name} is {given!r}; it must be at least {least:g}")
        joules = (self._metric("j_per_token"), *self.interval("j_per_token", level))
        value, low, high = (carbon_g(1e6 * each, grams_per_kwh, pue) for each in joules)
        return value, low, high

    def explain(self) -> tuple[Term, ...]:
        """Return every term behind the numbers: name, symbol, value, unit, formula, source."""
        from reckoner.predict.explain import terms_of

        return terms_of(self)

    def why(self) -> str:
        """Say in a sentence what binds and what would relieve it."""
        from reckoner.predict.relief import sentence

        return sentence(self)

    def relief(self) -> tuple[Relief, ...]:
        """Return changes that ease what binds, each with what it is predicted to do; the most effective first."""
        from reckoner.predict.relief import reliefs

        return reliefs(self)

    def require_fit(self) -> Prediction:
        """Return the prediction itself if it fits.

        Raises
        ------
        DoesNotFitError
            It does not; says by how much, and the smallest change that fits.
        """
        from reckoner.predict.relief import smallest_change

        if np.all(self.fits):
            return self
        device, memory = self.design.device, self.memory
        if self.memory.flash is not None and np.any(memory.flash > (device.flash_bytes or math.inf)):
            need, have, place = float(np.max(memory.flash)), device.flash_bytes, "of flash"
        else:
            need, have, place = float(np.max(self.memory_bytes)), device.memory_bytes, "of memory"
        raise DoesNotFitError(
            f"{self.design.model.name} needs {show(need, 'B', 4)} {place} on {device.name}, "
            f"which has {show(have, 'B', 4)}; {smallest_change(self)}"
        )

    def to_dict(self, level: float = 0.9) -> dict[str, Any]:
        """Plain values for JSON: the question, each metric with interval and unit, what binds, whether it fits.

        Raises
        ------
        InputError
            The question held arrays; use :func:`~reckoner.predict.sweep.sweep` for tables.
        """
        s, w = self.design.serving, self.workload
        metrics: dict[str, Any] = {}
        for name, unit in UNITS.items():
            value = getattr(self, name)
            if value is None:
                metrics[name] = None
                continue
            if not isinstance(value, float):
                raise InputError(f"{name} is an array of shape {np.shape(value)}; use sweep() for tables")
            if not math.isfinite(value):  # the queue of an overloaded server grows without end
                metrics[name] = None
                continue
            low, high = self.interval(name, level)
            metrics[name] = {"value": value, "low": low, "high": high, "unit": unit}
        return {
            "model": self.design.model.name,
            "device": self.design.device.name,
            "serving": {
                "weights": self.design.weights_format.name,
                "kv": self.design.kv_format.name,
                "compute": self.design.compute_dtype,
                "batch": s.batch,
                "tp": s.tp,
                "pp": s.pp,
                "ep": s.ep,
                **{name: getattr(s, name) for name in SERVING_NUMBERS if name not in ("batch", "tp", "pp", "ep")},
                "draft": None if self.design.draft is None else self.design.draft.name,
                "engine": self.design.engine,
                "engine_assumed": not s.engine,
                "engine_version": s.engine_version,
                "scheduler": s.scheduler,
            },
            "workload": {
                "prompt_tokens": w.prompt_tokens,
                "output_tokens": w.output_tokens,
                "requests_per_s": w.requests_per_s,
                "prefix_hit": w.prefix_hit,
            },
            "level": level,
            "metrics": metrics,
            "memory": self.memory._asdict(),
            "bound": self.bound,
            "why": self.why(),
            "fits": self.fits,
            "overloaded": self.overloaded,
            "headroom_bytes": self.headroom_bytes,
            "itl_max_s": self.itl_max_s,
            "devices": self.design.n_devices,
            "theory": list(self.theory),
            "efficiency": {"source": self.efficiency.source, "n": self.efficiency.n, "novelty": self.novelty},
        }

    @property
    def novelty(self) -> str | None:
        """How much of the design was measured before; None where the efficiency was given."""
        return None if self.given is not None else prepare(self.design).deployment.novelty

    def _metric(self, name: str) -> Num:
        require("metric", name, str, "give a name such as e2e_s")
        if name not in UNITS:
            raise UnknownNameError.of("metric", name, UNITS)
        value: Num | None = getattr(self, name)
        if value is None:
            if name == "j_per_token":
                raise InputError(f"{name} is unknown: {self.design.device.name} has no power limit in the catalogue")
            raise InputError(f"{name} is unknown: no hourly rate was given; pass usd_per_hour")
        return value


def predict(
    design: Design,
    workload: Workload | None = None,
    *,
    efficiency: Efficiency | None = None,
    usd_per_hour: float | None = None,
) -> Prediction:
    """Predict what a design does with a workload.

    Parameters
    ----------
    design : Design
        Model, device and serving.
    workload : Workload, optional
        Requests; 1024 tokens in and 256 out by default.
    efficiency : Efficiency, optional
        What the deployment gets of the printed limits; by default what was learned for designs like it.
    usd_per_hour : float, optional
        Rent of one device (:func:`reckoner.catalogue.find.rate`). [USD/h]

    Returns
    -------
    Prediction
        Broadcast over every numeric field of ``design.serving`` and ``workload``.

    Raises
    ------
    MissingFigureError
        The catalogue lacks a figure that this design needs; those present are listed.

    Examples
    --------
    >>> from reckoner.catalogue.find import device, model
    >>> design = Design(model=model("llama-3.1-8b"), device=device("h100"))
    >>> predict(design).bound
    'memory bandwidth'
    """
    asked = workload if workload is not None else _DEFAULT
    if type(design) is not Design or type(asked) is not Workload:
        require("design", design, Design, "give a reckoner.Design")
        require("workload", asked, Workload, "give a reckoner.Workload")
    if efficiency is not None:
        require("efficiency", efficiency, Efficiency, "give a reckoner.predict.efficiency.Efficiency")
    if usd_per_hour is not None:
        check_rent(usd_per_hour)
    numbers = numbers_of(design, asked)
    plan = prepare(design)
    try:
        outcome = plan.outcome(numbers, efficiency)
    except (ValueError, MemoryError) as error:
        designs = math.prod(shape_of_numbers(numbers._asdict()))  # of the design against those of the workload
        if isinstance(error, MemoryError) or designs > _ADDRESSES:
            raise InputError(f"{designs:,} designs do not fit into memory; use sweep() in parts") from error
        raise
    times, memory = outcome.times, outcome.memory
    tokens_per_s = outcome.requests_per_s * numbers.output_tokens
    return Prediction(
        design=design,
        workload=asked,
        given=efficiency,
        ttft_s=times.ttft_s,
        tpot_s=times.tpot_s,
        e2e_s=times.e2e_s,
        output_tokens_per_s=tokens_per_s,
        requests_per_s=outcome.requests_per_s,
        memory_bytes=memory.total,
        j_per_token=outcome.j_per_token,
        usd_per_m_output_tokens=None if usd_per_hour is None else price(design, usd_per_hour, tokens_per_s),
        memory=memory,
        outcome=outcome,
        usd_per_hour=usd_per_hour,
    )


_DEFAULT = Workload()
