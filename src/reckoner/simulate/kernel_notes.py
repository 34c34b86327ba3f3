# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""What the kernel notes as time passes: load by bins of time, gaps between tokens, and events where they are kept."""

from __future__ import annotations

from reckoner.simulate.kernel_layout import (
    BLOCKS_S,
    BUSY_S,
    FULL,
    IN_TOKENS,
    LIMIT_S,
    LOG_FIRST_S,
    LOG_GROWTH_S,
    LOG_KIND,
    LOG_REPLICA,
    LOG_START_S,
    LOG_STEPS,
    LOGGED,
    N_BINS,
    N_CHANNELS,
    N_LOG,
    OUT_TOKENS,
    SEQS_S,
    WAITING_S,
    WIDTH_S,
    compiled,
)
from reckoner.simulate.sketch import BUCKETS, FIRST, SHIFT


@compiled
def _fold(S):
    """Make the bins twice as wide."""
    bins = S.bins
    for b in range(N_BINS // 2):
        for c in range(N_CHANNELS):
            bins[b * N_CHANNELS + c] = bins[2 * b * N_CHANNELS + c] + bins[(2 * b + 1) * N_CHANNELS + c]
    for j in range(N_BINS // 2 * N_CHANNELS, N_BINS * N_CHANNELS):
        bins[j] = 0.0
    bins[WIDTH_S] *= 2.0


@compiled
def note(S, at, spent_s, seqs, blocks, out_tokens, in_tokens, limit_s):
    """Spread what a stretch of time held over the bins; the bins double in width when time outgrows them."""
    bins = S.bins
    t0 = at.clock_s
    t1 = t0 + spent_s
    waiting = at.inside - at.seats
    while t1 >= bins[WIDTH_S] * N_BINS:
        _fold(S)
    width = bins[WIDTH_S]
    per_s = 1.0 / width  # exact, for widths are powers of two
    b = int(t0 * per_s)
    last = int(t1 * per_s)
    whole = t1 - t0
    moment = t0
    while b <= last:
        until = t1 if b == last else (b + 1) * width
        dt = until - moment
        share = dt / whole if whole > 0.0 else 1.0
        o = b * N_CHANNELS
        bins[o + BUSY_S] += dt
        bins[o + SEQS_S] += seqs * dt
        bins[o + BLOCKS_S] += blocks * dt
        bins[o + WAITING_S] += waiting * dt
        bins[o + OUT_TOKENS] += out_tokens * share
        bins[o + IN_TOKENS] += in_tokens * share
        bins[o + LIMIT_S] += limit_s * share
        moment = until
        b += 1


@compiled
def _bucket(S, value_s):
    S.word[0] = value_s
    found = (S.bits[0] >> SHIFT) - FIRST
    return max(0, min(found, BUCKETS - 1))


@compiled
def gap(S, value_s, count):
    """Note so many equal gaps."""
    S.gaps[_bucket(S, value_s)] += count


@compiled
def gaps(S, first_s, growth_s, steps, each):
    """Note the gaps of so many steps, each longer by ``growth_s`` than the one before; ``each`` step yields so many."""
    low = _bucket(S, first_s)
    high = _bucket(S, first_s + growth_s * (steps - 1))
    done = 0
    while low < high:
        # Steps below the upper edge of this bucket.
        S.bits[0] = (low + 1 + FIRST) << SHIFT
        upto = max(done, min(steps, int((S.word[0] - first_s) / growth_s) + 1))
        S.gaps[low] += (upto - done) * each
        done = upto
        low += 1
    S.gaps[high] += (steps - done) * each


@compiled
def log(S, kind, rep, start_s, steps, first_s, growth_s):
    """Keep an event, where events are kept; there is room, or :func:`room` has said that there is none."""
    o = S.control[LOGGED] * N_LOG
    if o + N_LOG > len(S.log):
        return
    row = S.log
    row[o + LOG_KIND] = kind
    row[o + LOG_REPLICA] = rep
    row[o + LOG_START_S] = start_s
    row[o + LOG_STEPS] = steps
    row[o + LOG_FIRST_S] = first_s
    row[o + LOG_GROWTH_S] = growth_s
    S.control[LOGGED] += 1


@compiled
def room(S, events):
    """Whether so many events can be kept, or none are; else a flag asks for a longer log."""
    if len(S.log) == 0 or (S.control[LOGGED] + events) * N_LOG <= len(S.log):
        return True
    S.control[FULL] = 1
    return False
