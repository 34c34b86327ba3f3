# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""The event-driven kernel: a served stretch of time costs one evaluation of a polynomial, not one per token.

Between arrivals, completions and admissions the batch is fixed and ``n`` steps cost
``n * base(B) + kappa * (n * S + B * n * (n - 1) / 2)``. The next arrival is a root of that, rounded to a step boundary;
the next completion the top of a heap keyed by a global step counter; the blocks that ``n`` steps take follow from a
histogram of contexts modulo the block size. Everything lies in flat arrays, so the same source runs compiled (numba,
the extra ``simulate``) and, much slower, as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

try:
    import numba

    COMPILED = True
except ImportError:  # the extra is not installed: the same source, uncompiled
    COMPILED = False


def _compiled(function: F) -> F:
    if not COMPILED:
        return function
    # Nothing is allocated inside, so arrays need no reference counts: without them the kernel is seven times as fast.
    njit: Any = numba.njit
    return cast(F, njit(cache=True, _nrt=False)(function))


class Requests(NamedTuple):
    """What is asked and what became of it, one entry a request; times in seconds, lengths in tokens."""

    arrival_s: NDArray[np.float64]
    prompt: NDArray[np.int32]
    output: NDArray[np.int32]
    cached: NDArray[np.int32]  # prompt tokens found in the cache when first admitted
    mark: NDArray[np.int64]  # waiting: tokens generated so far; running: the step counter at which it ends
    group: NDArray[np.int32]  # session, for routing by prefix
    follows: NDArray[np.int32]  # request sent after this one is answered, or -1
    gap_s: NDArray[np.float64]  # pause before the one that follows
    started_s: NDArray[np.float64]
    first_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    preempted: NDArray[np.int32]
    replica: NDArray[np.int32]
    nxt: NDArray[np.int32]
    prv: NDArray[np.int32]
    place: NDArray[np.int32]  # in the heap


class Costs(NamedTuple):
    """Seconds of a step: tables by sequences and by tokens, and what context adds; then the same at printed limits."""

    decode_s: NDArray[np.float64]
    pass_s: NDArray[np.float64]
    tail_s: float
    kappa_s: float
    pair_s: float
    limit_decode_s: NDArray[np.float64]
    limit_pass_s: NDArray[np.float64]
    limit_tail_s: float
    limit_kappa_s: float
    limit_pair_s: float


class Policy(NamedTuple):
    """The scheduler as numbers."""

    mode: int  # CHUNKED or PREFILL_FIRST
    max_seqs: int
    token_budget: int
    block: int
    watermark: int  # blocks that an admission leaves free
    recall: int  # 1: a preempted request finds blocks again that nobody has taken since
    whole: int  # 1: an admission needs blocks for the whole prompt, 0: for its first chunk
    routing: int
    replicas: int
    chained: int  # 1: some request is sent after another one is answered


class State(NamedTuple):
    """Everything that moves, apart from the requests."""

    clock_s: NDArray[np.float64]  # of each replica: the start of its next step
    ints: NDArray[np.int64]  # N_INTS of each replica
    heap: NDArray[np.int32]  # max_seqs of each replica: decoding requests by the step in which they end
    residues: NDArray[np.int32]  # block of each replica: decoding requests by (context - step counter) mod block
    finishing: NDArray[np.int32]  # scratch: prefills that end in this step
    pending: NDArray[np.int32]  # heap of requests sent after an answer, by arrival
    control: NDArray[np.int64]  # next arrival, pending, routed, completed, preemptions, steps, events
    home: NDArray[np.int32]  # replica of each group, or -1
    bins: NDArray[np.float64]  # N_CHANNELS of each bin of time
    width_s: NDArray[np.float64]  # of a bin


CHUNKED, PREFILL_FIRST = 0, 1
ROUND_ROBIN, LEAST_LOADED, PREFIX_AWARE = 0, 1, 2

BATCH, STEP, CONTEXT, SEATS, FREE, WAIT_HEAD, WAIT_TAIL, RUN_HEAD, RUN_TAIL, PART, DONE, INSIDE, HANDED, N_INTS = range(
    14
)
NEXT, PENDING, ROUTED, COMPLETED, PREEMPTIONS, STEPS, EVENTS, N_CONTROL = range(8)
BUSY_S, SEQS_S, BLOCKS_S, WAITING_S, OUT_TOKENS, IN_TOKENS, LIMIT_S, N_CHANNELS = range(8)
N_BINS = 512


@_compiled
def _blocks(tokens, block):
    return (tokens + block - 1) // block


@_compiled
def _table_s(table, tail_s, k):
    last = len(table) - 1
    if k <= last:
        return table[k]
    return table[last] + tail_s * (k - last)


@_compiled
def _up(heap, base, j, key, place):
    r = heap[base + j]
    while j > 0:
        above = (j - 1) // 2
        other = heap[base + above]
        if key[other] <= key[r]:
            break
        heap[base + j] = other
        place[other] = j
        j = above
    heap[base + j] = r
    place[r] = j


@_compiled
def _down(heap, base, size, j, key, place):
    r = heap[base + j]
    while True:
        child = 2 * j + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[base + child + 1]] < key[heap[base + child]]:
            child += 1
        other = heap[base + child]
        if key[other] >= key[r]:
            break
        heap[base + j] = other
        place[other] = j
        j = child
    heap[base + j] = r
    place[r] = j


@_compiled
def _remove(heap, base, size, j, key, place):
    """Take entry ``j`` out of a heap of ``size``."""
    last = heap[base + size - 1]
    if j == size - 1:
        return
    heap[base + j] = last
    place[last] = j
    _down(heap, base, size - 1, j, key, place)
    _up(heap, base, place[last], key, place)


@_compiled
def _later(R, a, b):
    return R.arrival_s[a] > R.arrival_s[b] or (R.arrival_s[a] == R.arrival_s[b] and a > b)


@_compiled
def _send(R, S, r):
    """Put a request whose arrival is now known among the pending ones."""
    j = S.control[PENDING]
    S.control[PENDING] = j + 1
    while j > 0:
        above = (j - 1) // 2
        if not _later(R, S.pending[above], r):
            break
        S.pending[j] = S.pending[above]
        j = above
    S.pending[j] = r


@_compiled
def _take(R, S):
    """Take the earliest pending request out."""
    first = S.pending[0]
    size = S.control[PENDING] - 1
    S.control[PENDING] = size
    r = S.pending[size]
    j = 0
    while True:
        child = 2 * j + 1
        if child >= size:
            break
        if child + 1 < size and _later(R, S.pending[child], S.pending[child + 1]):
            child += 1
        if not _later(R, r, S.pending[child]):
            break
        S.pending[j] = S.pending[child]
        j = child
    S.pending[j] = r
    return first


@_compiled
def _note(S, rep, spent_s, seqs, blocks, out_tokens, in_tokens, limit_s):
    """Spread what a stretch of time held over the bins; the bins double in width when time outgrows them."""
    bins = S.bins
    t0 = S.clock_s[rep]
    t1 = t0 + spent_s
    waiting = S.ints[rep * N_INTS + INSIDE] - S.ints[rep * N_INTS + SEATS]
    while t1 >= S.width_s[0] * N_BINS:
        for b in range(N_BINS // 2):
            for c in range(N_CHANNELS):
                bins[b * N_CHANNELS + c] = bins[2 * b * N_CHANNELS + c] + bins[(2 * b + 1) * N_CHANNELS + c]
        for j in range(N_BINS // 2 * N_CHANNELS, N_BINS * N_CHANNELS):
            bins[j] = 0.0
        S.width_s[0] *= 2.0
    width = S.width_s[0]
    b = int(t0 / width)
    last = int(t1 / width)
    whole = t1 - t0
    at = t0
    while b <= last:
        until = t1 if b == last else (b + 1) * width
        dt = until - at
        share = dt / whole if whole > 0.0 else 1.0
        o = b * N_CHANNELS
        bins[o + BUSY_S] += dt
        bins[o + SEQS_S] += seqs * dt
        bins[o + BLOCKS_S] += blocks * dt
        bins[o + WAITING_S] += waiting * dt
        bins[o + OUT_TOKENS] += out_tokens * share
        bins[o + IN_TOKENS] += in_tokens * share
        bins[o + LIMIT_S] += limit_s * share
        at = until
        b += 1


@_compiled
def _answered(R, S, r, rep):
    """A running request has its last token; returns 1 if another request follows it."""
    ints, o = S.ints, rep * N_INTS
    R.finish_s[r] = S.clock_s[rep]
    before, after = R.prv[r], R.nxt[r]
    if before >= 0:
        R.nxt[before] = after
    else:
        ints[o + RUN_HEAD] = after
    if after >= 0:
        R.prv[after] = before
    else:
        ints[o + RUN_TAIL] = before
    ints[o + SEATS] -= 1
    ints[o + INSIDE] -= 1
    S.control[COMPLETED] += 1
    follower = R.follows[r]
    if follower >= 0:
        R.arrival_s[follower] = S.clock_s[rep] + R.gap_s[r]
        _send(R, S, follower)
        return 1
    return 0


@_compiled
def _end_decodes(R, P, S, rep):
    """Answer what ends at this step counter; returns how many requests that sets free to follow."""
    ints, o, base = S.ints, rep * N_INTS, rep * P.max_seqs
    followers = 0
    while ints[o + BATCH] > 0:
        r = S.heap[base]
        if R.mark[r] != ints[o + STEP]:
            break
        _remove(S.heap, base, ints[o + BATCH], 0, R.mark, R.place)
        ints[o + BATCH] -= 1
        context = R.prompt[r] + R.output[r] - 1
        ints[o + CONTEXT] -= context
        ints[o + FREE] += _blocks(context, P.block)
        S.residues[rep * P.block + (context - R.mark[r]) % P.block] -= 1
        followers += _answered(R, S, r, rep)
    return followers


@_compiled
def _end_prefills(R, P, S, rep, count):
    """Each prefill that ended yields a token; its request decodes from the next step on, or is answered."""
    ints, o, base = S.ints, rep * N_INTS, rep * P.max_seqs
    followers = 0
    for j in range(count):
        r = S.finishing[j]
        made = R.mark[r] + 1
        if made == 1:
            R.first_s[r] = S.clock_s[rep]
        context = R.prompt[r] + made - 1
        if made == R.output[r]:
            ints[o + FREE] += _blocks(context, P.block)
            followers += _answered(R, S, r, rep)
            continue
        R.mark[r] = ints[o + STEP] + R.output[r] - made
        ints[o + CONTEXT] += context
        S.residues[rep * P.block + (context - ints[o + STEP]) % P.block] += 1
        size = ints[o + BATCH]
        S.heap[base + size] = r
        ints[o + BATCH] = size + 1
        _up(S.heap, base, size, R.mark, R.place)
    return followers


@_compiled
def _preempt(R, P, S, rep):
    """Send the request that was admitted last back to the front of the queue; its cache is recomputed later."""
    ints, o = S.ints, rep * N_INTS
    r = ints[o + RUN_TAIL]
    if r == ints[o + PART]:
        context = ints[o + DONE]
        ints[o + FREE] += _blocks(context, P.block)
        ints[o + PART] = -1
    else:
        left = R.mark[r] - ints[o + STEP]
        context = R.prompt[r] + R.output[r] - 1 - left
        _remove(S.heap, rep * P.max_seqs, ints[o + BATCH], R.place[r], R.mark, R.place)
        ints[o + BATCH] -= 1
        ints[o + CONTEXT] -= context
        ints[o + FREE] += _blocks(context, P.block)
        S.residues[rep * P.block + (context - ints[o + STEP]) % P.block] -= 1
        R.mark[r] = R.output[r] - left
    before = R.prv[r]
    ints[o + RUN_TAIL] = before
    if before >= 0:
        R.nxt[before] = -1
    else:
        ints[o + RUN_HEAD] = -1
    ints[o + SEATS] -= 1
    R.place[r] = context // P.block  # full blocks; a waiting request has no use for its links otherwise
    R.prv[r] = ints[o + HANDED]
    R.preempted[r] += 1
    S.control[PREEMPTIONS] += 1
    R.nxt[r] = ints[o + WAIT_HEAD]
    if ints[o + WAIT_HEAD] < 0:
        ints[o + WAIT_TAIL] = r
    ints[o + WAIT_HEAD] = r
    return r


@_compiled
def _admit(R, S, rep):
    """Move the head of the queue to the end of the running ones."""
    ints, o = S.ints, rep * N_INTS
    r = ints[o + WAIT_HEAD]
    ints[o + WAIT_HEAD] = R.nxt[r]
    if R.nxt[r] < 0:
        ints[o + WAIT_TAIL] = -1
    tail = ints[o + RUN_TAIL]
    R.prv[r] = tail
    R.nxt[r] = -1
    if tail >= 0:
        R.nxt[tail] = r
    else:
        ints[o + RUN_HEAD] = r
    ints[o + RUN_TAIL] = r
    ints[o + SEATS] += 1
    if R.started_s[r] < 0.0:
        R.started_s[r] = S.clock_s[rep]
    return r


@_compiled
def _start_of(R, P, S, rep, r):
    """Tokens that a prefill finds in the cache: after a preemption its first blocks, less those handed out since."""
    if R.preempted[r] == 0:
        return R.cached[r]
    if P.recall == 0:
        return 0
    return max(0, R.place[r] - (S.ints[rep * N_INTS + HANDED] - R.prv[r])) * P.block


@_compiled
def _admissible(R, P, S, rep, free):
    """Whether the head of the queue could be admitted with so many blocks free."""
    ints, o = S.ints, rep * N_INTS
    head = ints[o + WAIT_HEAD]
    if head < 0 or ints[o + SEATS] >= P.max_seqs:
        return False
    tokens = R.prompt[head] + R.mark[head]
    if P.whole == 0 and P.mode == CHUNKED:
        tokens = min(tokens, _start_of(R, P, S, rep, head) + P.token_budget - ints[o + BATCH])
    return _blocks(tokens, P.block) + P.watermark <= free


@_compiled
def _glide(R, C, P, S, rep, limit_s):
    """Decode steps until something ends, blocks run out or the limit is reached; returns followers."""
    ints, o = S.ints, rep * N_INTS
    batch, step, context, t = ints[o + BATCH], ints[o + STEP], ints[o + CONTEXT], S.clock_s[rep]
    base, block, free = rep * P.block, P.block, ints[o + FREE]
    n = R.mark[S.heap[rep * P.max_seqs]] - step
    rounds = free // batch
    if rounds * block < n:
        left = free - rounds * batch
        fit = rounds * block
        while fit < n:
            left -= S.residues[base + (-(step + fit)) % block]
            if left < 0:
                break
            fit += 1
        n = fit
    one_s = C.decode_s[batch] + C.kappa_s * context
    grow_s = 0.5 * C.kappa_s * batch
    spent_s = n * one_s + grow_s * n * (n - 1)
    if t + spent_s >= limit_s and n > 1:
        a, b, d = grow_s, one_s - grow_s, limit_s - t
        m = 2.0 * d / (b + math.sqrt(b * b + 4.0 * a * d))
        m = max(1, min(n, int(np.ceil(m))))
        # The root is right to rounding; step boundaries decide.
        while m > 1 and t + ((m - 1) * one_s + grow_s * (m - 1) * (m - 2)) >= limit_s:
            m -= 1
        while m < n and t + (m * one_s + grow_s * m * (m - 1)) < limit_s:
            m += 1
        n = m
        spent_s = n * one_s + grow_s * n * (n - 1)
    taken = n // block * batch
    for j in range(n // block * block, n):
        taken += S.residues[base + (-(step + j)) % block]
    limit = n * (C.limit_decode_s[batch] + C.limit_kappa_s * context) + 0.5 * C.limit_kappa_s * batch * n * (n - 1)
    held = _in_use(S, rep) + 0.5 * taken
    _note(S, rep, spent_s, batch, held, n * batch, 0.0, limit)
    ints[o + FREE] = free - taken
    ints[o + HANDED] += taken
    ints[o + STEP] = step + n
    ints[o + CONTEXT] = context + n * batch
    S.clock_s[rep] = t + spent_s
    S.control[STEPS] += n
    S.control[EVENTS] += 1
    return _end_decodes(R, P, S, rep)


@_compiled
def _in_use(S, rep):
    """Blocks in use."""
    return S.control[N_CONTROL + rep] - S.ints[rep * N_INTS + FREE]


@_compiled
def _take_blocks(R, P, S, rep, need):
    """Give each decoding request that begins a block a new one, sending others back where none is free."""
    ints, o = S.ints, rep * N_INTS
    if need <= ints[o + FREE]:
        ints[o + FREE] -= need
        ints[o + HANDED] += need
        return False
    r = ints[o + RUN_HEAD]
    while r >= 0:
        if r != ints[o + PART]:
            context = R.prompt[r] + R.output[r] - 1 - (R.mark[r] - ints[o + STEP])
            if context % P.block == 0:
                gone = -1
                while ints[o + FREE] == 0 and gone != r:
                    gone = _preempt(R, P, S, rep)
                if gone == r:
                    break
                ints[o + FREE] -= 1
                ints[o + HANDED] += 1
        r = R.nxt[r]
    return True


@_compiled
def _mixed_step(R, C, P, S, rep, need):
    """One step with chunks of prefills beside the decodes (or with a preemption); returns followers."""
    ints, o = S.ints, rep * N_INTS
    stalled = _take_blocks(R, P, S, rep, need)
    batch = ints[o + BATCH]
    budget = P.token_budget - batch
    tokens, behind, pairs, ended = 0, 0, 0.0, 0
    part = ints[o + PART]
    if part >= 0:
        done, total = ints[o + DONE], R.prompt[part] + R.mark[part]
        n = min(total - done, budget)
        more = _blocks(done + n, P.block) - _blocks(done, P.block)
        if more > ints[o + FREE]:
            _preempt(R, P, S, rep)
            stalled = True
        else:
            ints[o + FREE] -= more
            ints[o + HANDED] += more
            tokens, behind = tokens + n, behind + done
            pairs += n * done + 0.5 * n * (n + 1)
            budget -= n
            ints[o + DONE] = done + n
            if done + n == total:
                S.finishing[ended] = part
                ended += 1
                ints[o + PART] = -1
    while (
        not stalled and P.mode == CHUNKED and budget > 0 and ints[o + WAIT_HEAD] >= 0 and ints[o + SEATS] < P.max_seqs
    ):
        r = ints[o + WAIT_HEAD]
        start, total = _start_of(R, P, S, rep, r), R.prompt[r] + R.mark[r]
        n = min(total - start, budget)
        wanted = total if P.whole == 1 else start + n
        if _blocks(wanted, P.block) + P.watermark > ints[o + FREE]:
            break
        _admit(R, S, rep)
        ints[o + FREE] -= _blocks(start + n, P.block)
        ints[o + HANDED] += _blocks(start + n, P.block) - start // P.block
        tokens, behind = tokens + n, behind + start
        pairs += n * start + 0.5 * n * (n + 1)
        budget -= n
        if start + n == total:
            S.finishing[ended] = r
            ended += 1
        else:
            ints[o + PART] = r
            ints[o + DONE] = start + n
    _spend(C, S, rep, batch, tokens, behind, pairs)
    ints[o + STEP] += 1
    ints[o + CONTEXT] += batch
    followers = _end_decodes(R, P, S, rep)
    return followers + _end_prefills(R, P, S, rep, ended)


@_compiled
def _prefill_step(R, C, P, S, rep):
    """One pass over whole prompts while the decodes wait; returns followers."""
    ints, o = S.ints, rep * N_INTS
    tokens, behind, pairs, ended = 0, 0, 0.0, 0
    while ints[o + WAIT_HEAD] >= 0 and ints[o + SEATS] < P.max_seqs:
        r = ints[o + WAIT_HEAD]
        start, total = _start_of(R, P, S, rep, r), R.prompt[r] + R.mark[r]
        n = total - start
        if ended > 0 and tokens + n > P.token_budget:
            break
        if _blocks(total, P.block) + P.watermark > ints[o + FREE]:
            break
        _admit(R, S, rep)
        ints[o + FREE] -= _blocks(total, P.block)
        ints[o + HANDED] += _blocks(total, P.block) - start // P.block
        tokens, behind = tokens + n, behind + start
        pairs += n * start + 0.5 * n * (n + 1)
        S.finishing[ended] = r
        ended += 1
    _spend(C, S, rep, 0, tokens, behind, pairs)
    return _end_prefills(R, P, S, rep, ended)


@_compiled
def _spend(C, S, rep, batch, tokens, behind, pairs):
    """Let the time of one step pass."""
    ints, o = S.ints, rep * N_INTS
    context = ints[o + CONTEXT] if batch > 0 else 0
    if tokens > 0:
        spent_s = _table_s(C.pass_s, C.tail_s, batch + tokens) + C.kappa_s * (context + behind) + C.pair_s * pairs
        limit = _table_s(C.limit_pass_s, C.limit_tail_s, batch + tokens)
        limit += C.limit_kappa_s * (context + behind) + C.limit_pair_s * pairs
    else:
        spent_s = C.decode_s[batch] + C.kappa_s * context
        limit = C.limit_decode_s[batch] + C.limit_kappa_s * context
    _note(S, rep, spent_s, ints[o + SEATS], _in_use(S, rep), batch, tokens, limit)
    S.clock_s[rep] += spent_s
    S.control[STEPS] += 1
    S.control[EVENTS] += 1


@_compiled
def _advance(R, C, P, S, rep, limit_s):
    """Run all steps of a replica that begin before the limit; stops earlier (and says 1) when a request follows."""
    ints, o = S.ints, rep * N_INTS
    while S.clock_s[rep] < limit_s:
        if ints[o + SEATS] == 0 and ints[o + WAIT_HEAD] < 0:
            return 0
        need = S.residues[rep * P.block + (-ints[o + STEP]) % P.block]
        free = ints[o + FREE] - need if P.mode == CHUNKED else ints[o + FREE]
        admissible = _admissible(R, P, S, rep, free)
        if P.mode == PREFILL_FIRST and admissible:
            followers = _prefill_step(R, C, P, S, rep)
        elif ints[o + PART] < 0 and not admissible and need <= ints[o + FREE]:
            followers = _glide(R, C, P, S, rep, limit_s)
        else:
            followers = _mixed_step(R, C, P, S, rep, need)
        if followers > 0:
            return 1
    return 0


@_compiled
def _enqueue(R, S, rep, r):
    ints, o = S.ints, rep * N_INTS
    if ints[o + INSIDE] == 0 and S.clock_s[rep] < R.arrival_s[r]:
        S.clock_s[rep] = R.arrival_s[r]
    R.nxt[r] = -1
    tail = ints[o + WAIT_TAIL]
    if tail >= 0:
        R.nxt[tail] = r
    else:
        ints[o + WAIT_HEAD] = r
    ints[o + WAIT_TAIL] = r
    ints[o + INSIDE] += 1
    R.replica[r] = rep


@_compiled
def _route(R, P, S, r):
    if P.routing == ROUND_ROBIN:
        return S.control[ROUTED] % P.replicas
    if P.routing == PREFIX_AWARE and R.group[r] >= 0 and S.home[R.group[r]] >= 0:
        return S.home[R.group[r]]
    best = 0
    for rep in range(1, P.replicas):
        if S.ints[rep * N_INTS + INSIDE] < S.ints[best * N_INTS + INSIDE]:
            best = rep
    if P.routing == PREFIX_AWARE and R.group[r] >= 0:
        S.home[R.group[r]] = best
    return best


@_compiled
def _advance_all(R, C, P, S, limit_s):
    """Advance every replica to the limit; with followers the one that is behind goes first, so that none is missed."""
    if P.chained == 0:
        for rep in range(P.replicas):
            _advance(R, C, P, S, rep, limit_s)
        return 0
    while True:
        behind, second_s = -1, limit_s
        for rep in range(P.replicas):
            if S.ints[rep * N_INTS + INSIDE] == 0 or S.clock_s[rep] >= limit_s:
                continue
            if behind < 0 or S.clock_s[rep] < S.clock_s[behind]:
                if behind >= 0:
                    second_s = min(second_s, S.clock_s[behind])
                behind = rep
            else:
                second_s = min(second_s, S.clock_s[rep])
        if behind < 0:
            return 0
        if second_s <= S.clock_s[behind]:
            second_s = np.nextafter(S.clock_s[behind], np.inf)
        if _advance(R, C, P, S, behind, min(second_s, limit_s)) > 0:
            return 1


@_compiled
def run(R, C, P, S, roots, stop):
    """Serve the arrivals of ``roots`` (and what follows them) up to the ``stop``-th; to the end when that is the last.

    Returns
    -------
    bool
        Whether everything has been answered.
    """
    while True:
        i = S.control[NEXT]
        if i >= stop and stop < len(roots):
            return False
        arrival_s, pending = np.inf, False
        if i < len(roots):
            arrival_s = R.arrival_s[roots[i]]
        if S.control[PENDING] > 0 and R.arrival_s[S.pending[0]] < arrival_s:
            arrival_s, pending = R.arrival_s[S.pending[0]], True
        one = P.chained == 0 and (P.routing == ROUND_ROBIN or P.replicas == 1) and arrival_s < np.inf
        if one:
            rep = S.control[ROUTED] % P.replicas
            _advance(R, C, P, S, rep, arrival_s)
        else:
            if _advance_all(R, C, P, S, arrival_s) > 0:
                continue
            if arrival_s == np.inf:
                return True
        if pending:
            r = _take(R, S)
        else:
            r = roots[i]
            S.control[NEXT] = i + 1
        rep = _route(R, P, S, r)
        S.control[ROUTED] += 1
        _enqueue(R, S, rep, r)


@_compiled
def run_batches(R, C, P, S, wait_s, kv_tokens):
    """Static and dynamic batching; a replica serves every ``replicas``-th arrival, batch after batch."""
    count, stride = len(R.arrival_s), P.replicas
    for rep in range(stride):
        i, clock_s = rep, 0.0
        while i < count:
            full = i + (P.max_seqs - 1) * stride
            last = full if full < count else i + (count - 1 - i) // stride * stride
            start_s = max(clock_s, min(R.arrival_s[last], R.arrival_s[i] + wait_s))
            taken, prompt, output, j = 0, 0, 0, i
            while taken < P.max_seqs and j < count and R.arrival_s[j] <= start_s:
                longest, most = max(prompt, R.prompt[j]), max(output, R.output[j])
                if taken > 0 and (taken + 1) * (longest + most) > kv_tokens:
                    break
                prompt, output, taken, j = longest, most, taken + 1, j + stride
            pairs = 0.5 * taken * prompt * (prompt + 1.0)
            first_s = start_s + _table_s(C.pass_s, C.tail_s, taken * prompt) + C.pair_s * pairs
            n = output - 1
            reads = n * taken * prompt + 0.5 * taken * n * (n - 1)
            clock_s = first_s + n * C.decode_s[taken] + C.kappa_s * reads
            limit = _table_s(C.limit_pass_s, C.limit_tail_s, taken * prompt) + C.limit_pair_s * pairs
            limit += n * C.limit_decode_s[taken] + C.limit_kappa_s * reads
            held = taken * _blocks(prompt + output, P.block)
            made, read = 0, 0
            while i < j:
                R.started_s[i], R.first_s[i], R.finish_s[i] = start_s, first_s, clock_s
                R.replica[i] = rep
                made, read = made + R.output[i], read + R.prompt[i]
                i += stride
            S.clock_s[rep] = start_s
            _note(S, rep, clock_s - start_s, taken, held, made, read, limit)
            S.control[STEPS] += output
            S.control[EVENTS] += 1
            S.control[COMPLETED] += taken
