"""What the kernel works on: one record a request, one record a replica, and flat arrays beside them.

A request is two lines of the processor's cache, and a function that is not inlined is handed seven words an array: with
records, and everything inlined, the kernel takes half the time that it took with an array a field.
"""

from __future__ import annotations

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


def compiled(function: F, *, keep: bool = False, inline: bool = True) -> F:
    """Compile a function where numba is at hand; ``keep`` its machine code for the next process.

    Nothing is allocated inside, so arrays need no reference counts: without them the kernel is seven times as fast.
    Only the entries keep their code, for it holds all that they call.
    """
    if not COMPILED:
        return function
    njit: Any = numba.njit
    options = {"_nrt": False, "error_model": "numpy"}
    # What is called from compiled code alone needs no way in from Python, which takes a third of the compilation.
    options |= (
        {"cache": True, "no_cfunc_wrapper": True}
        if keep
        else {"forceinline": inline, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    )
    return cast(F, njit(**options)(function))


REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("gap_s", np.float64),  # pause before the one that follows
        ("started_s", np.float64),  # below 0: not yet
        ("first_s", np.float64),
        ("finish_s", np.float64),  # below 0: not yet
        ("told_s", np.float64),  # last token that a prefill yielded, or the last one before a preemption
        ("mark", np.int64),  # waiting: tokens generated so far; running: the step counter at which it ends
        ("prompt", np.int32),
        ("output", np.int32),
        ("cached", np.int32),  # prompt tokens found in the cache when first admitted
        ("group", np.int32),  # session, for routing by prefix
        ("follows", np.int32),  # request sent after this one is answered, or -1
        ("preempted", np.int32),
        ("replica", np.int32),
        ("nxt", np.int32),
        ("prv", np.int32),
        ("place", np.int32),  # sent back: full blocks that it held
    ]
)
"""What is asked and what became of it; times in seconds, lengths in tokens."""

REPLICA = np.dtype(
    [
        ("clock_s", np.float64),  # start of its next step
        ("told_s", np.float64),  # end of its last decode
        ("passed", np.int64),  # 1: prompts went first since then
        ("batch", np.int64),  # decoding
        ("step", np.int64),
        ("context", np.int64),  # of those that decode
        ("seats", np.int64),  # taken
        ("inside", np.int64),  # seats and queue
        ("free", np.int64),  # blocks
        ("blocks", np.int64),
        ("handed", np.int64),  # blocks, since the start
        ("wait_head", np.int64),
        ("wait_tail", np.int64),
        ("run_head", np.int64),
        ("run_tail", np.int64),
        ("part", np.int64),  # request whose prompt is read in part, or -1
        ("done", np.int64),  # tokens of it
    ]
)


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

    at: NDArray[np.void]  # REPLICA of each replica
    heap: NDArray[np.int32]  # max_seqs of each replica: decoding requests by the step in which they end
    ends: NDArray[np.int64]  # of each entry of the heap: that step
    residues: NDArray[np.int32]  # block of each replica: decoding requests by (context - step counter) mod block
    finishing: NDArray[np.int32]  # scratch: prefills that end in this step
    pending: NDArray[np.int32]  # heap of requests sent after an answer, by arrival
    control: NDArray[np.int64]  # N_CONTROL counters
    home: NDArray[np.int32]  # replica of each group, or -1
    bins: NDArray[np.float64]  # N_CHANNELS of each bin of time, then the width of a bin
    gaps: NDArray[np.int64]  # gaps between tokens, by bucket of a sketch
    word: NDArray[np.float64]  # one number, whose bits name its bucket
    bits: NDArray[np.int64]  # the same memory
    log: NDArray[np.float64]  # N_LOG of each event, where they are kept; else empty


CHUNKED, PREFILL_FIRST = 0, 1
ROUND_ROBIN, LEAST_LOADED, PREFIX_AWARE = 0, 1, 2

NEXT, PENDING, ROUTED, COMPLETED, PREEMPTIONS, STEPS, EVENTS, LOGGED, FULL, N_CONTROL = range(10)
BUSY_S, SEQS_S, BLOCKS_S, WAITING_S, OUT_TOKENS, IN_TOKENS, LIMIT_S, N_CHANNELS = range(8)
N_BINS = 512
WIDTH_S = N_BINS * N_CHANNELS  # place of the width in the bins

LOG_KIND, LOG_REPLICA, LOG_START_S, LOG_STEPS, LOG_FIRST_S, LOG_GROWTH_S, N_LOG = range(7)
SENT_BACK, RESUMED = -1, -2  # kinds of an event beside the number of sequences that decode: of the request in LOG_STEPS
