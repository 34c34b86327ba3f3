"""When requests come and how long they are: open loops, closed loops, ramps and sessions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Workload
from reckoner.errors import InputError
from reckoner.simulate.lengths import Ints, Lengths, as_tokens

Times = NDArray[np.float64]

SPREAD_S = 10.0
"""By how much the copies of a repeated load are spread. Assumption: long against a prefill, short against the swings of
a load over minutes. [s]"""


MOST_PER_S = 1e9
"""Largest rate that is believed, and one over the smallest. Assumption. [1/s]"""

MOST_CV = 100.0
"""Spread of gaps beyond which draws of a gamma distribution round to nothing. Assumption."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrivals:
    """Requests in the order in which they are listed.

    Parameters
    ----------
    arrival_s : (n,) float
        Sorted; infinite for a request that is sent after another one is answered. [s]
    prompt_tokens, output_tokens : (n,) int
        Lengths.
    cached_tokens : (n,) int, optional
        Prompt tokens that the prefix cache holds; always below the prompt. None: nothing is cached.
    group : (n,) int, optional
        Session of each request, for routing by prefix.
    follows : (n,) int, optional
        Index of the request sent after this one is answered, -1 for none.
    gap_s : (n,) float, optional
        Pause between the answer and the request that follows. [s]
    name : str
        What it is, in words.

    Raises
    ------
    InputError
        Names field, row and value.
    """

    arrival_s: Times
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints | None = None
    group: Ints | None = None
    follows: Ints | None = None
    gap_s: Times | None = None
    name: str = "arrivals"

    def __post_init__(self) -> None:
        """Hold the invariants of arrivals."""
        times = np.ascontiguousarray(self.arrival_s, dtype=np.float64)
        object.__setattr__(self, "arrival_s", times)
        for name in ("prompt_tokens", "output_tokens"):
            object.__setattr__(self, name, as_tokens(name, getattr(self, name)))
        for name in ("prompt_tokens", "output_tokens", "cached_tokens", "group", "follows", "gap_s"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != times.shape:
                raise InputError(f"{name} has {np.size(value)} entries for {len(times)} arrivals; give one each")
        if times.ndim != 1 or times.size == 0:
            raise InputError("there are no arrivals; give at least one")
        if self.follows is None and not np.all(np.isfinite(times)):
            row = int(np.argmin(np.isfinite(times)))
            raise InputError(f"arrival_s[{row}] is {times[row]}; arrival times are finite seconds >= 0")
        self._check_times(times)
        if self.cached_tokens is not None:
            wrong = (self.cached_tokens < 0) | (self.cached_tokens >= self.prompt_tokens)
            if np.any(wrong):
                row = int(np.argmax(wrong))
                raise InputError(
                    f"cached_tokens[{row}] is {self.cached_tokens[row]} of a prompt of {self.prompt_tokens[row]}; "
                    "at least the last token is computed"
                )

    def _check_times(self, times: Times) -> None:
        roots = times[np.isfinite(times)]
        if roots.size == 0 or np.any(np.isnan(times)) or roots.min() < 0.0:
            seen = "without a first request" if roots.size == 0 else f"{float(np.nanmin(times)):g}"
            raise InputError(f"arrival_s is {seen}; arrival times are seconds >= 0")
        back = np.diff(roots) < 0.0
        if np.any(back):
            row = int(np.argmax(back)) + 1
            raise InputError(
                f"arrival_s[{row}] is {roots[row]:g}, before {roots[row - 1]:g}; sort the arrivals by time"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def workload(self) -> Workload:
        """Mean lengths."""
        return Workload(prompt_tokens=float(self.prompt_tokens.mean()), output_tokens=float(self.output_tokens.mean()))

    @property
    def span_s(self) -> float:
        """From the first to the last arrival that is known beforehand."""
        roots = self.arrival_s[np.isfinite(self.arrival_s)]
        return float(roots[-1] - roots[0])

    def scaled(self, factor: float) -> Arrivals:
        """Return the same requests with every arrival ``factor`` times as soon: common random numbers for a search."""
        if not 0.0 < factor < np.inf:
            raise InputError(f"factor is {factor!r}; it must be above 0")
        return replace(self, arrival_s=self.arrival_s / factor)

    def repeated(self, times: int, *, seed: int = 0, spread_s: float = SPREAD_S) -> Arrivals:
        """Return the load so many times over.

        Parameters
        ----------
        times : int
            Copies of each request.
        seed : int
            Of the moments at which copies arrive.
        spread_s : float
            Each copy arrives up to so much later than its original, so that copies do not arrive as one burst. [s]

        Raises
        ------
        InputError
            Sessions cannot be repeated so, or a number is out of range.
        """
        if times < 1 or not 0.0 <= spread_s < np.inf or self.follows is not None:
            raise InputError(
                f"times is {times} and spread_s {spread_s!r} for {self.name}; at least 1 and 0, of an open loop"
            )
        if times == 1:
            return self
        rng = generator(seed)
        later = rng.uniform(0.0, spread_s, (len(self), times))
        later[:, 0] = 0.0
        moments = (self.arrival_s[:, None] + later).ravel()
        order = np.argsort(moments, kind="stable")
        rows = order // times
        return replace(
            self,
            arrival_s=moments[order],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            cached_tokens=None if self.cached_tokens is None else self.cached_tokens[rows],
            group=None if self.group is None else self.group[rows],
            name=f"{self.name}, {times} times over",
        )


def poisson(requests_per_s: float, lengths: Lengths, *, n: int, seed: int) -> Arrivals:
    """Independent arrivals at a mean rate.

    Parameters
    ----------
    requests_per_s : float
        Mean rate. [1/s]
    lengths : Lengths
        Such as :func:`reckoner.simulate.fixed`.
    n : int
        Requests.
    seed : int
        Of arrivals and lengths.

    Examples
    --------
    >>> from reckoner.simulate.lengths import fixed
    >>> round(poisson(10.0, fixed(512, 128), n=10_000, seed=1).span_s / 1000.0, 1)
    1.0
    """
    return gamma(requests_per_s, lengths, n=n, seed=seed, cv=1.0)


def gamma(requests_per_s: float, lengths: Lengths, *, n: int, seed: int, cv: float) -> Arrivals:
    """Gaps from a gamma distribution: ``cv`` 0 is a metronome, 1 Poisson, above 1 bursts."""
    gaps = gaps_like(requests_per_s, n, cv)
    rng = generator(seed)
    times = np.cumsum(gaps.draw(rng, n)) / requests_per_s
    prompt, output = lengths(rng, n)
    return Arrivals(arrival_s=times, prompt_tokens=prompt, output_tokens=output, name=gaps.name)


MOST_REQUESTS = 10**12
"""Most requests of one call (assumption: a month of computing)."""

_EVEN_CV = 1e-9  # a smaller spread is lost in rounding, and its square in underflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Gaps between arrivals, of mean 1.

    Parameters
    ----------
    cv : float
        Their coefficient of variation.
    name : str
        What they make, in words.
    """

    cv: float
    name: str

    def draw(self, rng: np.random.Generator, n: int) -> Times:
        """Draw so many."""
        if self.cv < _EVEN_CV:
            return np.ones(n)
        if self.cv == 1.0:
            return rng.exponential(1.0, n)
        shape = 1.0 / (self.cv * self.cv)
        return rng.gamma(shape, 1.0 / shape, n)


def gaps_like(requests_per_s: float, n: int, cv: float) -> Gaps:
    """Gaps of a spread, at a rate that is checked.

    Raises
    ------
    InputError
        A number is out of range.
    """
    _check(requests_per_s, n)
    if not 0.0 <= cv <= MOST_CV:
        raise InputError(f"cv is {cv!r}; it must be from 0 to {MOST_CV:g}: 1 for Poisson, more for bursts")
    kind = {0.0: "constant", 1.0: "poisson"}.get(cv, f"gamma (cv {cv:g})")
    return Gaps(cv=cv, name=f"{kind} at {requests_per_s:g} requests/s")


constant = partial(gamma, cv=0.0)
"""A metronome: equal gaps."""


def ramp(first_per_s: float, last_per_s: float, lengths: Lengths, *, n: int, seed: int) -> Arrivals:
    """Poisson arrivals whose rate moves linearly in time from one value to another."""
    _check(first_per_s, n)
    _check(last_per_s, n)
    rng = generator(seed)
    counts = np.cumsum(rng.exponential(1.0, n))
    span_s = 2.0 * n / (first_per_s + last_per_s)
    slope = (last_per_s - first_per_s) / span_s
    # Operational time: the integral of the rate, first t + slope t^2 / 2, inverted; the root that stays positive.
    inside = np.maximum(first_per_s**2 + 2.0 * slope * counts, 0.0)
    times = 2.0 * counts / (first_per_s + np.sqrt(inside))
    prompt, output = lengths(rng, n)
    name = f"ramp from {first_per_s:g} to {last_per_s:g} requests/s"
    return Arrivals(arrival_s=np.sort(times), prompt_tokens=prompt, output_tokens=output, name=name)


def closed_loop(
    clients: int, lengths: Lengths, *, n: int, seed: int, think_s: float = 0.0, start_gap_s: float = 0.0
) -> Arrivals:
    """Clients that each send again as soon as they have been answered and have thought.

    Parameters
    ----------
    clients : int
        Requests in flight, at most ``n``.
    lengths, n, seed
        As in :func:`poisson`; client ``c`` sends requests ``c``, ``c + clients``, ...
    think_s : float
        Mean of an exponential pause; 0 for none. [s]
    start_gap_s : float
        Time between the first requests of two clients; 0 starts all at once: the burst. [s]
    """
    _check(1.0, n)
    if not 1 <= clients <= n:
        raise InputError(f"clients is {clients}; it must be from 1 to the {n} requests")
    if not (0.0 <= think_s < np.inf and 0.0 <= start_gap_s < np.inf):
        raise InputError(f"think_s is {think_s!r} and start_gap_s {start_gap_s!r}; both must be at least 0")
    rng = generator(seed)
    prompt, output = lengths(rng, n)
    times = np.full(n, np.inf)
    times[:clients] = start_gap_s * np.arange(clients)
    follows = np.arange(clients, n + clients, dtype=np.int32)
    follows[follows >= n] = -1
    return Arrivals(
        arrival_s=times,
        prompt_tokens=prompt,
        output_tokens=output,
        follows=follows,
        gap_s=rng.exponential(think_s, n) if think_s > 0.0 else np.zeros(n),
        name=f"closed loop of {clients}",
    )


def sessions(
    sessions_per_s: float, lengths: Lengths, *, n: int, seed: int, turns: int, think_s: float = 0.0
) -> Arrivals:
    """Conversations: each turn's prompt is all that was said before plus something new, and what was said is cached.

    Parameters
    ----------
    sessions_per_s : float
        Poisson rate of first turns. [1/s]
    lengths : Lengths
        New tokens and answer of each turn.
    n : int
        Sessions; each has ``turns`` turns.
    seed : int
        Of everything.
    turns : int
        Turns of a session.
    think_s : float
        Mean of an exponential pause between an answer and the next turn. [s]
    """
    _check(sessions_per_s, n)
    if turns < 1 or not 0.0 <= think_s < np.inf:
        raise InputError(f"turns is {turns} and think_s {think_s!r}; at least 1 turn and 0 s")
    rng = generator(seed)
    new, output = (part.reshape(turns, n) for part in lengths(rng, n * turns))
    said = np.cumsum(new + output, axis=0)
    cached = np.vstack([np.zeros((1, n), np.int64), said[:-1]])
    times = np.full((turns, n), np.inf)
    times[0] = np.cumsum(rng.exponential(1.0 / sessions_per_s, n))
    index = np.arange(turns * n, dtype=np.int32).reshape(turns, n)
    follows = np.vstack([index[1:], np.full((1, n), -1, np.int32)])
    gaps = rng.exponential(think_s, turns * n) if think_s > 0.0 else np.zeros(turns * n)
    return Arrivals(
        arrival_s=times.ravel(),
        prompt_tokens=(cached + new).ravel().astype(np.int32),
        output_tokens=output.ravel(),
        cached_tokens=np.maximum(cached - 1, 0).ravel().astype(np.int32),
        group=np.tile(np.arange(n, dtype=np.int32), turns),
        follows=follows.ravel(),
        gap_s=gaps,
        name=f"{n} sessions of {turns} turns",
    )


def generator(seed: int) -> np.random.Generator:
    """Random numbers of a seed.

    Raises
    ------
    InputError
        It is negative.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be a whole number of at least 0")
    return np.random.default_rng(seed)


def _check(requests_per_s: float, n: int) -> None:
    if not 1.0 / MOST_PER_S <= requests_per_s <= MOST_PER_S:
        raise InputError(
            f"requests_per_s is {requests_per_s!r}; it must be above 0 and finite, {1 / MOST_PER_S:g} to {MOST_PER_S:g}"
        )
    if not 1 <= n <= MOST_REQUESTS:
        raise InputError(f"n is {n}; simulate at least one request and at most {MOST_REQUESTS:,}")
