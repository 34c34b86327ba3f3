"""Arrivals meet a server: the kernel's arrays are laid out here, and its answer is taken apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design
from reckoner.errors import InputError
from reckoner.predict.efficiency import Efficiency
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.cost import StepCost
from reckoner.simulate.drafts import compressed
from reckoner.simulate.schedulers import ROUTINGS, Continuous, PrefillFirst, Scheduler
from reckoner.simulate.server import Server, server_of
from reckoner.simulate.simulation import Simulation, series_of

if TYPE_CHECKING:
    from reckoner.simulate.kernel import Costs, Policy, Requests, State

Progress = Callable[[int, int], None]
"""Told how many requests have arrived, of how many."""

SLICE = 1 << 17  # arrivals between two reports of progress
FOREVER_TOKENS = 1 << 40  # cache of a server that never runs out


def simulate(
    design: Design | Server,
    arrivals: Arrivals,
    *,
    efficiency: Efficiency | None = None,
    scheduler: Scheduler | None = None,
    usd_per_hour: float | None = None,
    progress: Progress | None = None,
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
    if isinstance(design, Server):
        server = design
    else:
        server = server_of(design, efficiency=efficiency, scheduler=scheduler, workload=arrivals.workload)
    rejected, dropped, served = _fitting(server, arrivals)
    arrivals_left = served if server.tokens_per_step == 1.0 else compressed(served, server.tokens_per_step)
    if isinstance(server.scheduler, Continuous):
        requests, state = _continuous(server, arrivals_left, progress)
    else:
        requests, state = _batches(server, arrivals_left)
    from reckoner.simulate import kernel

    end_s = float(requests.finish_s.max())
    channels = state.bins.reshape(kernel.N_BINS, kernel.N_CHANNELS).copy()
    block = server.scheduler.block_tokens if isinstance(server.scheduler, Continuous) else 1
    channels[:, kernel.BLOCKS_S] *= block
    channels[:, kernel.OUT_TOKENS] *= server.tokens_per_step
    return Simulation(
        arrivals=arrivals,
        server=server,
        arrival_s=requests.arrival_s,
        started_s=requests.started_s,
        first_s=requests.first_s,
        finish_s=requests.finish_s,
        prompt_tokens=served.prompt_tokens,
        output_tokens=served.output_tokens,
        preempted=requests.preempted,
        replica=requests.replica,
        rejected=rejected,
        dropped=dropped,
        series=series_of(server, channels, float(state.width_s[0]), end_s, usd_per_hour),
        steps=int(state.control[kernel.STEPS]),
        events=int(state.control[kernel.EVENTS]),
        usd_per_hour=usd_per_hour,
    )


def blocks_of(server: Server) -> tuple[int, int]:
    """Blocks of a replica's cache, and those that an admission leaves free."""
    scheduler = server.scheduler
    if not isinstance(scheduler, Continuous):
        return FOREVER_TOKENS, 0
    total = (FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens) // scheduler.block_tokens
    return total, int(np.ceil(scheduler.watermark * total)) if server.kv_tokens is not None else 0


def _fitting(server: Server, arrivals: Arrivals) -> tuple[NDArray[np.intp], int, Arrivals]:
    """Leave out what could never fit, and the turns that would follow it."""
    longest = arrivals.prompt_tokens.astype(np.int64) + arrivals.output_tokens
    if isinstance(server.scheduler, Continuous):
        total, watermark = blocks_of(server)
        bad = -(-(longest - 1) // server.scheduler.block_tokens) + watermark > total
    else:
        bad = longest > (FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens)
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
            f"{int(longest[0])}); raise tp, use a device with more memory, or store the cache in fewer bits"
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


def _continuous(server: Server, arrivals: Arrivals, progress: Progress | None) -> tuple[Requests, State]:
    from reckoner.simulate import kernel

    scheduler = server.scheduler
    assert isinstance(scheduler, Continuous)
    total, watermark = blocks_of(server)
    requests = _requests(arrivals)
    chained = arrivals.follows is not None
    policy = kernel.Policy(
        mode=kernel.PREFILL_FIRST if isinstance(scheduler, PrefillFirst) else kernel.CHUNKED,
        max_seqs=scheduler.max_seqs,
        token_budget=scheduler.token_budget,
        block=scheduler.block_tokens,
        watermark=watermark,
        recall=int(scheduler.recall and scheduler.whole_prompt),
        whole=int(scheduler.whole_prompt),
        routing=ROUTINGS.index(scheduler.routing),
        replicas=server.replicas,
        chained=int(chained),
    )
    groups = 1 if arrivals.group is None else int(arrivals.group.max()) + 1
    state = _state(policy, groups, len(arrivals) if chained else 1, total)
    roots = np.flatnonzero(np.isfinite(requests.arrival_s)).astype(np.int32)
    costs = _costs(server)
    stop = len(roots) if progress is None or chained else min(SLICE, len(roots))
    run: Callable[..., bool] = kernel.run
    while not run(requests, costs, policy, state, roots, stop):
        if progress is not None:
            progress(stop, len(roots))
        stop = min(stop + SLICE, len(roots))
    if progress is not None:
        progress(len(roots), len(roots))
    return requests, state


def _batches(server: Server, arrivals: Arrivals) -> tuple[Requests, State]:
    from reckoner.simulate import kernel

    scheduler = server.scheduler
    assert not isinstance(scheduler, Continuous)
    if arrivals.follows is not None:
        raise InputError(f"{arrivals.name}: static and dynamic batching serve open loops; use Continuous")
    policy = kernel.Policy(0, scheduler.batch, 1, 1, 0, 0, 1, 0, server.replicas, 0)
    requests, state = _requests(arrivals), _state(policy, 1, 1, FOREVER_TOKENS)
    wait_s = np.inf if scheduler.max_wait_s is None else float(scheduler.max_wait_s)
    kv_tokens = FOREVER_TOKENS if server.kv_tokens is None else server.kv_tokens
    run_batches: Callable[..., None] = kernel.run_batches
    run_batches(requests, _costs(server), policy, state, wait_s, kv_tokens)
    return requests, state


def _requests(arrivals: Arrivals) -> Requests:
    from reckoner.simulate.kernel import Requests

    n = len(arrivals)

    def ints(value: Any, fill: int = 0) -> NDArray[np.int32]:
        return np.full(n, fill, np.int32) if value is None else np.ascontiguousarray(value, dtype=np.int32)

    return Requests(
        arrival_s=arrivals.arrival_s.copy(),
        prompt=arrivals.prompt_tokens,
        output=arrivals.output_tokens,
        cached=ints(arrivals.cached_tokens),
        mark=np.zeros(n, np.int64),
        group=ints(arrivals.group, -1),
        follows=ints(arrivals.follows, -1),
        gap_s=np.zeros(1) if arrivals.gap_s is None else np.ascontiguousarray(arrivals.gap_s),
        started_s=np.full(n, -1.0),
        first_s=np.zeros(n),
        finish_s=np.zeros(n),
        preempted=np.zeros(n, np.int32),
        replica=np.zeros(n, np.int32),
        nxt=np.full(n, -1, np.int32),
        prv=np.full(n, -1, np.int32),
        place=np.zeros(n, np.int32),
    )


def _costs(server: Server) -> Costs:
    from reckoner.simulate.kernel import Costs

    cost: StepCost = server.cost
    limit = server.limit if server.limit is not None else cost
    return Costs(
        cost.decode_s, cost.pass_s, float(cost.tail_s), float(cost.kappa_s), float(cost.pair_s),
        limit.decode_s, limit.pass_s, float(limit.tail_s), float(limit.kappa_s), float(limit.pair_s),
    )  # fmt: skip


def _state(policy: Policy, groups: int, pending: int, blocks: int) -> State:
    from reckoner.simulate import kernel

    replicas = policy.replicas
    ints = np.zeros(replicas * kernel.N_INTS, np.int64)
    for field in (kernel.WAIT_HEAD, kernel.WAIT_TAIL, kernel.RUN_HEAD, kernel.RUN_TAIL, kernel.PART):
        ints[field :: kernel.N_INTS] = -1
    ints[kernel.FREE :: kernel.N_INTS] = blocks
    return kernel.State(
        clock_s=np.zeros(replicas),
        ints=ints,
        heap=np.zeros(replicas * policy.max_seqs, np.int32),
        residues=np.zeros(replicas * policy.block, np.int32),
        finishing=np.zeros(policy.max_seqs + 1, np.int32),
        pending=np.zeros(pending, np.int32),
        control=np.concatenate([np.zeros(kernel.N_CONTROL, np.int64), np.full(replicas, blocks, np.int64)]),
        home=np.full(groups, -1, np.int32),
        bins=np.zeros(kernel.N_BINS * kernel.N_CHANNELS),
        width_s=np.array([1.0 / 64.0]),
    )
