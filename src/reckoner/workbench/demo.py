"""The main job: register the tutor's three versions, grade, measure, price them, and write the report.

Each stage leaves its result under ``work``; killed at any moment and started again, the job goes on where it stopped.
What it writes for people is derived from those results at the end of each stage, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from reckoner._version import __version__
from reckoner.engines import gguf_file, weights
from reckoner.engines.base import Engine
from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import CONFIG_100M
from reckoner.engines.tokenizer import Tokenizer
from reckoner.evaluate.grade import DEFAULT_SAMPLING, grade
from reckoner.evaluate.probes import Probe, eval_set_hash, load_probes
from reckoner.evaluate.report import Report, Sampling
from reckoner.files import read_json, sha256, sha256_file, write_atomic
from reckoner.finops.inputs import SCHEMA, freeze_inputs
from reckoner.lock import locked
from reckoner.measure.curves import CurvesPlan, CurvesResult, Target, run_curves
from reckoner.measure.environment import fingerprint
from reckoner.measure.protocol import machine_cautions, machine_load, pinned
from reckoner.measure.subjects import EngineName
from reckoner.measure.throughput import Throughput, measure_throughput, read_prompts
from reckoner.registry.store import Registry
from reckoner.registry.version import Lineage, Version
from reckoner.report.costs import write_costs
from reckoner.report.curves_text import write_curves
from reckoner.report.demo_page import demo_page
from reckoner.tutor import versions as tutor
from reckoner.workbench.stages import Stages

STAGES = ("register", "grade", "throughput", "curves", "price", "report")
Progress = Callable[[str, float], None]
CURVE_ENGINES: tuple[EngineName, ...] = ("numpy", "llamacpp")

# The seed's notional rate of a local laptop CPU (seed 000, Block A, read 2026-11-20).
RATE = {
    "usd_per_hour": 0.05,
    "comment": "notional: amortised hardware and electricity of a local CPU; not a bill for this machine",
    "source": "FinOps lab (seed 000), Block A: $0.05/h for an i5-8250U laptop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """How much is measured; :meth:`demo` for minutes, :meth:`record` for the committed record.

    Attributes
    ----------
    throughput_s : float
        Length of one throughput test. [s]
    throughput_repeats : int
        Tests of each version, turn about.
    new_tokens : int
        Tokens that every request of the throughput test generates.
    curves : CurvesPlan
        The cost curves.
    """

    name: str
    throughput_s: float
    throughput_repeats: int
    curves: CurvesPlan
    new_tokens: int = 32
    seed: int = 42
    sampling: Sampling = DEFAULT_SAMPLING

    @classmethod
    def demo(cls) -> DemoPlan:
        """Minutes on two cores."""
        return cls(name="demo", throughput_s=2.0, throughput_repeats=5, curves=CurvesPlan.demo())

    @classmethod
    def record(cls) -> DemoPlan:
        """60 s a throughput test, 5 repeats, 100 decode repeats a point."""
        return cls(name="record", throughput_s=60.0, throughput_repeats=5, curves=CurvesPlan.record())


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the artefacts go."""

    work: Path
    registry: Path
    finops: Path
    kv_cost: Path
    costs_md: Path
    report_html: Path

    @classmethod
    def under(cls, out: Path) -> Places:
        """Everything under one folder."""
        return cls(
            work=out / ".work",
            registry=out / "registry",
            finops=out / "experiments" / "finops",
            kv_cost=out / "experiments" / "kv-cost",
            costs_md=out / "COSTS.md",
            report_html=out / "report.html",
        )

    @classmethod
    def committed(cls, root: Path) -> Places:
        """The record in a checkout: ``experiments/`` and ``docs/COSTS.md``; page and registry stay under ``out/``."""
        return replace(
            cls.under(root / "out" / "record"),
            finops=root / "experiments" / "finops",
            kv_cost=root / "experiments" / "kv-cost",
            costs_md=root / "docs" / "COSTS.md",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the job found; every figure stands in the artefacts too.

    Attributes
    ----------
    costs : dict
        ``cpqu.json``.
    reports : dict of str to Report
        By semver.
    speeds : dict of str to Throughput
        By semver.
    agreement : dict of str to dict
        By semver: on how many probes NumPy and llama.cpp gave the same answer.
    resumed : tuple of str
        Stages that were read back.
    """

    costs: dict[str, Any]
    reports: dict[str, Report]
    speeds: dict[str, Throughput]
    agreement: dict[str, dict[str, Any]]
    curves: CurvesResult
    resumed: tuple[str, ...]


def run_demo(plan: DemoPlan, places: Places, *, progress: Progress) -> DemoResult:
    """Run, or go on with, the main job; two at once in one folder are refused.

    Parameters
    ----------
    progress : callable
        Told (stage, share done from 0 to 1).

    Raises
    ------
    ReckonerError
        The disk is full, a shipped file is damaged, an engine does not start; what was finished stays. Or another
        run works there.
    """
    with locked(places.work / "lock", wait=False):
        return _run(plan, places, progress)


def _run(plan: DemoPlan, places: Places, progress: Progress) -> DemoResult:
    stages = Stages(folder=places.work / "stages")
    registry = Registry.open(places.registry)
    named = _register(registry, progress)
    probes = load_probes(tutor.probes_path())
    resumed: list[str] = []

    graded = {}
    for index, (semver, version) in enumerate(named.items()):
        inputs = {
            "digest": version.digest,
            "eval_set": eval_set_hash(probes),
            "sampling": plan.sampling.to_json(),
            "code": __version__,
        }
        told = _share(progress, "grade", index, len(named))
        graded[semver], kept = stages.run(
            f"grade-{semver}",
            inputs,
            partial(_grade, registry, version, probes, plan.sampling, places.work, told),
        )
        told(1.0)
        if kept:
            resumed.append(f"grade {semver}")
    reports = {semver: Report.from_json(result["report"]) for semver, result in graded.items()}

    speeds_json, kept = stages.run(
        "throughput",
        {
            "digests": [version.digest for version in named.values()],
            "plan": [plan.throughput_s, plan.throughput_repeats, plan.new_tokens, plan.seed],
            "prompts": sha256_file(tutor.throughput_path()),
            "machine": fingerprint().fingerprint,
        },
        lambda: _throughput(registry, named, plan, places.work, progress),
    )
    progress("throughput", 1.0)
    if kept:
        resumed.append("throughput")
    speeds = {semver: Throughput.from_json(value) for semver, value in speeds_json["speeds"].items()}

    curves = run_curves(
        _targets(registry, named["v0.1.0"]),
        out=places.work / "kv-cost",
        plan=plan.curves,
        progress=lambda share: progress("curves", share),
    )
    write_curves(curves, places.kv_cost)
    progress("curves", 1.0)

    freeze_inputs(
        places.finops / "cost_inputs.json",
        {
            "schema": SCHEMA,
            "rate": RATE,
            "eval_set_hash": eval_set_hash(probes),
            "throughput_method": speeds_json["method"],
            "choice_options": min(len(probe.candidates) for probe in probes),
            "models": {
                version.digest: {
                    "semver": semver,
                    "notes": version.notes,
                    "engine": speeds[semver].engine,
                    "throughput": speeds[semver].to_json(),
                    "eval_report": reports[semver].to_json(),
                }
                for semver, version in named.items()
            },
        },
    )
    progress("price", 0.5)
    write_costs(places.finops, places.costs_md)
    progress("price", 1.0)

    costs = read_json(places.finops / "cpqu.json")
    write_atomic(
        places.report_html,
        demo_page(
            curves=curves,
            costs=read_json(places.finops / "cost_inputs.json"),
            evaluation={semver: report.to_json() for semver, report in reports.items()},
            lineage_mermaid=registry.lineage_mermaid(),
            manifest={"finops": read_json(places.finops / "manifest.json"), "kv-cost": curves.manifest()},
        ),
    )
    progress("report", 1.0)
    return DemoResult(
        costs=costs,
        reports=reports,
        speeds=speeds,
        agreement={semver: result["agreement"] for semver, result in graded.items()},
        curves=curves,
        resumed=tuple(resumed),
    )


def _register(registry: Registry, progress: Progress) -> dict[str, Version]:
    """The three versions, each below its parent; doing it again changes nothing."""
    named: dict[str, Version] = {}
    for index, semver in enumerate(tutor.VERSIONS, start=1):
        told = dict(tutor.lineage(semver))
        parent = told.pop("parent")
        lineage = Lineage(parent=None if parent is None else named[parent].digest, **told)
        run_id = registry.register_pending(tutor.files(semver), lineage=lineage, notes=tutor.notes(semver))
        named[semver] = registry.promote(run_id, semver)
        progress("register", index / len(tutor.VERSIONS))
    return named


def _targets(registry: Registry, version: Version) -> tuple[Target, ...]:
    """The tutor and a decoder large enough that bandwidth and not Python is measured, on both engines."""
    files = {role: str(path) for role, path in registry.files(version).items()}
    return tuple(
        target
        for engine in CURVE_ENGINES
        for target in (
            Target(name="tutor", engine=engine, files=files),
            Target(name="random-100m", engine=engine, config=CONFIG_100M),
        )
    )


def _share(progress: Progress, stage: str, index: int, of: int) -> Callable[[float], None]:
    return lambda share: progress(stage, (index + share) / of)


def _grade(
    registry: Registry,
    version: Version,
    probes: Sequence[Probe],
    sampling: Sampling,
    work: Path,
    told: Callable[[float], None],
) -> dict[str, Any]:
    """Grade with the transparent engine, then see whether the real engine gives the same words."""
    files = registry.files(version)
    tokenizer = Tokenizer.load(files["tokenizer.json"])
    transparent = NumpyDecoder(weights.load(files))
    report = grade(
        transparent,
        tokenizer,
        probes,
        model_digest=version.digest,
        sampling=sampling,
        progress=lambda done, total: told(0.8 * done / total),
    )
    with _llamacpp(files, work / "gguf" / version.digest) as engine:
        other = grade(
            engine,
            tokenizer,
            probes,
            model_digest=version.digest,
            sampling=None,
            progress=lambda done, total: told(0.8 + 0.2 * done / total),
        )
    different = [a.id for a, b in zip(report.outcomes, other.outcomes, strict=True) if a.answer != b.answer]
    return {
        "report": report.to_json(),
        "agreement": {
            "probes": len(report.outcomes),
            "same": len(report.outcomes) - len(different),
            "different": different,
            "llamacpp_accuracy": other.accuracy.to_json(),
        },
    }


@contextmanager
def _llamacpp(files: Mapping[str, Path], folder: Path) -> Iterator[LlamaCpp]:
    """llama.cpp on a version's weights; its GGUF files are written once."""
    loaded = weights.load(files)
    model, adapter = folder / "model.gguf", folder / "adapter.gguf"
    if not model.exists():
        gguf_file.write_gguf(loaded, read_json(files["tokenizer.json"]), model)
    if loaded.adapter is not None and not adapter.exists():
        gguf_file.write_lora_gguf(loaded, adapter)
    engine = LlamaCpp(model, lora_path=adapter if loaded.adapter is not None else None, n_ctx=512, threads=1)
    try:
        yield engine
    finally:
        engine.close()


def _key(named: Mapping[str, Version]) -> str:
    """Eight digits that change with any version's content, so that no journal outlives its weights."""
    return sha256("".join(version.digest for version in named.values()))[:8]


def _throughput(
    registry: Registry, named: dict[str, Version], plan: DemoPlan, work: Path, progress: Progress
) -> dict[str, Any]:
    prompts = read_prompts(tutor.throughput_path())
    tokenizer = Tokenizer.load(registry.files(named["v0.1.0"])["tokenizer.json"])
    ids = [tokenizer.encode(text) for _, text in prompts]
    before = machine_load()
    with ExitStack() as stack:
        core = stack.enter_context(pinned())
        engines: dict[str, Engine] = {
            semver: stack.enter_context(_llamacpp(registry.files(version), work / "gguf" / version.digest))
            for semver, version in named.items()
        }
        speeds = measure_throughput(
            engines,
            ids,
            seconds=plan.throughput_s,
            repeats=plan.throughput_repeats,
            max_new_tokens=plan.new_tokens,
            seed=plan.seed,
            progress=lambda share: progress("throughput", share),
            journal=work / f"throughput-{_key(named)}.json",
        )
    here = fingerprint()
    return {
        "speeds": {semver: speed.to_json() for semver, speed in speeds.items()},
        "method": {
            "engine": "llamacpp",
            "prompts": tutor.throughput_path().name,
            "prompts_sha256": sha256_file(tutor.throughput_path()),
            "seconds_per_test": plan.throughput_s,
            "repeats": plan.throughput_repeats,
            "new_tokens_per_request": plan.new_tokens,
            "order": "versions interleaved, order rotated each round",
            "statistic": "median over repeats; distribution-free interval",
            "threads": 1,
            "pinned_core": core,
            "batch": 1,
            "utilisation": 1.0,
            "measured_on": datetime.now(UTC).date().isoformat(),
            "machine": here.to_json(),
            "cautions": [c.message for c in machine_cautions(here, load=before, pinned_core=core)],
        },
    }
