"""Decode latency of one target, all contexts and both modes turn about, in a process of its own on one thread.

Run as ``python -m reckoner.measure.latency_rounds SPEC.json``: progress (a number from 0 to 1 on each line) goes to
stdout, samples to the journal that the specification names. Started again with the same journal it goes on where it
stopped.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from reckoner.errors import DamagedError, InputError, ReckonerError
from reckoner.files import read_json, write_json
from reckoner.measure.environment import Environment, fingerprint
from reckoner.measure.protocol import CLOCK, Caution, Clock, machine_cautions, machine_load, pinned, rounds, spread
from reckoner.measure.subjects import ModelInfo, Subject, Target, open_subject

# A step shorter than this is run once untimed before each timed one: in a real run the step before has warmed the
# caches, here a neighbour of another length has. Longer steps stream through every cache anyway.
PRIME_BELOW_S = 0.05
COPY_BYTES = 256 << 20  # eight times the largest cache that this processor family gives one socket's share: assumption
GEMM_SIZE = 1024
_MACHINE_REPEATS = 5
_SAVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """What the process is to measure.

    Attributes
    ----------
    point_budget_s : float
        Time that the repeats of one point may take together; a point too slow for all its repeats gets fewer. [s]
    journal, folder : str
        Where samples are kept, and where an engine's files are.
    """

    target: Target
    s_points: tuple[int, ...]
    repeats: int
    warmups: int
    point_budget_s: float
    seed: int
    journal: str
    folder: str


@dataclass(slots=True, kw_only=True)
class Journal:
    """Everything measured so far; grows, and is written whole.

    Points are named ``cached:S`` and ``uncached:S``; samples are in seconds.
    """

    model: ModelInfo | None = None
    environment: Environment | None = None
    planned: dict[str, int] = field(default_factory=dict)
    warmups: dict[str, int] = field(default_factory=dict)
    expected_s: dict[str, float] = field(default_factory=dict)
    primed: dict[str, bool] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    copy_bytes_per_s: list[float] = field(default_factory=list)
    gemm_flop_per_s: list[float] = field(default_factory=list)
    pinned_core: int | None = None
    cautions: tuple[Caution, ...] = ()
    processes: int = 0
    finished: bool = False

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read a journal; an empty one when there is no file yet.

        Raises
        ------
        DamagedError
            The file is not a latency journal.
        """
        if not path.exists():
            return cls()
        try:
            return msgspec.convert(read_json(path), cls)
        except msgspec.ValidationError as error:
            raise DamagedError(f"{path} is not a latency journal ({error}); delete it to measure anew") from error

    def write(self, path: Path) -> None:
        """Write the journal whole."""
        write_json(path, msgspec.to_builtins(self))


def measure_rounds(
    subject: Subject,
    spec: LatencySpec,
    journal: Journal,
    *,
    save: Callable[[], None],
    progress: Callable[[float], None],
    clock: Clock = CLOCK,
) -> None:
    """Warm up, plan the repeats within the budget, then run the rounds that ``journal`` still lacks.

    Every sample is kept in ``journal``; ``save`` is called at most once a second, between measurements.
    """
    steps = {f"cached:{s}": (subject.cached_s, s) for s in spec.s_points}
    steps |= {f"uncached:{s}": (subject.uncached_s, s) for s in spec.s_points}
    shortest = {"cached": (0, 0.0), "uncached": (0, 0.0)}
    for point, (step, s) in steps.items():
        mode = point.partition(":")[0]
        before, seconds = shortest[mode]
        # A step that must outlast the budget by itself is not run for warmth: it streams through every cache anyway.
        foreseen = seconds * s / before if mode == "uncached" and before else 0.0
        taken = _warm_up(step, s, spec.warmups if foreseen < spec.point_budget_s else 0, spec.point_budget_s, clock)
        per_repeat = min(taken, default=foreseen)
        shortest[mode] = s, per_repeat
        if point not in journal.planned:
            journal.warmups[point] = len(taken)
            primed = per_repeat < PRIME_BELOW_S
            journal.expected_s[point] = per_repeat * (2 if primed else 1)
            journal.primed[point] = primed
            journal.planned[point] = max(1, min(spec.repeats, int(spec.point_budget_s / journal.expected_s[point])))
            journal.samples[point] = []
    save()
    total = sum(journal.expected_s[point] * n for point, n in journal.planned.items())
    saved = clock()
    for index, turn in enumerate(rounds(list(steps), spec.repeats, spec.seed)):
        for point in turn:
            planned, samples = journal.planned[point], journal.samples[point]
            if not spread(planned, spec.repeats, index) or len(samples) > index * planned // spec.repeats:
                continue  # not this point's round, or measured before the run was interrupted
            step, s = steps[point]
            if journal.primed[point]:
                step(s)
            samples.append(step(s))
            if clock() - saved > _SAVE_EVERY_S * 1e9:
                save()
                progress(sum(journal.expected_s[p] * len(got) for p, got in journal.samples.items()) / total)
                saved = clock()
    for s in spec.s_points:
        difference = subject.difference(s)
        if difference is not None:
            journal.differences[str(s)] = difference
    save()


def copy_bandwidth(n: int = _MACHINE_REPEATS, size: int = COPY_BYTES) -> list[float]:
    """Bytes read and written per second by a copy too large for any cache, ``n`` times. [byte/s]."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    return [2 * size / _seconds(lambda: np.copyto(target, source)) for _ in range(n)]


def gemm_rate(n: int = _MACHINE_REPEATS, size: int = GEMM_SIZE) -> list[float]:
    """Arithmetic rate of a float32 matrix product that stays in the caches, ``n`` times. [FLOP/s]."""
    a = np.random.default_rng(0).standard_normal((size, size), np.float32)
    out = np.empty_like(a)
    np.matmul(a, a, out=out)
    return [2 * size**3 / _seconds(lambda: np.matmul(a, a, out=out)) for _ in range(n)]


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - start) / 1e9


def _warm_up(step: Callable[[int], float], s: int, n: int, budget_s: float, clock: Clock) -> list[float]:
    """Wall seconds of up to ``n`` warm-ups; they stop once they have used up the budget."""
    taken: list[float] = []
    while len(taken) < n and sum(taken) <= budget_s:
        start = clock()
        inner = step(s)
        # A server's step costs more than its own clock says: the budget is about waiting, so the longer one counts.
        taken.append(max(inner, (clock() - start) / 1e9))
    return taken


def measure(spec: LatencySpec, progress: Callable[[float], None]) -> Journal:
    """Measure ``spec`` here and now, on one core where the system allows it."""
    path = Path(spec.journal)
    journal = Journal.read(path)
    if journal.finished:
        return journal
    load = machine_load()
    with pinned() as core:
        environment = fingerprint()
        if journal.environment is not None and journal.environment != environment:
            raise InputError(
                f"{path.name} was begun on another machine or with other versions; delete it to measure anew"
            )
        journal.environment, journal.pinned_core = environment, core
        journal.cautions = machine_cautions(environment, load=load, pinned_core=core)
        journal.processes += 1
        _rate_machine(journal)
        subject = open_subject(spec.target, spec.s_points, seed=spec.seed, folder=Path(spec.folder))
        gc.disable()  # a collection inside a step would be timed with it; this process is short-lived
        try:
            journal.model = subject.model
            measure_rounds(subject, spec, journal, save=lambda: journal.write(path), progress=progress)
        finally:
            subject.close()
        _rate_machine(journal)
    journal.finished = True
    journal.write(path)
    return journal


def _rate_machine(journal: Journal) -> None:
    journal.copy_bytes_per_s += copy_bandwidth()
    journal.gemm_flop_per_s += gemm_rate()


def main(path: str) -> int:
    """Measure what the file at ``path`` asks for."""

    def report(share: float) -> None:
        # Fails with BrokenPipeError once the parent is gone, and so ends this process as well.
        sys.stdout.write(f"{share:.4f}\n")
        sys.stdout.flush()

    try:
        measure(msgspec.convert(read_json(path), LatencySpec), report)
    except ReckonerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
