"""How a figure is measured: interleaved rounds, warm-ups, medians with exact intervals, cautions that advise."""

from __future__ import annotations

import contextlib
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from reckoner.errors import InputError, MissingExtraError
from reckoner.measure.environment import Environment, usable_cores

Clock = Callable[[], int]
CLOCK: Clock = time.perf_counter_ns  # monotonic, the finest that Python offers [ns]

NOISY_IQR = 0.10  # IQR / median above which a point is called noisy: assumption
BUSY_SHARE = 0.25  # share of the machine that others may use before it is called busy: assumption

T = TypeVar("T")
CautionKind = Literal["governor", "threads", "busy", "noisy", "samples", "pinning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """A reason to trust a figure less, and what to do about it."""

    kind: CautionKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Median of repeated measurements with a distribution-free interval.

    Attributes
    ----------
    n : int
        Number of measurements.
    median, iqr : float
        Middle and interquartile range, in the unit of the measurements.
    low, high : float or None
        Interval for the true median; None when ``n`` is too small for one.
    coverage : float or None
        Exact probability that such an interval holds the true median, at least the level asked for.
    """

    n: int
    median: float
    iqr: float
    low: float | None
    high: float | None
    coverage: float | None

    @property
    def noise(self) -> float:
        """Interquartile range over the median."""
        return self.iqr / self.median if self.median else 0.0


def summarise(samples: Sequence[float], level: float = 0.95) -> Summary:
    r"""Median, spread and interval of ``samples``.

    The interval runs between order statistics :math:`x_{(k)}` and :math:`x_{(n+1-k)}` with the largest k such that
    :math:`1 - 2 P(\mathrm{Bin}(n, 1/2) < k)` is at least ``level``; it assumes independence and nothing else [1]_.
    At 95% it needs 6 samples, at 90% it needs 5.

    Raises
    ------
    InputError
        No samples, a sample that is not finite, or a level outside (0, 1).

    References
    ----------
    .. [1] H. A. David, H. N. Nagaraja, "Order Statistics", 3rd ed., 2003, sec. 7.1.

    Examples
    --------
    >>> summarise([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    Summary(n=6, median=3.5, iqr=2.5, low=1.0, high=6.0, coverage=0.96875)
    >>> summarise([1.0, 2.0, 3.0]).low is None
    True
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; an interval's level lies between 0 and 1, for example 0.95")
    if not samples:
        raise InputError("samples is empty; a median needs at least one measurement")
    for index, sample in enumerate(samples):
        if not math.isfinite(sample):
            raise InputError(f"samples[{index}] is {sample}; measurements are finite numbers")
    ordered = sorted(float(sample) for sample in samples)
    n = len(ordered)
    # Inclusive quartiles; of a single sample they are the sample itself.
    lower, _, upper = statistics.quantiles(ordered, n=4, method="inclusive") if n > 1 else (0.0, 0.0, 0.0)
    rank = median_rank(n, level)
    return Summary(
        n=n,
        median=statistics.median(ordered),
        iqr=upper - lower,
        low=None if rank is None else ordered[rank[0] - 1],
        high=None if rank is None else ordered[n - rank[0]],
        coverage=None if rank is None else rank[1],
    )


def median_rank(n: int, level: float) -> tuple[int, float] | None:
    """Rank k (from 1) of the order statistics that bound the median, and their exact coverage; None if n is too small.

    >>> median_rank(100, 0.95)
    (40, 0.9647997997822952)
    >>> median_rank(5, 0.95) is None
    True
    """
    best = None
    below = 0  # 2**n * P(Bin(n, 1/2) < k), exact in integers
    for k in range(1, n // 2 + 1):
        below += math.comb(n, k - 1)
        coverage = 1.0 - 2 * below / 2**n
        if coverage < level:
            break
        best = (k, coverage)
    return best


def rounds(items: Sequence[T], n: int, seed: int) -> Iterator[tuple[T, ...]]:
    """Yield ``n`` rounds, each holding every item once.

    The base order is drawn from ``seed`` and rotated by one place a round, so that slow drift of the machine and the
    effect of a neighbour fall on all items alike.

    >>> [len(set(r)) for r in rounds("abc", 2, seed=0)]
    [3, 3]
    """
    order = list(items)
    random.Random(seed).shuffle(order)
    for index in range(n):
        turn = index % len(order) if order else 0
        yield tuple(order[turn:] + order[:turn])


def spread(n: int, of: int, index: int) -> bool:
    """Whether round ``index`` is one of ``n`` rounds spread evenly over ``of``.

    >>> [spread(2, 5, i) for i in range(5)]
    [False, False, True, False, True]
    """
    return (index + 1) * n // of > index * n // of


@contextlib.contextmanager
def pinned(core: int | None = None) -> Iterator[int | None]:
    """Keep every thread of this process on one core while the block runs, and undo it afterwards.

    Yields
    ------
    int or None
        The core; None where the system does not allow pinning, and then nothing was changed.

    Notes
    -----
    The core is the idlest of those usable over a fifth of a second, unless ``core`` names one. Threads started inside
    the block inherit it, those of an engine's server included.
    """
    cores = usable_cores()
    if not cores:
        yield None
        return
    if core is not None and core not in cores:
        raise InputError(f"core is {core}; this process may use {', '.join(map(str, cores))}")
    chosen = _idlest(cores) if core is None else core
    try:
        _set_affinity({chosen})
    except OSError:
        yield None
        return
    try:
        yield chosen
    finally:
        _set_affinity(set(cores))


def _set_affinity(cores: set[int]) -> None:
    # An affinity belongs to a thread: the call for "0" would leave the threads of BLAS and of a server where they are.
    os.sched_setaffinity(0, cores)
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else ():
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            os.sched_setaffinity(int(task.name), cores)


def _idlest(cores: Sequence[int]) -> int:
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError.of("psutil", "measure") from error
    busy = psutil.cpu_percent(interval=0.2, percpu=True)
    return min(cores, key=lambda core: (busy[core] if core < len(busy) else 100.0, -core))


def machine_load() -> float:
    """Share of all cores that is busy now, 0 to 1, over a fifth of a second; ask before measuring."""
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError.of("psutil", "measure") from error
    return float(psutil.cpu_percent(interval=0.2)) / 100.0


def machine_cautions(environment: Environment, *, load: float, pinned_core: int | None) -> tuple[Caution, ...]:
    """Reasons on the machine's side to trust a timing less."""
    found = []
    if environment.governor is None:
        found.append(
            Caution(
                kind="governor",
                message="the frequency governor cannot be read here (usual in a virtual machine): "
                "compare ratios within this run, not milliseconds between runs",
            )
        )
    elif environment.governor != "performance":
        found.append(
            Caution(
                kind="governor",
                message=f"the frequency governor is {environment.governor}: "
                "run `sudo cpupower frequency-set -g performance` and measure again",
            )
        )
    loose = sorted(name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if environment.thread_env[name] != "1")
    if loose:
        found.append(
            Caution(
                kind="threads",
                message=f"{' and '.join(loose)} not set to 1, so BLAS may use several threads: "
                "set them before Python starts",
            )
        )
    if load > BUSY_SHARE:
        found.append(
            Caution(
                kind="busy",
                message=f"other work used {load:.0%} of the machine when the measurement began: "
                "stop it and measure again",
            )
        )
    if pinned_core is None:
        found.append(
            Caution(
                kind="pinning",
                message="the process was not pinned to a core: expect wider intervals; on Linux it is pinned by itself",
            )
        )
    return tuple(found)


def sample_cautions(label: str, summary: Summary) -> tuple[Caution, ...]:
    """Reasons in the samples themselves to trust ``summary`` less."""
    found = []
    if summary.low is None:
        found.append(
            Caution(kind="samples", message=f"{label}: {summary.n} samples are too few for an interval; repeat more")
        )
    if summary.noise > NOISY_IQR:
        found.append(
            Caution(
                kind="noisy",
                message=f"{label}: half of the samples spread over {summary.noise:.0%} of the median: "
                "close other programs and repeat more",
            )
        )
    return tuple(found)


def series_cautions(label: str, s: Sequence[int], summaries: Sequence[Summary]) -> tuple[Caution, ...]:
    """One caution a kind for a whole curve, naming the contexts."""
    found = []
    few = [length for length, summary in zip(s, summaries, strict=True) if summary.low is None]
    noisy = [length for length, summary in zip(s, summaries, strict=True) if summary.noise > NOISY_IQR]
    if few:
        found.append(
            Caution(
                kind="samples",
                message=f"{label}: too few samples for an interval at S = {', '.join(map(str, few))}; "
                "repeat more or give the points more time",
            )
        )
    if noisy:
        worst = max(summary.noise for summary in summaries)
        found.append(
            Caution(
                kind="noisy",
                message=f"{label}: half of the samples spread over more than {NOISY_IQR:.0%} of the median at "
                f"S = {', '.join(map(str, noisy))} (at worst {worst:.0%}); close other programs and repeat more",
            )
        )
    return tuple(found)
