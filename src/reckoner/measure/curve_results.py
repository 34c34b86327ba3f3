"""What a run of cost curves gave, with the theory beside each point, as it is written to and read from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from reckoner.errors import DamagedError, InputError
from reckoner.files import read_json, write_json
from reckoner.measure.curve_theory import Theory, theory_of
from reckoner.measure.environment import Environment
from reckoner.measure.fits import Crossover, Law, find_crossover, fit_law
from reckoner.measure.latency_rounds import Journal
from reckoner.measure.memory_point import MemoryPoint
from reckoner.measure.protocol import Caution, Summary, series_cautions, summarise
from reckoner.measure.subjects import ModelInfo, TargetId

EXPERIMENT = "kv-cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesPlan:
    """What is measured and how often: the one set of parameters of a run.

    Attributes
    ----------
    s_points : tuple of int
        Context lengths, ascending. [token]
    repeats, warmups : int
        Timed and untimed runs of each point.
    fit_up_to : int
        Largest context that the fits may see; the higher ones try the extrapolation. [token]
    point_budget_s : float
        Time that the repeats of one point may take; a point too slow for all of them gets fewer, at least one, and its
        number says so. [s]
    prefill_parameters : int
        Decoders up to this size fill the cache by a real prefill when memory is measured; larger ones append keys and
        values of their shape, which touches the same bytes without the arithmetic.
    """

    s_points: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    repeats: int = 100
    warmups: int = 3
    fit_up_to: int = 256
    point_budget_s: float = 90.0
    prefill_parameters: int = 10**12
    seed: int = 42

    def __post_init__(self) -> None:
        for s in self.s_points:
            if s < 1:
                raise InputError(f"s_points holds {s}; a context has at least 1 token")
        if list(self.s_points) != sorted(set(self.s_points)):
            raise InputError(f"s_points is {list(self.s_points)}; give each context once, in ascending order")
        fitted = sum(s <= self.fit_up_to for s in self.s_points)
        if fitted < 3:
            raise InputError(
                f"fit_up_to is {self.fit_up_to} and leaves {fitted} of s_points for the fits; they need 3 or more"
            )
        if self.repeats < 1 or self.warmups < 1:
            raise InputError(
                f"repeats is {self.repeats} and warmups {self.warmups}; at least 1 each, a warm-up tells what fits the "
                "budget"
            )
        if not self.point_budget_s > 0:
            raise InputError(
                f"point_budget_s is {self.point_budget_s}; give the repeats of a point some time, above 0 s"
            )

    @classmethod
    def record(cls) -> CurvesPlan:
        """The full run: 100 repeats a point, fewer only where they would take more than a minute and a half."""
        return cls()

    @classmethod
    def demo(cls) -> CurvesPlan:
        """About a minute on two cores for the tutor and the decoder of 100 M parameters on both engines."""
        return cls(repeats=40, point_budget_s=0.2, prefill_parameters=20_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPoint:
    """One decode step at context ``s``, measured and in theory. [ms].

    ``theory_ms_*`` come from this machine's own copy bandwidth and matrix-product rate in the same run: lower bounds
    where the weights stream from memory and no kernel is faster than the product that was timed.
    """

    s: int
    per_token_ms_with_cache: Summary
    per_token_ms_without_cache: Summary
    theory_ms_with_cache: float
    theory_ms_without_cache: float
    warmups_with_cache: int
    warmups_without_cache: int
    relative_logit_difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryErrors:
    """Largest relative differences over all points; None where the engine does not show the figure.

    ``used`` compares the cache's own count with theory, ``pages`` the resident growth with the pages that hold it,
    ``rss`` the resident growth with theory itself (large at short contexts: whole pages are the floor). On llama.cpp
    ``rss`` compares differences between contexts, since compute buffers add a constant.
    """

    used: float | None
    pages: float | None
    rss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCurves:
    """Both curves of one decoder on one engine."""

    target: TargetId
    model: ModelInfo
    memory: tuple[MemoryPoint, ...]
    memory_errors: MemoryErrors
    latency: tuple[LatencyPoint, ...]
    with_cache: Law
    without_cache: Law
    crossover: Crossover
    theory: Theory
    environment: Environment
    pinned_core: int | None
    processes: int
    cautions: tuple[Caution, ...]

    @property
    def memory_error(self) -> float | None:
        """Largest relative error of the resident growth to theory in whole pages, in bytes where pages are not told."""
        return self.memory_errors.rss if self.memory_errors.pages is None else self.memory_errors.pages

    @property
    def summary(self) -> dict[str, float | str | None]:
        """The manifest's ``results_summary``."""
        return {
            "memory_max_relative_error_to_theory": self.memory_error,
            "memory_max_relative_error_rss_to_bytes": self.memory_errors.rss,
            "memory_max_relative_error_cache_count": self.memory_errors.used,
            "latency_with_cache_R2": self.with_cache.r2,
            "latency_without_cache_R2": self.without_cache.r2,
            "latency_with_cache_max_extrapolation_error": self.with_cache.max_extrapolation_error,
            "latency_without_cache_max_extrapolation_error": self.without_cache.max_extrapolation_error,
            "crossover_S": self.crossover.s,
            "crossover": self.crossover.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesResult:
    """A finished run."""

    date: str
    key: str
    plan: CurvesPlan
    targets: tuple[TargetCurves, ...]

    def write(self, out: Path) -> None:
        """Write ``memory.json``, ``latency.json`` and, last, ``manifest.json``: a manifest means that all is there."""
        latency, memory = [], []
        for one in self.targets:
            head = {"target": one.target.key, "model": one.model.name, "engine": one.target.engine}
            memory.append({**head, "points": _plain(one.memory), "max_relative_errors": _plain(one.memory_errors)})
            latency.append(
                {
                    **head,
                    "points": _plain(one.latency),
                    "with_cache": _plain(one.with_cache),
                    "without_cache": _plain(one.without_cache),
                    "crossover": _plain(one.crossover),
                    "theory": _plain(one.theory),
                    "cautions": _plain(one.cautions),
                }
            )
        write_json(out / "memory.json", {"experiment": EXPERIMENT, "key": self.key, "targets": memory})
        write_json(out / "latency.json", {"experiment": EXPERIMENT, "key": self.key, "targets": latency})
        write_json(out / "manifest.json", self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Where, when and how; the fields at the top are those of the first target."""
        first = self.targets[0]
        here = first.environment
        return {
            "experiment": EXPERIMENT,
            "key": self.key,
            "date": self.date,
            "seed": self.plan.seed,
            "versions": dict(here.versions),
            "hardware": {
                "cpu_model": here.cpu_model,
                "cores_threads": f"{here.physical_cores or '?'}/{here.logical_cores}",
                "ram_gib": here.ram_gib,
                "cpu_governor_at_run": here.governor,
            },
            "environment": here.to_json(),
            "model": _model(first.model),
            "config": {
                "S_points": list(self.plan.s_points),
                "reps_per_point": self.plan.repeats,
                "warmup_reps": self.plan.warmups,
                **_plain(self.plan),
            },
            "results_summary": first.summary,
            "targets": [
                {
                    "target": _plain(one.target),
                    "model": _plain(one.model),
                    "pinned_core": one.pinned_core,
                    "processes": one.processes,
                    "results_summary": one.summary,
                }
                for one in self.targets
            ],
        }

    @classmethod
    def read(cls, out: Path) -> CurvesResult:
        """Read back what :meth:`write` wrote.

        Raises
        ------
        InputError
            There is no finished run in ``out``.
        DamagedError
            A file is damaged, or the three are not of one run.
        """
        manifest, memory, latency = (read_json(out / f"{name}.json") for name in ("manifest", "memory", "latency"))
        try:
            if not manifest["key"] == memory["key"] == latency["key"]:
                raise DamagedError(
                    f"{out}: manifest.json, memory.json and latency.json are of different runs; run anew"
                )
            environment = msgspec.convert(manifest["environment"], Environment)
            targets = tuple(
                TargetCurves(
                    target=msgspec.convert(meta["target"], TargetId),
                    model=msgspec.convert(meta["model"], ModelInfo),
                    memory=msgspec.convert(held["points"], tuple[MemoryPoint, ...]),
                    memory_errors=msgspec.convert(held["max_relative_errors"], MemoryErrors),
                    latency=msgspec.convert(timed["points"], tuple[LatencyPoint, ...]),
                    with_cache=msgspec.convert(timed["with_cache"], Law),
                    without_cache=msgspec.convert(timed["without_cache"], Law),
                    crossover=msgspec.convert(timed["crossover"], Crossover),
                    theory=msgspec.convert(timed["theory"], Theory),
                    environment=environment,
                    pinned_core=meta["pinned_core"],
                    processes=meta["processes"],
                    cautions=msgspec.convert(timed["cautions"], tuple[Caution, ...]),
                )
                for meta, held, timed in zip(manifest["targets"], memory["targets"], latency["targets"], strict=True)
            )
            plan = msgspec.convert({name: manifest["config"][name] for name in CurvesPlan.__slots__}, CurvesPlan)
            return cls(date=manifest["date"], key=manifest["key"], plan=plan, targets=targets)
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise DamagedError(
                f"{out}: not a finished run of cost curves ({error}); delete manifest.json to measure anew"
            ) from error


def combine(target: TargetId, plan: CurvesPlan, journal: Journal, memory: tuple[MemoryPoint, ...]) -> TargetCurves:
    """Medians, fits, crossover and theory of one target from its raw samples.

    Raises
    ------
    DamagedError
        The journal is not a finished one.
    """
    model, environment = journal.model, journal.environment
    if model is None or environment is None or not journal.finished:
        raise DamagedError(f"the latency journal of {target.key} is not finished; delete it to measure anew")

    def summaries(mode: str) -> list[Summary]:
        return [summarise([1e3 * sample for sample in journal.samples[f"{mode}:{s}"]]) for s in plan.s_points]

    cached, uncached = summaries("cached"), summaries("uncached")
    with_cache = fit_law(
        plan.s_points, [point.median for point in cached], ["alpha_ms", "beta_ms_per_token"], fit_up_to=plan.fit_up_to
    )
    without_cache = fit_law(
        plan.s_points,
        [point.median for point in uncached],
        ["a_ms", "b_ms_per_token", "c_ms_per_token2"],
        fit_up_to=plan.fit_up_to,
    )
    theory = theory_of(
        model,
        copy_bytes_per_s=median(journal.copy_bytes_per_s),
        gemm_flop_per_s=median(journal.gemm_flop_per_s),
        alpha_ms=with_cache.coefficients[0].value,
    )
    cautions = journal.cautions
    for mode, points in (("with cache", cached), ("without cache", uncached)):
        cautions += series_cautions(f"{target.key} {mode}", plan.s_points, points)
    return TargetCurves(
        target=target,
        model=model,
        memory=memory,
        memory_errors=_memory_errors(memory),
        latency=tuple(
            LatencyPoint(
                s=s,
                per_token_ms_with_cache=having,
                per_token_ms_without_cache=without,
                theory_ms_with_cache=theory.with_cache_ms(s),
                theory_ms_without_cache=theory.without_cache_ms(s),
                warmups_with_cache=journal.warmups[f"cached:{s}"],
                warmups_without_cache=journal.warmups[f"uncached:{s}"],
                relative_logit_difference=journal.differences.get(str(s)),
            )
            for s, having, without in zip(plan.s_points, cached, uncached, strict=True)
        ),
        with_cache=with_cache,
        without_cache=without_cache,
        crossover=find_crossover(plan.s_points, cached, uncached),
        theory=theory,
        environment=environment,
        pinned_core=journal.pinned_core,
        processes=journal.processes,
        cautions=cautions,
    )


def _memory_errors(memory: Sequence[MemoryPoint]) -> MemoryErrors:
    used = [abs(p.bytes_used / p.theory_bytes - 1) for p in memory if p.bytes_used is not None]
    pages = [abs(p.rss_growth_bytes / p.page_bytes - 1) for p in memory if p.page_bytes]
    least, constant = smallest_theory_bytes(memory), constant_bytes(memory)
    rss = [
        abs((p.rss_growth_bytes - constant - least) / (p.theory_bytes - least) - 1)
        for p in memory
        if p.theory_bytes > least
    ]
    if used:
        rss = [abs(p.rss_growth_bytes / p.theory_bytes - 1) for p in memory]
    return MemoryErrors(used=max(used, default=None), pages=max(pages, default=None), rss=max(rss, default=None))


def smallest_theory_bytes(memory: Sequence[MemoryPoint]) -> int:
    """Theory at the smallest capacity. [byte]."""
    return min(point.theory_bytes for point in memory)


def constant_bytes(memory: Sequence[MemoryPoint]) -> float:
    """What an engine that fills its cache at start holds besides it: the median over its smallest caches. [byte]."""
    least = smallest_theory_bytes(memory)
    return median(point.rss_growth_bytes for point in memory if point.theory_bytes == least) - least


def _model(model: ModelInfo) -> dict[str, Any]:
    """The model under the seed's symbols."""
    return {
        "name": model.name,
        "L": model.n_layers,
        "H": model.n_heads,
        "H_kv": model.n_kv_heads,
        "d_h": model.head_dim,
        "S_max": model.s_max,
        "dtype": model.dtype,
        **_plain(model),
    }


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)
