"""What is sent and when, how long is waited, and what was seen of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reckoner.errors import InputError
from reckoner.measure.wire.clock import Offset
from reckoner.measure.wire.reply import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request of a load.

    Parameters
    ----------
    content : bytes
        Ready to be sent.
    scheduled_s : float
        When, since the start; of a follow-up, since the end of what it follows.
    follows : int or None
        Row of the request that must be answered first (the turn before); None for none.
    """

    content: bytes
    scheduled_s: float = 0.0
    follows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests, and when they go.

    Parameters
    ----------
    asks : sequence of Ask
        In order.
    concurrency : int, optional
        Closed loop: so many in flight, the next one as soon as one is answered; schedules play no part.
    think_s : float
        Pause between an answer and the next request of a closed loop.
    """

    asks: Sequence[Ask]
    concurrency: int | None = None
    think_s: float = 0.0

    def __post_init__(self) -> None:
        """Hold the invariants of a load."""
        if not self.asks:
            raise InputError("the load has no requests; give at least one")
        if self.concurrency is not None and self.concurrency < 1:
            raise InputError(f"concurrency is {self.concurrency}; it must be at least 1")
        if not 0.0 <= self.think_s < float("inf"):
            raise InputError(f"think_s is {self.think_s!r}; it must be at least 0")
        for row, ask in enumerate(self.asks):
            if not 0.0 <= ask.scheduled_s < float("inf"):
                raise InputError(f"request {row}: scheduled_s is {ask.scheduled_s!r}; it must be at least 0")
            if ask.follows is not None and not 0 <= ask.follows < row:
                raise InputError(f"request {row} follows {ask.follows}; it must follow an earlier one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited.

    Parameters
    ----------
    connect_s, stall_s, total_s : float
        For a connection, between two reads of a reply, and for a whole reply. [s]
    """

    connect_s: float = 10.0
    stall_s: float = 60.0
    total_s: float = 600.0

    def __post_init__(self) -> None:
        """Hold the invariants of patience."""
        for name in ("connect_s", "stall_s", "total_s"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be above 0 s")


@dataclass(slots=True)
class Seen:
    """Everything that was seen of one request, before it is taken apart."""

    index: int
    scheduled_ns: int
    connected_ns: int
    sent_ns: int
    sent_kernel_ns: int
    closed_ns: int
    state: str
    why: str
    head: Head | None
    hung_up: bool
    reads: list[bytes]
    kernel_ns: list[int]
    user_ns: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run, not yet taken apart.

    Parameters
    ----------
    seen : list of Seen
        In the order in which requests ended.
    start_ns, end_ns : int
        On the monotonic clock.
    clock : Offset
        Real time less monotonic time, at the start.
    stepped_ns : int
        By how much the real-time clock was stepped meanwhile; kernel stamps are then of no use.
    stamped : bool
        Whether the kernel stamped what came.
    cpu_s : float
        CPU time of this process over the run.
    unsent : int
        Requests that were never sent, because the run was stopped.
    most_in_flight : int
        Largest number of requests in flight.
    """

    seen: list[Seen]
    start_ns: int
    end_ns: int
    clock: Offset
    stepped_ns: int
    stamped: bool
    cpu_s: float
    unsent: int
    most_in_flight: int


Watch = Callable[[Seen, int], None]
"""Told each request that ended, and how many are in flight."""
