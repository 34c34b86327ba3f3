"""Arrivals meet a server: the kernel's arrays are laid out here, and its answer is taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design, check_rent
from reckoner.errors import InputError
from reckoner.predict.efficiency import Efficiency
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.cost import StepCost
from reckoner.simulate.drafts import compressed
from reckoner.simulate.outcome import series_of
from reckoner.simulate.schedulers import ROUTINGS, Continuous, PrefillFirst, Scheduler
from reckoner.simulate.server import Server, server_of
from reckoner.simulate.simulation import Simulation
from reckoner.simulate.sketch import BUCKETS, Sketch

if TYPE_CHECKING:
    from reckoner.simulate.kernel_layout import Costs, Policy, State

Progress = Callable[[int, int], None]
"""Told how many requests have arrived, of how many."""

SLICE = 1 << 17  # arrivals between two reports of progress
ROWS = 1 << 12  # records copied together
LOG_EVENTS = 1 << 16  # room for events to begin with; doubled whenever it is full
FOREVER_TOKENS = 1 << 40  # cache of a server that never runs out


def simulate(
    design: Design | Server,
    arrivals: Arrivals,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    usd_per_hour: float | None = None,
    progress: Progress | None = None,
    events: bool = False,
) -> Simulation:
    """Serve every request of ``arrivals`` and say what each one saw.

    Parameters
    ----------
    design : Design or Server
        A design of scalars, or a server with costs given by hand.
    arrivals : Arrivals
        Such as :func:`reckoner.simulate.poisson`.
    efficiency : Efficiency, optional
        What the deployment gets of the printed limits; of a design only.
    scheduler : Scheduler, optional
        :class:`~reckoner.simulate.schedulers.Continuous` by default; of a design only.
    usd_per_hour : float, optional
        Rent of one device. [USD/h]
    progress : callable, optional
        Called now and then with the requests that have arrived, and all of them.
    events : bool
        Keep every event (48 bytes each), so that :meth:`Simulation.gaps_of` can take a request's gaps apart.

    Raises
    ------
    InputError
        No request fits into the cache, or the scheduler cannot serve such arrivals.

    Examples
    --------
    >>> from reckoner.simulate import Continuous, Server, fixed, poisson
    >>> from reckoner.simulate.cost import linear_cost
    >>> server = Server(cost=linear_cost(base_s=0.01, token_s=1e-5), scheduler=Continuous())
    >>> found = simulate(server, poisson(5.0, fixed(100, 50), n=1000, seed=1))
    >>> round(found.percentile("tpot", 0.5).value, 4)
    0.01
    """
    check_rent(usd_per_hour)
    if isinstance(design, Server):
        server = design
    else:
        server = server_of(design, efficiency=efficiency, scheduler=scheduler, workload=arrivals.workload)
    rejected, dropped, served = _fitting(server, arrivals)
    arrivals_left = _answered_late(server, served)
    if server.tokens_per_step != 1.0:
        arrivals_left = compressed(arrivals_left, server.tokens_per_step)
    if isinstance(server.scheduler, Continuous):
        requests, state = _continuous(server, arrivals_left, progress, LOG_EVENTS if events else 0)
    else:
        requests, state = _batches(server, arrivals_left, len(arrivals_left) if events else 0)
    from reckoner.simulate import kernel_layout as layout

    arrival_s, started_s, first_s, finish_s, preempted, replica = columns_of(
        requests, "arrival_s", "started_s", "first_s", "finish_s", "preempted", "replica"
    )
    last_s = float(finish_s.max())
    delay_s = server.delay_s(served.prompt_tokens)
    first_s += delay_s
    finish_s += delay_s
    return Simulation(
        arrivals=arrivals,
        server=server,
        arrival_s=arrival_s,
        started_s=started_s,
        first_s=first_s,
        finish_s=finish_s,
        prompt_tokens=served.prompt_tokens,
        output_tokens=served.output_tokens,
        preempted=preempted,
        replica=replica,
        rejected=rejected,
        dropped=dropped,
        series=series_of(server, channels_of(server, state), width_of(state), last_s, usd_per_hour),
        gaps=Sketch(counts=state.gaps),
        log=state.log[: int(state.control[layout.LOGGED]) * layout.N_LOG] if events else None,
        steps=int(state.control[layout.STEPS]),
        events=int(state.control[layout.EVENTS]),
        usd_per_hour=usd_per_hour,
    )


def _answered_late(server: Server, arrivals: Arrivals) -> Arrivals:
    """Arrivals in which who waits for an answer before sending again sends as much later as the front takes."""
    if arrivals.follows is None:
        return arrivals
    gap_s = 0.0 if arrivals.gap_s is None else arrivals.gap_s
    return replace(arrivals, gap_s=gap_s + server.delay_s(arrivals.prompt_tokens))


def channels_of(server: Server, state: State) -> NDArray[np.float64]:
    """Sums by bin of time, one column a channel, in tokens where the kernel counts blocks."""
    from reckoner.simulate import kernel_layout as layout

    channels = state.bins[: layout.WIDTH_S].reshape(layout.N_BINS, layout.N_CHANNELS).copy()
    block = server.scheduler.block_tokens if isinstance(server.scheduler, Continuous) else 1
    channels[:, layout.BLOCKS_S] *= block
    channels[:, layout.OUT_TOKENS] *= server.tokens_per_step
    return channels


def width_of(state: State) -> float:
    """Width of a bin of time, in s."""
    from reckoner.simulate import kernel_layout as layout

    return float(state.bins[layout.WIDTH_S])


def blocks_of(server: Server) -> tuple[int, int]:
    """Blocks of the cache of a replica's lane, and those that an admission leaves free."""
    scheduler = server.scheduler
    if not isinstance(scheduler, Continuous):
        return FOREVER_TOKENS, 0
    total = (FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens // server.lanes) // scheduler.block_tokens
    return total, int(np.ceil(scheduler.watermark * total)) if server.kv_tokens is not None else 0


def fits(server: Server, arrivals: Arrivals) -> NDArray[np.bool_]:
    """Whether each request could ever be held by an empty cache."""
    longest = arrivals.prompt_tokens.astype(np.int64) + arrivals.output_tokens
    if isinstance(server.scheduler, Continuous):
        total, watermark = blocks_of(server)
        return np.asarray(-(-(longest - 1) // server.scheduler.block_tokens) + watermark <= total)
    return np.asarray(longest <= (FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens // server.lanes))


def _fitting(server: Server, arrivals: Arrivals) -> tuple[NDArray[np.intp], int, Arrivals]:
    """Leave out what could never fit, and the turns that would follow it."""
    bad = ~fits(server, arrivals)
    rejected = np.flatnonzero(bad)
    if rejected.size == 0:
        return rejected, 0, arrivals
    gone = bad.copy()
    if arrivals.follows is not None:
        for row in rejected.tolist():
            after = int(arrivals.follows[row])
            while after >= 0 and not gone[after]:
                gone[after] = True
                after = int(arrivals.follows[after])
    kept = np.flatnonzero(~gone)
    if kept.size == 0:
        raise InputError(
            f"every request is larger than the cache of {server.kv_tokens} tokens (the first needs "
            f"{int(arrivals.prompt_tokens[0]) + int(arrivals.output_tokens[0])}); raise tp, use a device with more "
            "memory, or store the cache in fewer bits"
        )
    follows = None
    if arrivals.follows is not None:
        place = np.full(len(arrivals) + 1, -1, np.int32)  # the last entry answers to -1
        place[kept] = np.arange(len(kept))
        follows = place[arrivals.follows[kept]]
    left = Arrivals(
        arrival_s=arrivals.arrival_s[kept],
        prompt_tokens=arrivals.prompt_tokens[kept],
        output_tokens=arrivals.output_tokens[kept],
        cached_tokens=None if arrivals.cached_tokens is None else arrivals.cached_tokens[kept],
        group=None if arrivals.group is None else arrivals.group[kept],
        follows=follows,
        gap_s=None if arrivals.gap_s is None else arrivals.gap_s[kept],
        name=arrivals.name,
    )
    return rejected, len(arrivals) - len(kept) - len(rejected), left


def _continuous(
    server: Server, arrivals: Arrivals, progress: Progress | None, events: int
) -> tuple[NDArray[np.void], State]:
    from reckoner.simulate import kernel, kernel_layout

    policy = policy_of(server, chained=arrivals.follows is not None)
    requests = requests_of(arrivals)
    groups = 1 if arrivals.group is None else int(arrivals.group.max()) + 1
    state = state_of(server, policy, groups=groups, pending=len(arrivals) if policy.chained else 1, events=events)
    roots = np.flatnonzero(np.isfinite(arrivals.arrival_s)).astype(np.int32)
    costs = costs_of(server)
    stop = len(roots) if progress is None or policy.chained else min(SLICE, len(roots))
    while not kernel.run(requests, costs, policy, state, roots, stop):
        if state.control[kernel_layout.FULL]:
            state = state._replace(log=np.concatenate([state.log, np.zeros_like(state.log)]))
            state.control[kernel_layout.FULL] = 0
            continue
        if progress is not None:
            progress(stop, len(roots))
        stop = min(stop + SLICE, len(roots))
    if progress is not None:
        progress(len(roots), len(roots))
    return requests, state


def policy_of(server: Server, *, chained: bool) -> Policy:
    """Continuous scheduler of a server as numbers."""
    from reckoner.simulate import kernel_layout as layout

    scheduler = server.scheduler
    assert isinstance(scheduler, Continuous)
    return layout.Policy(
        mode=layout.PREFILL_FIRST if isinstance(scheduler, PrefillFirst) else layout.CHUNKED,
        max_seqs=server.seats,
        token_budget=scheduler.token_budget,
        block=scheduler.block_tokens,
        watermark=blocks_of(server)[1],
        recall=int(scheduler.recall and scheduler.whole_prompt),
        whole=int(scheduler.whole_prompt),
        routing=ROUTINGS.index(scheduler.routing),
        replicas=server.replicas * server.lanes,
        chained=int(chained),
    )


def _batches(server: Server, arrivals: Arrivals, events: int) -> tuple[NDArray[np.void], State]:
    from reckoner.simulate import kernel, kernel_layout

    scheduler = server.scheduler
    assert not isinstance(scheduler, Continuous)
    if arrivals.follows is not None:
        raise InputError(f"{arrivals.name}: static and dynamic batching serve open loops; use Continuous")
    policy = kernel_layout.Policy(0, scheduler.batch, 1, 1, 0, 0, 1, 0, server.replicas * server.lanes, 0)
    requests = requests_of(arrivals)
    state = state_of(server, policy, groups=1, pending=1, events=events)
    wait_s = np.inf if scheduler.max_wait_s is None else float(scheduler.max_wait_s)
    kv_tokens = FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens // server.lanes
    kernel.run_batches(requests, costs_of(server), policy, state, wait_s, kv_tokens)
    return requests, state


def requests_of(arrivals: Arrivals) -> NDArray[np.void]:
    """Records of requests that nobody has begun."""
    from reckoner.simulate.kernel_layout import REQUEST

    requests = np.zeros(len(arrivals), REQUEST).view(np.recarray)
    columns = (
        ("arrival_s", arrivals.arrival_s, None),
        ("prompt", arrivals.prompt_tokens, None),
        ("output", arrivals.output_tokens, None),
        ("cached", arrivals.cached_tokens, 0),
        ("group", arrivals.group, -1),
        ("follows", arrivals.follows, -1),
        ("gap_s", arrivals.gap_s, 0),
        ("started_s", None, -1),
        ("finish_s", None, -1),
        ("nxt", None, -1),
        ("prv", None, -1),
    )
    for part in _parts(len(requests)):
        for name, value, absent in columns:
            if value is not None or absent:
                requests[name][part] = absent if value is None else value[part]
    return requests


def columns_of(requests: NDArray[np.void], *names: str) -> list[NDArray[Any]]:
    """Copies of columns."""
    found = [np.empty(len(requests), requests.dtype[name]) for name in names]
    for part in _parts(len(requests)):
        for column, name in zip(found, names, strict=True):
            column[part] = requests[name][part]
    return found


def _parts(n: int) -> list[slice]:
    """Rows that fit into the processor's cache, so that column after column finds them there."""
    return [slice(i, i + ROWS) for i in range(0, n, ROWS)]


def costs_of(server: Server) -> Costs:
    """Tables and slopes of a server's steps, and the same at printed limits."""
    from reckoner.simulate.kernel_layout import Costs

    cost: StepCost = server.cost
    limit = server.limit if server.limit is not None else cost
    return Costs(
        cost.decode_s, cost.pass_s, float(cost.tail_s), float(cost.kappa_s), float(cost.pair_s),
        limit.decode_s, limit.pass_s, float(limit.tail_s), float(limit.kappa_s), float(limit.pair_s),
    )  # fmt: skip


def state_of(server: Server, policy: Policy, *, groups: int, pending: int, events: int) -> State:
    """State of idle replicas, with room for so many events."""
    from reckoner.simulate import kernel_layout as layout

    at = np.zeros(policy.replicas, layout.REPLICA).view(np.recarray)
    for name in ("wait_head", "wait_tail", "run_head", "run_tail", "part"):
        at[name] = -1
    at["free"] = at["blocks"] = blocks_of(server)[0]
    bins = np.zeros(layout.WIDTH_S + 1)
    bins[layout.WIDTH_S] = 1.0 / 64.0
    word = np.zeros(1)
    return layout.State(
        at=at,
        heap=np.zeros(policy.replicas * policy.max_seqs, np.int32),
        ends=np.zeros(policy.replicas * policy.max_seqs, np.int64),
        residues=np.zeros(policy.replicas * policy.block, np.int32),
        finishing=np.zeros(policy.max_seqs + 1, np.int32),
        pending=np.zeros(pending, np.int32),
        control=np.zeros(layout.N_CONTROL, np.int64),
        home=np.full(groups, -1, np.int32),
        bins=bins,
        gaps=np.zeros(BUCKETS, np.int64),
        word=word,
        bits=word.view(np.int64),
        log=np.zeros(max(events, 2 * policy.max_seqs + 2) * layout.N_LOG if events else 0),
    )
