"""What is audited: a design for each tier, the traffic each gets, and what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeAlias

from reckoner.catalogue import find
from reckoner.catalogue.device import Device
from reckoner.design import MOST, Design, Serving, Slo, Workload, check_rent
from reckoner.errors import InputError, UnknownNameError
from reckoner.physics.drift import MAJOR
from reckoner.simulate.schedulers import Continuous, Dynamic, PrefillFirst, Scheduler, Static
from reckoner.simulate.sizing import MOST_REPLICAS, REPLICA_AVAILABILITY

SERVED_TIERS = ("cloud", "edge", "mobile")
"""Tiers that serve language models, from most memory to least."""
MICRO_TIER = "tinyml"
TIERS = (*SERVED_TIERS, MICRO_TIER)

SCHEDULERS = ("continuous", "prefill-first", "dynamic", "static")
MOST_REQUESTS_PER_S = 1e12  # beyond all that people could ask. Assumption.
STEP_TOKENS = 8192
"""Tokens of a step; vLLM's default on a large GPU (:mod:`reckoner.simulate.schedulers`)."""
MOST_DEVICES = 10_000_000  # of a fleet that nobody pools
CODE_BYTES = 100 * 1024.0
"""Flash of an interpreter and its kernels. Assumption."""
RUNTIME_BYTES = 32 * 1024.0
"""SRAM of stack, buffers and interpreter. Assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTier:
    """A language model on a fleet of equal devices.

    Parameters
    ----------
    share : float
        Of all requests, 0 to 1.
    model, device : str
        Names of the catalogue, or the path of a ``config.json``.
    weights, kv : str
        Number formats.
    tp : int
        Devices that share each layer.
    replicas : int
        Copies, each on ``tp`` devices.
    batch : int
        Most requests that a replica works on at once.
    scheduler : str
        One of :data:`SCHEDULERS`.
    engine : str
        Empty for the device's usual one.
    prompt_tokens, output_tokens : int
        Of each request.
    draft_tokens : int
        Tokens drafted for each verification; 0 decodes plainly.
    acceptance : float
        Probability that a drafted token is accepted.
    usd_per_hour : float, optional
        Rent of one device; by default the catalogue's rate where it has one, nothing where the user owns the device
        (``pooled = false``), and else unknown. [USD/h]
    availability : float
        Share of time that one replica is in service.
    pooled : bool
        Whether any replica may answer any request. A phone serves its owner alone.
    """

    share: float
    model: str
    device: str
    weights: str = "bf16"
    kv: str = "bf16"
    tp: int = 1
    replicas: int = 1
    batch: int = 1
    scheduler: str = "continuous"
    engine: str = ""
    prompt_tokens: int = 32
    output_tokens: int = 256
    draft_tokens: int = 0
    acceptance: float = 0.7
    usd_per_hour: float | None = None
    availability: float = REPLICA_AVAILABILITY
    pooled: bool = True

    def __post_init__(self) -> None:
        """Hold the invariants of a tier, the design's own among them."""
        _check_share(self.share)
        for name, most in (
            ("tp", 1024),
            ("replicas", MOST_REPLICAS if self.pooled else MOST_DEVICES),
            ("batch", 4096),
            ("prompt_tokens", 1_000_000),
            ("output_tokens", 1_000_000),
        ):
            _check_count(name, getattr(self, name), 1, most)
        _check_count("draft_tokens", self.draft_tokens, 0, 64)
        _check_open_share("availability", self.availability)
        check_rent(self.usd_per_hour)
        if self.scheduler not in SCHEDULERS:
            raise UnknownNameError.of("scheduler", self.scheduler, SCHEDULERS)
        if self.draft_tokens and self.scheduler != "continuous":
            raise InputError(f"draft_tokens is {self.draft_tokens}; speculation is simulated under continuous batching")
        design_of(self)
        if not device_of(self.device).memory_bytes:
            raise InputError(f"device is {self.device}, which states no memory of its own; take one that does")

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.tp * self.replicas

    @property
    def workload(self) -> Workload:
        """Lengths of a request."""
        return Workload(prompt_tokens=float(self.prompt_tokens), output_tokens=float(self.output_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroTier:
    """A small network on microcontrollers, one inference a request: the trigger that wakes the rest.

    Parameters
    ----------
    share : float
        Of all requests, 0 to 1.
    device : str
        A microcontroller of the catalogue.
    params : float
        Weights of the network.
    weights : str
        Number format; packed "ternary" takes 1.6 bits.
    macs : float, optional
        Multiply-adds of an inference; by default one a weight, as in dense layers. [MAC]
    activation_bytes : float
        Peak of the activations. [byte]
    code_bytes, runtime_bytes : float
        Flash of the program, SRAM of stack and interpreter. [byte]
    replicas : int
        Microcontrollers, each for its owner.
    usd_per_hour : float, optional
        By default nothing: the user owns the device. [USD/h]
    availability : float
        Share of time that one is in service.
    """

    share: float
    device: str
    params: float
    weights: str = "ternary"
    macs: float | None = None
    activation_bytes: float = 64 * 1024.0
    code_bytes: float = CODE_BYTES
    runtime_bytes: float = RUNTIME_BYTES
    replicas: int = 1
    usd_per_hour: float | None = None
    availability: float = REPLICA_AVAILABILITY

    def __post_init__(self) -> None:
        """Hold the invariants of a tier."""
        _check_share(self.share)
        for name in ("params", "macs", "activation_bytes", "code_bytes", "runtime_bytes"):
            value = getattr(self, name)
            if value is not None and not (0.0 < value <= MOST or (value == 0.0 and name.endswith("bytes"))):
                raise InputError(f"{name} is {value!r}; it must be above 0")
        _check_count("replicas", self.replicas, 1, MOST_DEVICES)
        _check_open_share("availability", self.availability)
        check_rent(self.usd_per_hour)
        find.precision(self.weights)
        device = device_of(self.device)
        if device.flash_bytes is None:
            raise InputError(
                f"device is {device.name}, which has no flash for weights; take a microcontroller such as stm32h743"
            )


Tier: TypeAlias = ServedTier | MicroTier


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How the input moves away from what the models were trained on.

    Parameters
    ----------
    psi_per_day : float, optional
        Population stability index gained a day: a property of the traffic. [1/day]
    loss_per_psi : float, optional
        Accuracy lost per unit of PSI, measured for these models.
    retrain_days : float
        Days between retrainings.
    max_psi : float
        Index at most before a retraining; :data:`~reckoner.physics.drift.MAJOR` by default.
    """

    psi_per_day: float | None = None
    loss_per_psi: float | None = None
    retrain_days: float = 30.0
    max_psi: float = MAJOR

    def __post_init__(self) -> None:
        """Hold the invariants of drift."""
        for name in ("psi_per_day", "loss_per_psi"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= MOST:
                raise InputError(f"{name} is {value!r}; it must be at least 0, or absent where unknown")
        for name in ("retrain_days", "max_psi"):
            value = getattr(self, name)
            if not 0.0 < value <= MOST:
                raise InputError(f"{name} is {value!r}; it must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """Two groups that a decision is made about, and the gap between them that is allowed.

    Parameters
    ----------
    max_gap : float
        Difference of false positive rates at most, 0 to 1.
    base_rate_a, base_rate_b : float, optional
        Share of positives in each group, between 0 and 1; absent where nobody has counted.
    ppv, fnr : float
        Precision and false negative rate that both groups are to share.
    """

    max_gap: float
    base_rate_a: float | None = None
    base_rate_b: float | None = None
    ppv: float = 0.9
    fnr: float = 0.2

    def __post_init__(self) -> None:
        """Hold the invariants of a comparison."""
        for name in ("max_gap", "fnr"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be from 0 to 1")
        for name in ("base_rate_a", "base_rate_b"):
            if getattr(self, name) is not None:
                _check_open_share(name, getattr(self, name))
        if not 0.0 < self.ppv <= 1.0:
            raise InputError(f"ppv is {self.ppv!r}; it must be above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A quality that was measured, with its evidence.

    Parameters
    ----------
    model, weights : str
        Of which model in which number format.
    value : float
        Share of right answers, 0 to 1.
    n : int
        Answers behind it.
    source : str
        Where it was measured.
    """

    model: str
    weights: str
    value: float
    n: int
    source: str

    def __post_init__(self) -> None:
        """Hold the invariants of a measurement."""
        if not 0.0 <= self.value <= 1.0:
            raise InputError(f"value is {self.value!r}; a quality is from 0 to 1")
        _check_count("n", self.n, 1, 10**12)
        if not self.source.strip():
            raise InputError("source is empty; say where the quality was measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A deployment over all tiers.

    Parameters
    ----------
    name : str
        What it is called.
    slo : Slo
        What was promised; ``requests_per_s`` is the demand over all tiers.
    tiers : mapping of str to ServedTier or MicroTier
        By name, of :data:`TIERS`; their shares add up to 1.
    headroom : float
        Share by which capacity must exceed the demand.
    drift : Drift
        Of the input.
    fairness : Fairness, optional
        Where decisions about people are made.
    quality : tuple of Measured
        What was measured; everything else is unknown.

    Raises
    ------
    InputError
        A share is out of range, they do not add up, or the demand is absent.
    """

    name: str
    slo: Slo
    tiers: Mapping[str, Tier]
    headroom: float = 0.0
    drift: Drift = field(default_factory=Drift)
    fairness: Fairness | None = None
    quality: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        """Hold the invariants of a plan."""
        if not self.tiers:
            raise InputError(f"tiers is empty; give at least one of {', '.join(TIERS)}")
        for name, tier in self.tiers.items():
            if name not in TIERS:
                raise UnknownNameError.of("tier", name, TIERS)
            if isinstance(tier, MicroTier) != (name == MICRO_TIER):
                raise InputError(f"tiers.{name}: only {MICRO_TIER} runs a network of `params`; the others a `model`")
        total = sum(tier.share for tier in self.tiers.values())
        if abs(total - 1.0) > 1e-6:
            raise InputError(f"the shares of the tiers add up to {total:.6g}; they must add up to 1")
        if self.slo.requests_per_s is None:
            raise InputError("slo.requests_per_s is absent; give the demand in requests a second")
        if self.slo.requests_per_s > MOST_REQUESTS_PER_S:
            raise InputError(
                f"slo.requests_per_s is {self.slo.requests_per_s!r}; it must be at most {MOST_REQUESTS_PER_S:g}"
            )
        if not 0.0 <= self.headroom <= 10.0:
            raise InputError(f"headroom is {self.headroom!r}; it must be from 0 to 10")
        object.__setattr__(self, "tiers", {name: self.tiers[name] for name in TIERS if name in self.tiers})

    def demand(self, name: str) -> float:
        """Requests a second that a tier gets."""
        assert self.slo.requests_per_s is not None  # held by __post_init__
        return self.slo.requests_per_s * self.tiers[name].share

    def with_tier(self, name: str, **changes: Any) -> Plan:
        """Return the plan with fields of one tier changed."""
        known = {f.name for f in fields(self.tiers[name])}
        for change in changes:
            if change not in known:
                raise UnknownNameError.of(f"field of tiers.{name}", change, known)
        tier = replace(self.tiers[name], **changes)
        return replace(self, tiers={**self.tiers, name: tier})


def scheduler_of(tier: ServedTier) -> Scheduler:
    """Scheduler of the simulator that a tier names."""
    if tier.scheduler == "static":
        return Static(batch=tier.batch)
    if tier.scheduler == "dynamic":
        return Dynamic(batch=tier.batch)
    kind = Continuous if tier.scheduler == "continuous" else PrefillFirst
    return kind(max_seqs=tier.batch, token_budget=max(STEP_TOKENS, tier.batch))


def design_of(tier: ServedTier) -> Design:
    """Design of one replica."""
    serving = Serving(
        weights=tier.weights,
        kv=tier.kv,
        tp=float(tier.tp),
        batch=float(tier.batch),
        scheduler="static" if tier.scheduler in ("static", "dynamic") else "continuous",
        engine=tier.engine,
        draft_tokens=float(tier.draft_tokens),
        acceptance=tier.acceptance,
    )
    return _design(tier.model, tier.device, serving)


@cache
def _design(model: str, device: str, serving: Serving) -> Design:
    """The same design for equal tiers: what is reckoned from it is kept by its identity."""
    design = Design(model=find.model(model), device=device_of(device), serving=serving)
    tp = float(serving.tp)
    if tp > 1.0 and design.device.link_bytes_per_s is None:
        raise InputError(f"tp is {tp:g}, but {design.device.name} has no link to another device; take tp = 1")
    return design


@cache
def device_of(name: str) -> Device:
    """Return a device of the catalogue; the look-up is kept."""
    return find.device(name)


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise InputError(f"share is {share!r}; it must be from 0 to 1")


def _check_open_share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} is {value!r}; it must lie between 0 and 1")


def _check_count(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; it must be a whole number from {least} to {most:,}")
