# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""The event-driven kernel: a served stretch of time costs one evaluation of a polynomial, not one per token.

Between arrivals, completions and admissions the batch is fixed and ``n`` steps cost
``n * base(B) + kappa * (n * S + B * n * (n - 1) / 2)``. The next arrival is a root of that, rounded to a step boundary;
the next completion the top of a heap keyed by a global step counter; the blocks that ``n`` steps take follow from a
histogram of contexts modulo the block size. Everything lies in flat arrays, so the same source runs compiled (numba,
the extra ``simulate``) and, much slower, as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from reckoner.simulate.kernel_batches import serve_batches
from reckoner.simulate.kernel_heaps import take
from reckoner.simulate.kernel_layout import (
    CHUNKED,
    FULL,
    NEXT,
    PENDING,
    PREFILL_FIRST,
    PREFIX_AWARE,
    ROUND_ROBIN,
    ROUTED,
    compiled,
)
from reckoner.simulate.kernel_notes import room
from reckoner.simulate.kernel_parts import admissible
from reckoner.simulate.kernel_steps import glide, mixed_step, prefill_step


@partial(compiled, inline=False)
def _advance(R, C, P, S, rep, limit_s):
    """Run all steps of a replica that begin before the limit; says 1 when it stops earlier.

    It does when a request follows an answer, and when the log of events is full.
    """
    at = S.at[rep]
    while at.clock_s < limit_s:
        if at.seats == 0 and at.wait_head < 0:
            return 0
        if not room(S, 2 * P.max_seqs + 2):
            return 1
        need = S.residues[rep * P.block + (-at.step) % P.block]
        free = at.free - need if P.mode == CHUNKED else at.free
        more = admissible(R, P, S, rep, free)
        if P.mode == PREFILL_FIRST and more:
            followers = prefill_step(R, C, P, S, rep)
        elif at.part < 0 and not more and need <= at.free:
            followers = glide(R, C, P, S, rep, limit_s)
        else:
            followers = mixed_step(R, C, P, S, rep, need)
        if followers > 0:
            return 1
    return 0


@compiled
def _enqueue(R, S, rep, r):
    at, one = S.at[rep], R[r]
    if at.inside == 0 and at.clock_s < one.arrival_s:
        at.clock_s = one.arrival_s
    one.nxt = -1
    tail = at.wait_tail
    if tail >= 0:
        R[tail].nxt = r
    else:
        at.wait_head = r
    at.wait_tail = r
    at.inside += 1
    one.replica = rep


@compiled
def _route(R, P, S, r):
    if P.routing == ROUND_ROBIN:
        return S.control[ROUTED] % P.replicas
    group = R[r].group
    if P.routing == PREFIX_AWARE and group >= 0 and S.home[group] >= 0:
        return S.home[group]
    best = 0
    for rep in range(1, P.replicas):
        if S.at[rep].inside < S.at[best].inside:
            best = rep
    if P.routing == PREFIX_AWARE and group >= 0:
        S.home[group] = best
    return best


@compiled
def _advance_all(R, C, P, S, limit_s):
    """Advance every replica to the limit; with followers the one that is behind goes first, so that none is missed."""
    if P.chained == 0:
        for rep in range(P.replicas):
            if _advance(R, C, P, S, rep, limit_s) > 0:
                return 1
        return 0
    while True:
        behind, second_s = -1, limit_s
        for rep in range(P.replicas):
            if S.at[rep].inside == 0 or S.at[rep].clock_s >= limit_s:
                continue
            if behind < 0 or S.at[rep].clock_s < S.at[behind].clock_s:
                if behind >= 0:
                    second_s = min(second_s, S.at[behind].clock_s)
                behind = rep
            else:
                second_s = min(second_s, S.at[rep].clock_s)
        if behind < 0:
            return 0
        if second_s <= S.at[behind].clock_s:
            second_s = np.nextafter(S.at[behind].clock_s, np.inf)
        if _advance(R, C, P, S, behind, min(second_s, limit_s)) > 0:
            return 1


def _entries(stamp: str) -> tuple[Callable[..., bool], Callable[..., None]]:
    """Return the two functions that are called from outside, whose machine code is kept between processes.

    numba asks only whether the file of a function is as it was, not the files of what it calls. It does ask for what a
    function encloses: here a digest of all of them.
    """

    def run(R, C, P, S, roots, stop):
        """Serve the arrivals of ``roots`` and what follows them, up to the ``stop``-th; to the end when that is last.

        Returns whether everything has been answered; not so when the log of events is full.
        """
        _ = stamp
        while True:
            i = S.control[NEXT]
            if i >= stop and stop < len(roots):
                return False
            arrival_s, pending = np.inf, False
            if i < len(roots):
                arrival_s = R[roots[i]].arrival_s
            if S.control[PENDING] > 0 and R[S.pending[0]].arrival_s < arrival_s:
                arrival_s, pending = R[S.pending[0]].arrival_s, True
            one = P.chained == 0 and (P.routing == ROUND_ROBIN or P.replicas == 1) and arrival_s < np.inf
            if one:
                stopped = _advance(R, C, P, S, S.control[ROUTED] % P.replicas, arrival_s)
            else:
                stopped = _advance_all(R, C, P, S, arrival_s)
            if S.control[FULL] > 0:
                return False
            if stopped > 0:
                continue
            if arrival_s == np.inf:
                return True
            if pending:
                r = take(R, S)
            else:
                r = roots[i]
                S.control[NEXT] = i + 1
            rep = _route(R, P, S, r)
            S.control[ROUTED] += 1
            _enqueue(R, S, rep, r)

    def run_batches(R, C, P, S, wait_s, kv_tokens):
        """Static and dynamic batching; a replica serves every ``replicas``-th arrival, batch after batch."""
        _ = stamp
        serve_batches(R, C, P, S, wait_s, kv_tokens)

    return compiled(run, keep=True), compiled(run_batches, keep=True)


def _stamp() -> str:
    here = Path(__file__).parent
    digest = sha256()
    for file in sorted([*here.glob("kernel*.py"), here / "sketch.py"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


run, run_batches = _entries(_stamp())
