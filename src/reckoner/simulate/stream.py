"""Requests in numbers too large to hold: arrivals come in chunks, answers leave as counts of a sketch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Slo, check_rent
from reckoner.errors import InputError, UnknownNameError
from reckoner.quantiles import BATCHES, Percentile, check, shrunk
from reckoner.simulate.arrivals import Arrivals, gaps_like, generator
from reckoner.simulate.lengths import Lengths
from reckoner.simulate.outcome import METRICS, RATIO_FOR_OVERLOAD, Outcome, Series, series_of
from reckoner.simulate.percentiles import sketched
from reckoner.simulate.run import (
    Progress,
    channels_of,
    costs_of,
    fits,
    policy_of,
    requests_of,
    state_of,
    width_of,
)
from reckoner.simulate.schedulers import Continuous
from reckoner.simulate.server import Server
from reckoner.simulate.simulation import refused_row, within
from reckoner.simulate.sketch import BUCKETS, Sketch

if TYPE_CHECKING:
    from reckoner.simulate.kernel_layout import State

CHUNK = 1 << 17
"""Requests of a chunk."""

MOST_OPEN = 1 << 19
"""Requests inside at once beyond which a stream is given up: its memory would grow with the queue. Assumption."""

KINDS = (*METRICS, "itl")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Arrivals in chunks.

    Parameters
    ----------
    n : int
        Requests of all chunks.
    chunks : iterator of Arrivals
        Each goes on where the one before ended.
    name : str
        What it is, in words.
    """

    n: int
    chunks: Iterator[Arrivals]
    name: str


def gamma_chunks(
    requests_per_s: float, lengths: Lengths, *, n: int, seed: int, cv: float = 1.0, chunk: int | None = None
) -> Source:
    """Arrivals of :func:`reckoner.simulate.gamma`, never all at once.

    Parameters
    ----------
    requests_per_s, lengths, n, seed, cv
        As there; 1 for Poisson.
    chunk : int, optional
        Requests drawn at once: the gaps do not depend on it, lengths drawn at random do. By default at most
        :data:`CHUNK`, and small enough for the batches of an interval.
    """
    each = _chunk(n) if chunk is None else chunk
    first = gaps_like(requests_per_s, n, cv)

    def chunks() -> Iterator[Arrivals]:
        rng = generator(seed)
        upto, last = 0, 0.0
        while upto < n:
            size = min(each, n - upto)
            gaps = first.draw(rng, size)
            gaps[0] += last
            times = np.cumsum(gaps)
            last = float(times[-1])
            prompt, output = lengths(rng, size)
            upto += size
            yield Arrivals(
                arrival_s=times / requests_per_s, prompt_tokens=prompt, output_tokens=output, name=first.name
            )

    return Source(n=n, chunks=chunks(), name=first.name)


def chunks_of(arrivals: Arrivals, chunk: int | None = None) -> Source:
    """Cut arrivals that are at hand into chunks.

    Raises
    ------
    InputError
        They are a closed loop or sessions.
    """
    if arrivals.follows is not None or arrivals.group is not None:
        raise InputError(f"{arrivals.name}: a stream is an open loop; simulate closed loops and sessions as a whole")

    each = _chunk(len(arrivals)) if chunk is None else chunk

    def chunks() -> Iterator[Arrivals]:
        for i in range(0, len(arrivals), each):
            part = slice(i, i + each)
            yield replace(
                arrivals,
                arrival_s=arrivals.arrival_s[part],
                prompt_tokens=arrivals.prompt_tokens[part],
                output_tokens=arrivals.output_tokens[part],
                cached_tokens=None if arrivals.cached_tokens is None else arrivals.cached_tokens[part],
            )

    return Source(n=len(arrivals), chunks=chunks(), name=arrivals.name)


def _chunk(n: int) -> int:
    return max(1, min(CHUNK, n // BATCHES))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Streamed(Outcome):
    """Percentiles of requests that were not kept.

    Parameters
    ----------
    server : Server
        What served.
    load : str
        What was asked, in words.
    counts : (5, BATCHES, BUCKETS) int
        Answers by kind of latency, batch of consecutive arrivals and bucket of the sketch.
    answered, refused, preemptions, tokens_out : int
        Totals.
    first_refused : str
        The first request that could never fit, by row and size.
    makespan_s : float
        From the first arrival to the last answer. [s]
    overload : float, optional
        Demand over what was served, where the queue kept growing.
    slo : Slo, optional
        Limits that ``good`` requests kept.
    good : int
        Of the answered.
    most_open : int
        Most requests inside at the end of a chunk.
    series, steps, events, usd_per_hour
        As of :class:`~reckoner.simulate.simulation.Simulation`.
    """

    server: Server
    load: str
    counts: NDArray[np.int64]
    answered: int
    refused: int
    preemptions: int
    tokens_out: int
    makespan_s: float
    overload: float | None
    slo: Slo | None
    good: int
    most_open: int
    series: Series
    steps: int
    events: int
    usd_per_hour: float | None = None
    first_refused: str = ""
    dropped: int = 0

    def __len__(self) -> int:
        return self.answered

    def sketch(self, metric: str) -> Sketch:
        """All answers' latencies of a kind, "itl" too.

        Raises
        ------
        UnknownNameError
            No such kind.
        """
        if metric not in KINDS:
            raise UnknownNameError.of("metric", metric, KINDS)
        return Sketch(counts=self.counts[KINDS.index(metric)].sum(axis=0))

    def percentile(self, metric: str, q: float) -> Percentile:
        """Quantile within :data:`~reckoner.simulate.sketch.RELATIVE_ERROR`, with its interval.

        The batches' own shares below the quantile say how many independent answers they are worth.

        Raises
        ------
        InputError
            Too few requests to bound it.
        """
        sketch = self.sketch(metric)
        check(sketch.n, q, metric)
        batches = self.counts[KINDS.index(metric)]
        batches = batches[batches.sum(axis=1) > 0]
        alone = float(sketch.n) if self.overload is None else 1.0  # a queue that keeps growing has no last word
        if len(batches) > 1 and self.overload is None:
            bucket = int(np.searchsorted(np.cumsum(sketch.counts), q * sketch.n - 1e-9))
            # Within the bucket of the quantile nobody knows who is below: share it as all together do.
            below, there = batches[:, :bucket].sum(axis=1), batches[:, bucket]
            part = (q * sketch.n - float(below.sum())) / max(float(there.sum()), 1.0)
            sizes = batches.sum(axis=1)
            shares = (below + part * there) / sizes
            alone = shrunk(sketch.n, float(shares.var(ddof=1)), q, int(sizes.mean()))
        return sketched(sketch, q, alone)

    def point(self, metric: str, q: float) -> float | None:
        """Quantile of a latency of however few requests; None of none, in s."""
        sketch = self.sketch(metric)
        return sketch.quantile(q) if sketch.n else None

    def share_within(self, slo: Slo) -> float:
        """Share of the answered requests that kept every limit, of those given beforehand.

        Raises
        ------
        InputError
            Other limits were given, or none: requests were not kept.
        """
        if slo != self.slo:
            raise InputError("requests of a stream are not kept; give the SLO to streamed() itself")
        return self.good / self.answered


def streamed(
    server: Server,
    source: Source,
    *,
    slo: Slo | None = None,
    usd_per_hour: float | None = None,
    progress: Progress | None = None,
) -> Streamed:
    """Serve arrivals in chunks, in memory that does not grow with their number.

    Parameters
    ----------
    server : Server
        With a continuous scheduler, decoding one token a step.
    source : Source
        Such as :func:`gamma_chunks`.
    slo : Slo, optional
        Limits to count requests against.
    usd_per_hour : float, optional
        Rent of one device. [USD/h]
    progress : callable, optional
        Told the requests that have arrived, and all of them, after each chunk.

    Raises
    ------
    InputError
        The queue keeps growing: says how much more is asked than served. Or no request fits into the cache.

    Notes
    -----
    The kernel goes on from chunk to chunk as if there were none: every latency is that of
    :func:`~reckoner.simulate.run.simulate`, to the last bit. Only the percentiles are read off a sketch.

    Examples
    --------
    >>> from reckoner.simulate import Continuous, Server, fixed
    >>> from reckoner.simulate.cost import linear_cost
    >>> server = Server(cost=linear_cost(base_s=0.01, token_s=1e-5), scheduler=Continuous())
    >>> found = streamed(server, gamma_chunks(5.0, fixed(100, 50), n=1000, seed=1))
    >>> round(found.percentile("tpot", 0.5).value, 3), len(found)
    (0.01, 1000)
    """
    check_rent(usd_per_hour)
    if not isinstance(server.scheduler, Continuous) or server.tokens_per_step != 1.0:
        raise InputError(f"{server.name} cannot be streamed through; give a continuous server without speculation")
    from reckoner.simulate import kernel, kernel_layout

    policy = policy_of(server, chained=False)
    state = state_of(server, policy, groups=1, pending=1, events=0)
    costs = costs_of(server)
    tally = _Tally(server, slo)
    held = np.zeros(0, kernel_layout.REQUEST).view(np.recarray)
    arrived, refused, named, first_s, last_s = 0, 0, "", np.inf, 0.0
    for chunk in source.chunks:
        first_s, last_s = min(first_s, float(chunk.arrival_s[0])), float(chunk.arrival_s[-1])
        new = requests_of(chunk)
        good = fits(server, chunk)
        if not good.all():
            new = new[good]
            named = named or refused_row(chunk, int(np.argmin(good)), arrived)
            refused += len(chunk) - len(new)
        requests = np.concatenate([held, new]).view(np.recarray)
        # The last entry stands for what comes later: the kernel stops before it.
        roots = np.arange(len(held), len(requests) + 1, dtype=np.int32)
        state.control[kernel_layout.NEXT] = 0
        kernel.run(requests, costs, policy, state, roots, len(roots) - 1)
        held = _carry(requests, state, policy.max_seqs)
        tally.count(requests[requests.finish_s >= 0.0], state.gaps, min(arrived * BATCHES // source.n, BATCHES - 1))
        arrived += len(chunk)
        tally.most_open = max(tally.most_open, len(held))
        if len(held) > MOST_OPEN:
            raise InputError(
                f"{source.name}: {len(held):,} of the first {arrived:,} requests wait, so demand is "
                f"{(arrived - refused) / max(tally.answered, 1):.2f} times what {server.name} serves; "
                "lower the rate or add replicas"
            )
        if progress is not None:
            progress(arrived, source.n)
    if len(held):
        state.control[kernel_layout.NEXT] = 0
        kernel.run(held, costs, policy, state, np.zeros(0, np.int32), 0)
        tally.count(held, state.gaps, BATCHES - 1)
    if tally.answered == 0:
        raise InputError(f"every request is larger than the cache of {server.kv_tokens} tokens; give it more memory")
    makespan_s = tally.end_s - first_s
    return Streamed(
        server=server,
        load=source.name,
        counts=tally.counts,
        answered=tally.answered,
        refused=refused,
        first_refused=named,
        preemptions=int(state.control[kernel_layout.PREEMPTIONS]),
        tokens_out=tally.tokens_out,
        makespan_s=makespan_s,
        overload=tally.overload(makespan_s, last_s - first_s),
        slo=slo,
        good=tally.good,
        most_open=tally.most_open,
        series=series_of(server, channels_of(server, state), width_of(state), tally.end_s, usd_per_hour),
        steps=int(state.control[kernel_layout.STEPS]),
        events=int(state.control[kernel_layout.EVENTS]),
        usd_per_hour=usd_per_hour,
    )


class _Tally:
    """Sums over the answers so far."""

    def __init__(self, server: Server, slo: Slo | None) -> None:
        self.server, self.slo = server, slo
        self.counts = np.zeros((len(KINDS), BATCHES, BUCKETS), np.int64)
        self.gaps = np.zeros(BUCKETS, np.int64)
        self.wait_s, self.answers = np.zeros(BATCHES), np.zeros(BATCHES, np.int64)
        self.answered = self.good = self.tokens_out = self.most_open = 0
        self.end_s = 0.0

    def count(self, done: Any, gaps: NDArray[np.int64], batch: int) -> None:
        """Take the answers of a chunk in; ``gaps`` counts since the start."""
        if len(done) == 0:
            return
        wait_s = done.started_s - done.arrival_s
        first_s, finish_s = (moment + self.server.delay_s(done.prompt) for moment in (done.first_s, done.finish_s))
        ttft_s, e2e_s = first_s - done.arrival_s, finish_s - done.arrival_s
        several = done.output > 1
        tpot_s = (finish_s - first_s)[several] / (done.output[several] - 1)
        for kind, values in enumerate((wait_s, ttft_s, tpot_s, e2e_s)):
            Sketch(counts=self.counts[kind, batch]).add(values)
        self.counts[-1, batch] += gaps - self.gaps
        self.gaps = gaps.copy()
        self.wait_s[batch] += wait_s.sum()
        self.answers[batch] += len(done)
        self.answered += len(done)
        self.tokens_out += int(done.output.sum())
        self.end_s = max(self.end_s, float(finish_s.max()))
        if self.slo is not None:
            self.good += int(within(self.slo, ttft_s, e2e_s, done.output).sum())

    def overload(self, makespan_s: float, span_s: float) -> float | None:
        """Demand over served, where waits grew from batch to batch."""
        used = np.flatnonzero(self.answers)
        if len(used) < 4:
            return None
        mean = self.wait_s[used] / self.answers[used]
        quarter = len(used) // 4
        early, late = mean[quarter : 2 * quarter].mean(), mean[-quarter:].mean()
        ratio = makespan_s / max(span_s, 1e-300)
        e2e_s = Sketch(counts=self.counts[KINDS.index("e2e")].sum(axis=0)).quantile(0.5)
        return ratio if late > max(1.3 * early, 0.5 * e2e_s) and ratio > RATIO_FOR_OVERLOAD else None


def _carry(requests: Any, state: State, max_seqs: int) -> Any:
    """Requests that are not answered yet, moved to the front of their array, with every index to them."""
    open_ = requests.finish_s < 0.0
    place = np.where(open_, np.cumsum(open_) - 1, -1)
    place = np.append(place, -1).astype(np.int64)  # the last entry answers to -1
    left = requests[open_].copy()
    sent_back = []  # whose links hold other things: they are at the head of the queue, one behind the other
    for at in state.at:
        r = int(at.wait_head)
        while r >= 0 and requests[r].preempted > 0:
            sent_back.append(r)
            r = int(requests[r].nxt)
    back = np.array(sent_back, np.intp)
    links = left.prv.astype(np.int64)
    links[place[back]] = -1
    left.prv = place[links]
    left.prv[place[back]] = requests.prv[back]
    left.nxt = place[left.nxt]
    for name in ("wait_head", "wait_tail", "run_head", "run_tail", "part"):
        state.at[name] = place[state.at[name]]
    for rep, at in enumerate(state.at):
        live = slice(rep * max_seqs, rep * max_seqs + int(at.batch))
        state.heap[live] = place[state.heap[live]]
    return left
