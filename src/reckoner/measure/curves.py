"""Cost curves: memory and decode latency against context length, with and without the KV cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from reckoner.errors import DamagedError, EngineError, InputError
from reckoner.files import canonical_json, read_json, sha256, write_json
from reckoner.lock import locked
from reckoner.measure.curve_results import CurvesPlan, CurvesResult, TargetCurves, combine
from reckoner.measure.environment import THREAD_VARIABLES, fingerprint
from reckoner.measure.latency_rounds import Journal, LatencySpec
from reckoner.measure.memory_point import ENVIRONMENT, MemoryPoint, MemorySpec
from reckoner.measure.subjects import EngineName, ModelInfo, Target, TargetId

WORK = "curves-work"
FORM = 1  # of the three JSON files: raised when a field changes, so that an older run is measured anew and not refused
# A memory point takes seconds; one that takes minutes hangs, as llama.cpp's server was seen to do when it was stopped
# in the moment of its start.
_MEMORY_LIMIT_S = 300.0
_MEMORY_SHARE = 0.25  # of a target's progress: about what its memory points take in the demo

__all__ = ["CurvesPlan", "CurvesResult", "EngineName", "Target", "TargetCurves", "run_curves"]


def run_curves(
    targets: Sequence[Target],
    *,
    out: Path,
    plan: CurvesPlan,
    progress: Callable[[float], None] | None = None,
) -> CurvesResult:
    """Measure every target and write ``memory.json``, ``latency.json`` and ``manifest.json`` under ``out``.

    Latency runs in a process of its own for each target, on one thread and one core; each memory point in a fresh one.
    Samples are kept under ``out/curves-work`` as they come, so that a run that was killed goes on where it stopped.
    A finished run of the same plan, targets and machine is read back, not measured again: delete ``manifest.json``
    to measure anew.

    Parameters
    ----------
    progress : callable, optional
        Called with the share done, 0 to 1.

    Raises
    ------
    InputError
        No targets, two of one name on one engine, or a model folder that is not there.
    EngineError
        A measuring process failed; the message holds its last line.
    ReckonerError
        Another run measures into ``out``.
    """
    if not targets:
        raise InputError("targets is empty; give at least one decoder and engine to measure")
    identities = [target.identity() for target in targets]
    names = [identity.key for identity in identities]
    if len(set(names)) < len(names):
        raise InputError(f"targets are {', '.join(names)}; give each decoder and engine once")
    key = _key(identities, plan)
    if (out / "manifest.json").exists():
        finished = _finished(out, key)
        if finished is not None:
            return finished
    with locked(out / WORK / "lock", wait=False):
        curves = []
        for index, (target, identity) in enumerate(zip(targets, identities, strict=True)):

            def tell(share: float, index: int = index) -> None:
                if progress is not None:
                    progress((index + share) / len(targets))

            curves.append(_measure(target, identity, plan, out / WORK / key / identity.key, tell))
            tell(1.0)
        result = CurvesResult(date=time.strftime("%Y-%m-%d"), key=key, plan=plan, targets=tuple(curves))
        result.write(out)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return result


def _finished(out: Path, key: str) -> CurvesResult | None:
    manifest = read_json(out / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("key") != key:
        return None
    return CurvesResult.read(out)


def _key(identities: Sequence[TargetId], plan: CurvesPlan) -> str:
    """Digest of all that decides the figures but chance: plan, weights, machine, versions, and the results' form."""
    machine = fingerprint().to_json()
    del machine["thread_env"]  # the measuring processes set their own
    return sha256(canonical_json([FORM, _plain(identities), _plain(plan), machine]))[:16]


def _measure(
    target: Target, identity: TargetId, plan: CurvesPlan, work: Path, tell: Callable[[float], None]
) -> TargetCurves:
    journal_path = work / "latency.json"
    spec = LatencySpec(
        target=target,
        s_points=plan.s_points,
        repeats=plan.repeats,
        warmups=plan.warmups,
        point_budget_s=plan.point_budget_s,
        seed=plan.seed,
        journal=str(journal_path),
        folder=str(work),
    )
    journal = Journal.read(journal_path)
    if not journal.finished:
        _child("reckoner.measure.latency_rounds", spec, work, {}, lambda line: tell((1 - _MEMORY_SHARE) * float(line)))
        journal = Journal.read(journal_path)
    if journal.model is None:
        raise EngineError(f"{identity.key}: the measuring process left no samples; run again")
    points = []
    for index, s in enumerate(plan.s_points):
        points.append(_memory_point(target, journal.model, plan, s, work))
        tell(1 - _MEMORY_SHARE * (1 - (index + 1) / len(plan.s_points)))
    return combine(identity, plan, journal, tuple(points))


def _memory_point(target: Target, model: ModelInfo, plan: CurvesPlan, s: int, work: Path) -> MemoryPoint:
    path = work / f"memory-{s}.json"
    if path.exists():
        try:
            return msgspec.convert(read_json(path), MemoryPoint)
        except msgspec.ValidationError as error:
            raise DamagedError(f"{path} is not a memory point ({error}); delete it to measure anew") from error
    gguf, adapter = work / f"{target.name}.gguf", work / f"{target.name}.adapter.gguf"
    spec = MemorySpec(
        target=target,
        model=model,
        s=s,
        s_max=max(plan.s_points),
        prefill=model.parameters <= plan.prefill_parameters,
        seed=plan.seed,
        gguf=str(gguf) if gguf.exists() else None,
        adapter=str(adapter) if adapter.exists() else None,
    )
    lines: list[str] = []
    _child("reckoner.measure.memory_point", spec, work, ENVIRONMENT, lines.append, _MEMORY_LIMIT_S)
    point = msgspec.json.decode(lines[-1], type=MemoryPoint)
    write_json(path, msgspec.to_builtins(point))
    return point


def _child(
    module: str,
    spec: object,
    work: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    limit_s: float | None = None,
) -> None:
    """Run ``module`` on ``spec`` in a fresh single-threaded Python and hand over each line of its output.

    Raises
    ------
    EngineError
        It failed, or was killed because it took longer than ``limit_s``.
    """
    name = module.rpartition(".")[2]
    spec_path = write_json(work / f"{name}.spec.json", _plain(spec))
    log = work / f"{name}.log"
    one_thread = dict.fromkeys(THREAD_VARIABLES, "1")
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, str(spec_path)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **one_thread, **environment},
            text=True,
        ) as process,
    ):
        watchdog = None if limit_s is None else threading.Timer(limit_s, process.kill)
        if watchdog is not None:
            watchdog.start()
        try:
            for line in process.stdout or ():
                on_line(line.strip())
            code = process.wait()
        finally:
            if watchdog is not None:
                watchdog.cancel()
            # Ctrl-C or an error above: a measurement that nobody reads must not go on and disturb the next one.
            if process.poll() is None:
                process.kill()
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise EngineError(f"{name} ended with {code}: {lines[-1] if lines else 'no message'}")


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)
