"""Two runs side by side: what differs, how surely, and what difference could have been seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.measure.fits import student_t
from reckoner.measure.importers.check import check
from reckoner.measure.importers.imported import Imported
from reckoner.measure.statistics import mean_of
from reckoner.quantiles import needed

Floats = NDArray[np.float64]

LEVEL = 0.95
POWER = 0.8
LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
TAIL = 0.99
RATES = ("output_tokens_per_s", "requests_per_s")
RESAMPLES = 500
_NORMAL = 500  # degrees of freedom from which Student's t is the normal law to 0.2 %, and its sum is long
_SHARE = dict.fromkeys(LATENCIES, 1.0) | dict.fromkeys(RATES, -1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of both runs.

    Attributes
    ----------
    metric : str
        Such as ``ttft_s`` or ``ttft_s p99``.
    a, b : float
        Figure of each, in SI.
    low, high : float, optional
        Interval of ``b - a`` at 95%; None where none can be given.
    smallest : float, optional
        Difference that would have been seen four times in five.
    method : str
        How the interval was made.
    n : tuple of int
        Requests, of each.
    """

    metric: str
    a: float
    b: float
    low: float | None
    high: float | None
    smallest: float | None
    method: str
    n: tuple[int, int]

    @property
    def change(self) -> float | None:
        """``b / a - 1``; None from a zero."""
        return self.b / self.a - 1 if self.a else None

    @property
    def seen(self) -> bool | None:
        """Whether the interval leaves zero out; None without an interval."""
        return None if self.low is None or self.high is None else not self.low <= 0.0 <= self.high

    @property
    def worse(self) -> float | None:
        """Share by which ``b`` is worse, negative where it is better."""
        sign = _SHARE[self.metric.split()[0]]
        return None if self.change is None else sign * self.change

    def regressed(self, limit: float) -> bool:
        """Whether ``b`` is worse by more than ``limit`` and that is no chance (or nothing tells chance)."""
        return self.worse is not None and self.worse > limit and self.seen is not False

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        names = ("metric", "a", "b", "low", "high", "smallest", "method", "change", "seen")
        return {name: getattr(self, name) for name in names} | {"n": list(self.n)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs.

    Attributes
    ----------
    pairing : str
        What made requests of one run those of the other; empty where nothing did.
    cautions : tuple of str
        Why the difference may be of something else than what is compared.
    """

    a: Imported
    b: Imported
    pairing: str
    differences: tuple[Difference, ...]
    cautions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "a": {"name": self.a.name, "tool": self.a.tool, "digest": self.a.digest},
            "b": {"name": self.b.name, "tool": self.b.tool, "digest": self.b.digest},
            "level": LEVEL,
            "pairing": self.pairing,
            "differences": [one.to_json() for one in self.differences],
            "cautions": list(self.cautions),
        }


def compare(a: Imported, b: Imported, *, seed: int = 0) -> Comparison:
    """Differences of means, tails and rates, ``b - a``.

    Means are of requests in their order of time. Where requests answer each other one by one, the interval is of their
    differences; otherwise of two sets (Welch). Either way neighbours in time are alike, so it rests on means of batches
    from ten requests on. Tails come from a bootstrap of blocks of neighbours. Runs of which only statistics are
    known take their requests for independent, and say so.

    Parameters
    ----------
    seed : int
        Of the bootstrap.

    References
    ----------
    .. [1] B. L. Welch, Biometrika 34 (1947) 28-35.
    .. [2] H. R. Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Statist.
       17(3), 1989.
    """
    pairing, order = _pairing(a, b)
    found = []
    for metric in LATENCIES:
        pairs = _paired(a, b, metric, order) if pairing else None
        one = _mean(a, b, metric, pairs)
        if one is not None:
            found.append(one)
        tail = _tail(a, b, metric, seed)
        if tail is not None:
            found.append(tail)
    free = not (a.load.open_loop or b.load.open_loop)  # otherwise the rate is what was asked, by chance more or less
    both = [rate for rate in RATES if free and rate in a.rates and rate in b.rates]
    found += [_bare(rate, a.rates[rate], b.rates[rate], a, b, "one figure a run") for rate in both]
    return Comparison(a=a, b=b, pairing=pairing, differences=tuple(found), cautions=_cautions(a, b))


def _pairing(a: Imported, b: Imported) -> tuple[str, list[int]]:
    """How requests answer each other, and where each of ``a`` is found in ``b``."""
    n = len(a.requests)
    if not n or n != len(b.requests):
        return "", []
    ids_a, ids_b = [one.id for one in a.requests], [one.id for one in b.requests]
    if None not in ids_a and len(set(ids_a)) == n and set(ids_a) == set(ids_b):
        place = {name: index for index, name in enumerate(ids_b)}
        return "request ids", [place[name] for name in ids_a]
    lengths = [[one.prompt_tokens for one in run.requests] for run in (a, b)]
    if None not in lengths[0] and lengths[0] == lengths[1] and len(set(lengths[0])) > 1:  # equal ones tell nothing
        return "order and prompt lengths", list(range(n))
    return "", []


def _paired(a: Imported, b: Imported, metric: str, order: list[int]) -> tuple[Floats, Floats] | None:
    """Figures of the requests that succeeded in both, in the order of ``a``."""
    name = {"e2e_s": "seconds", "tpot_s": "decode_s"}.get(metric, metric)
    kept = []
    for one, place in zip(a.requests, order, strict=True):
        two = b.requests[place]
        first, second = getattr(one, name), getattr(two, name)
        if one.error is None and two.error is None and first is not None and second is not None:
            kept.append((first, second))
    if len(kept) < 2:
        return None
    values = np.asarray(kept, dtype=np.float64)
    return values[:, 0], values[:, 1]


def _mean(a: Imported, b: Imported, metric: str, pairs: tuple[Floats, Floats] | None) -> Difference | None:
    if pairs is not None:
        first, second = pairs
        error, freedom, how = _error(second - first)
        means = (float(first.mean()), float(second.mean()))
        return _made(metric, means, (error, freedom), f"paired, {how}", (first.size, second.size))
    values = (a.values(metric), b.values(metric))
    if min(value.size for value in values) >= 2:
        errors = [_error(value) for value in values]
        means = (float(values[0].mean()), float(values[1].mean()))
        return _made(metric, means, _welch(errors), f"Welch, {errors[0][2]}", (values[0].size, values[1].size))
    told = (a.statistics.get(metric), b.statistics.get(metric))
    if told[0] is None or told[1] is None or told[0].mean is None or told[1].mean is None:
        return None
    figures = [
        (one.std / math.sqrt(one.n), one.n - 1.0, "")
        for one in told
        if one is not None and one.std is not None and one.n is not None and one.n >= 2 and not one.weighted
    ]
    if len(figures) < 2:
        return _bare(metric, told[0].mean, told[1].mean, a, b, "means are stated without a spread")
    how = "Welch on stated statistics, requests taken as independent"
    return _made(metric, (told[0].mean, told[1].mean), _welch(figures), how, (told[0].n or 0, told[1].n or 0))


def _error(values: Floats) -> tuple[float, float, str]:
    """Standard error of the mean of values in their order of time, its degrees of freedom, and how it was made."""
    told = mean_of(values, LEVEL) if values.size >= 10 else None
    if told is not None and told.low is not None and told.high is not None:
        size = values.size // told.batches
        means = values[values.size - size * told.batches :].reshape(told.batches, size).mean(axis=1)
        return float(means.std(ddof=1)) / math.sqrt(told.batches), told.batches - 1.0, "batch means"
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    return error, values.size - 1.0, "requests taken as independent"


def _welch(errors: list[tuple[float, float, str]]) -> tuple[float, float]:
    """Standard error of a difference and its degrees of freedom (Welch and Satterthwaite)."""
    squares = [error**2 for error, _, _ in errors]
    total = sum(squares)
    parts = sum(square**2 / freedom for square, (_, freedom, _) in zip(squares, errors, strict=True))
    return math.sqrt(total), total**2 / parts if parts else min(freedom for _, freedom, _ in errors)


def _made(
    metric: str, means: tuple[float, float], error: tuple[float, float], method: str, n: tuple[int, int]
) -> Difference:
    spread, freedom = error
    reach = student_t(LEVEL, min(max(int(freedom), 1), _NORMAL))
    gap = means[1] - means[0]
    return Difference(
        metric=metric,
        a=means[0],
        b=means[1],
        low=gap - reach * spread,
        high=gap + reach * spread,
        smallest=(reach + NormalDist().inv_cdf(POWER)) * spread,
        method=method,
        n=n,
    )


def _bare(metric: str, a: float, b: float, run_a: Imported, run_b: Imported, why: str) -> Difference:
    n = (run_a.n(), run_b.n())
    return Difference(metric=metric, a=a, b=b, low=None, high=None, smallest=None, method=f"no interval: {why}", n=n)


def _tail(a: Imported, b: Imported, metric: str, seed: int) -> Difference | None:
    """99th percentiles by a bootstrap of blocks; None where either run has too few requests to bound its own."""
    values = (a.values(metric), b.values(metric))
    if min(value.size for value in values) < needed(TAIL):
        return None
    random = np.random.default_rng(seed)
    draws = [_blocks(value, random) for value in values]
    gaps = draws[1] - draws[0]
    tail = (1 - LEVEL) / 2
    low, high = (float(one) for one in np.quantile(gaps, [tail, 1 - tail]))
    z = NormalDist().inv_cdf
    return Difference(
        metric=f"{metric} p{100 * TAIL:g}",
        a=float(np.quantile(values[0], TAIL)),
        b=float(np.quantile(values[1], TAIL)),
        low=low,
        high=high,
        smallest=(z(1 - tail) + z(POWER)) * float(gaps.std(ddof=1)),
        method="bootstrap of blocks",
        n=(values[0].size, values[1].size),
    )


def _blocks(values: Floats, random: np.random.Generator) -> Floats:
    """The tail of each resample; blocks of neighbours of n^(1/3), round the end."""
    n = values.size
    size = max(round(n ** (1 / 3)), 1)
    count = math.ceil(n / size)
    around = np.concatenate([values, values[:size]])
    steps = np.arange(size)
    found = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        starts = random.integers(0, n, count)
        found[index] = np.quantile(around[(starts[:, None] + steps).ravel()[:n]], TAIL)
    return found


def _cautions(a: Imported, b: Imported) -> tuple[str, ...]:
    found = []
    for name in ("model", "device", "engine"):
        one, two = getattr(a, name), getattr(b, name)
        if one is not None and two is not None and one != two:
            found.append(f"{name} differs: {one} and {two}")
    if a.tool != b.tool:
        found.append(f"clients differ: {a.tool} and {b.tool} define and stamp latencies each in its own way")
    if a.load != b.load:
        for name, word in (("requests_per_s", "requests/s asked"), ("concurrency", "concurrency asked")):
            one, two = getattr(a.load, name), getattr(b.load, name)
            if one is not None and two is not None and one != two:
                found.append(f"{word} differs: {one:g} and {two:g}")
    for name, word in (("prompt_tokens", "prompts"), ("output_tokens", "answers")):
        one, two = a.mean(name), b.mean(name)
        if one is not None and two is not None and abs(two - one) > 0.02 * max(one, two):
            found.append(f"{word} differ: {one:.4g} and {two:.4g} tokens on average")
    for run in (a, b):
        found += [f"{run.name}: {one}" for one in check(run) if one.severity == "error"]
    return tuple(found)
