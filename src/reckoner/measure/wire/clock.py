"""Two clocks: the monotonic one that everything is told in, and the real-time one that the kernel stamps with."""

from __future__ import annotations

import time
from dataclasses import dataclass

BRACKETS = 200
"""Brackets of which the tightest counts. Assumption: beyond a hundred the tightest one hardly changes."""
STEP_NS = 1_000_000
"""Change of the offset from which a clock counts as stepped: NTP slews by at most 500 ppm, which is 0.5 ms a second
(D. Mills, RFC 5905, sec. 11.3); we look again within seconds of the end. Assumption."""
SLEW = 500e-6
"""Largest rate at which a disciplined clock is slewed (RFC 5905)."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Real time less monotonic time.

    Parameters
    ----------
    ns : int
        The offset. [ns]
    uncertainty_ns : int
        Half of the bracket that it was read in. [ns]
    at_ns : int
        Monotonic time of the reading. [ns]
    """

    ns: int
    uncertainty_ns: int
    at_ns: int


def offset(brackets: int = BRACKETS) -> Offset:
    """Read the real-time clock between two readings of the monotonic one; the tightest of many brackets counts.

    >>> found = offset()
    >>> abs(time.time_ns() - time.monotonic_ns() - found.ns) < 1_000_000
    True
    """
    best: Offset | None = None
    for _ in range(brackets):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        half = (after - before) // 2
        if best is None or half < best.uncertainty_ns:
            best = Offset(ns=real - (before + half), uncertainty_ns=half, at_ns=before + half)
    assert best is not None  # at least one bracket
    return best


def stepped_ns(first: Offset, last: Offset) -> int:
    """By how much the real-time clock was stepped between two readings; 0 where slewing explains the change."""
    change = last.ns - first.ns
    allowed = STEP_NS + int(SLEW * (last.at_ns - first.at_ns))
    return change if abs(change) > allowed else 0
