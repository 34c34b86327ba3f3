"""The loop that sends on time and reads at once; everything else waits until the run is over."""

from __future__ import annotations

import gc
import heapq
import time
from collections import deque
from collections.abc import Callable

from reckoner.measure.wire.address import Address
from reckoner.measure.wire.clock import offset, stepped_ns
from reckoner.measure.wire.connection import CLOSED, CONNECTING, IDLE, SHAKING, Connection, can_stamp
from reckoner.measure.wire.load import Load, Patience, Run, Seen, Watch
from reckoner.measure.wire.poller import ODD, READABLE, WRITABLE, allow_files, new_poller

AHEAD_NS = 100_000_000  # connections are made so long before they are needed. Assumption.
SPIN_NS = 1_200_000  # pollers wait in whole milliseconds; what is due sooner is waited for awake
SWEEP_NS = 50_000_000  # how often requests are looked at that may have stalled


def drive(
    address: Address, load: Load, *, patience: Patience | None = None, stamped: bool | None = None,
    watch: Watch | None = None, stop: Callable[[], bool] | None = None, start: Callable[[], int] | None = None,
) -> Run:  # fmt: skip
    """Send a load and keep what comes.

    Parameters
    ----------
    address : Address
        Whom.
    load : Load
        What, and when.
    patience : Patience, optional
        How long is waited.
    stamped : bool, optional
        Whether to ask the kernel for stamps; by default where it can. A connection under TLS is stamped as well: the
        packet's stamp is that of all tokens it brings.
    watch : callable, optional
        Told each request as it ends; it works inside the loop, so it must be quick.
    stop : callable, optional
        Asked now and then whether to send nothing more. What is in flight is abandoned, and what has ended stays.
    start : callable, optional
        Asked once the connections of a closed loop stand: monotonic time of the start, so that several processes begin
        together. [ns]

    Raises
    ------
    InputError
        More streams than this process may open files: said before anything is sent.
    EngineError
        The host is unknown.
    """
    family, place = address.resolve()
    if load.concurrency is not None:
        allow_files(min(load.concurrency, len(load.asks)))
    else:
        allow_files(len(load.asks), least=min(len(load.asks), 64))  # how many will be open at once, nobody knows
    loop = _Loop(
        address, family, place, load, patience or Patience(), can_stamp() if stamped is None else stamped, watch
    )
    return loop.run(stop, start)


class _Loop:
    """State of a run."""

    def __init__(
        self, address: Address, family: int, place: tuple[object, ...], load: Load, patience: Patience, stamped: bool,
        watch: Watch | None,
    ) -> None:  # fmt: skip
        self.address, self.family, self.place = address, family, place
        self.load, self.patience, self.stamped, self.watch = load, patience, stamped, watch
        self.poller = new_poller()
        self.open: dict[int, Connection] = {}
        self.idle: list[Connection] = []
        self.waiting: deque[int] = deque()
        self.connecting: dict[Connection, int] = {}
        self.busy: dict[Connection, int] = {}
        self.used: set[Connection] = set()
        self.due: list[tuple[int, int]] = []
        self.scheduled: dict[int, int] = {}
        self.followers: dict[int, list[int]] = {}
        self.seen: list[Seen] = []
        self.next_row = 0
        self.reserved = 0
        self.ahead: deque[int] = deque()
        self.most = 0
        self.resent: set[int] = set()
        self.left = len(load.asks)

    def run(self, stop: Callable[[], bool] | None, agree: Callable[[], int] | None) -> Run:
        """Go on until every request has ended, or somebody stops it."""
        clock = offset()
        start = time.monotonic_ns()
        cpu = time.process_time()
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = self._warm(agree)
            self._fill(start)
            swept = start
            while self.left and not (stop is not None and stop()):
                now = time.monotonic_ns()
                self._begin_due(now)
                for number, flags in self._poll(now):
                    connection = self.open.get(number)
                    if connection is not None:
                        self._serve(connection, flags)
                if now - swept > SWEEP_NS:
                    swept = now
                    self._sweep(now)
        except KeyboardInterrupt:
            pass  # what has ended stays
        finally:
            if collecting:
                gc.enable()
            end = time.monotonic_ns()
            for connection in list(self.open.values()):
                self._drop(connection)
            self.poller.close()
        last = offset()
        return Run(
            seen=self.seen, start_ns=start, end_ns=end, clock=clock, stepped_ns=stepped_ns(clock, last),
            stamped=self.stamped, cpu_s=time.process_time() - cpu, unsent=self.left, most_in_flight=self.most,
        )  # fmt: skip

    def _warm(self, agree: Callable[[], int] | None) -> int:
        """Make the connections of a closed loop before its start; return the start."""
        if self.load.concurrency is not None:
            for _ in range(min(self.load.concurrency, len(self.load.asks))):
                self._connect()
            until = time.monotonic_ns() + int(self.patience.connect_s * 1e9)
            while self.connecting and time.monotonic_ns() < until:
                for number, flags in self._poll(time.monotonic_ns()):
                    connection = self.open.get(number)
                    if connection is not None:
                        self._serve(connection, flags)
        if agree is not None:
            return agree()
        return time.monotonic_ns() + (AHEAD_NS if self.load.concurrency is None else 0)

    def _fill(self, start: int) -> None:
        """Put what does not depend on answers into the queue."""
        if self.load.concurrency is not None:
            for _ in range(min(self.load.concurrency, len(self.load.asks))):
                self._next(start)
            return
        for row, ask in enumerate(self.load.asks):
            if ask.follows is None:
                self.due.append((start + int(ask.scheduled_s * 1e9), row))
            else:
                self.followers.setdefault(ask.follows, []).append(row)
        heapq.heapify(self.due)
        self.ahead.extend(at for at, _ in sorted(self.due))

    def _next(self, at: int) -> None:
        if self.next_row < len(self.load.asks):
            heapq.heappush(self.due, (at, self.next_row))
            self.next_row += 1

    def _begin_due(self, now: int) -> None:
        while self.ahead and self.ahead[0] <= now + AHEAD_NS:
            self.ahead.popleft()
            self.reserved += 1
            if len(self.idle) + len(self.connecting) < self.reserved:
                self._connect()
        while self.due and self.due[0][0] <= now:
            at, row = heapq.heappop(self.due)
            self.scheduled[row] = at
            self.reserved = max(self.reserved - 1, 0)
            self._begin(row)

    def _begin(self, row: int) -> None:
        while self.idle:
            connection = self.idle.pop()
            if connection.state == IDLE:
                self._send(connection, row)
                return
        self.waiting.append(row)
        if len(self.waiting) > len(self.connecting):
            self._connect()

    def _send(self, connection: Connection, row: int) -> None:
        self.busy[connection] = row
        self.most = max(self.most, len(self.busy))
        connection.begin(row, self.load.asks[row].content)
        if connection.state == CLOSED:
            self._ended(connection)
        elif connection.pending:
            self.poller.both(connection.number)

    def _connect(self) -> None:
        try:
            connection = Connection(self.address, self.family, self.place, self.stamped)
        except OSError as error:
            self._refuse(f"no socket: {error.strerror}")
            return
        if connection.state == CLOSED:
            self._refuse(connection.error)
            return
        self.open[connection.number] = connection
        self.connecting[connection] = time.monotonic_ns()
        self.poller.add(connection.number)

    def _serve(self, connection: Connection, flags: int) -> None:
        if connection.state == CONNECTING:
            connection.ready()
            self._after_connecting(connection)
            return
        if flags & ODD and connection.stamped and connection.state != CLOSED:
            connection.went()
            if flags == ODD:
                return
        if flags & ~READABLE and connection.pending:
            connection.flush()
            if connection.state == CLOSED:
                self._ended(connection)
                return
            if not connection.pending:
                self.poller.reads(connection.number)
        if not flags & ~WRITABLE:
            return
        before = connection.state
        over = connection.receive()
        if before == SHAKING:
            self._after_connecting(connection)
        elif before == IDLE:
            if connection.state == CLOSED or over:
                self._drop(connection)
        elif over:
            self._ended(connection)

    def _after_connecting(self, connection: Connection) -> None:
        if connection.state == IDLE:
            self.connecting.pop(connection, None)
            self.poller.reads(connection.number)
            self._free(connection)
        elif connection.state == CLOSED:
            self.connecting.pop(connection, None)
            self._forget(connection)
            self._refuse(connection.error)
        elif connection.state == SHAKING and not connection.pending:
            self.poller.reads(connection.number)

    def _free(self, connection: Connection) -> None:
        """Give a connection to who waits longest; a request that a dead one cost a try waits for a new one."""
        stood = connection in self.used
        row = next((row for row in self.waiting if not (stood and row in self.resent)), None)
        if row is None:
            self.idle.append(connection)
        else:
            self.waiting.remove(row)
            self._send(connection, row)

    def _refuse(self, why: str) -> None:
        """Charge a connection that failed to whoever waits for one."""
        if self.waiting:
            row = self.waiting.popleft()
            at = self.scheduled[row]
            self._keep(Seen(row, at, 0, 0, 0, time.monotonic_ns(), "connect", why, None, True, [], [], []))

    def _ended(self, connection: Connection) -> None:
        """Keep what was seen, and use the connection again where that is possible."""
        row = self.busy.pop(connection)
        head, now = connection.head, time.monotonic_ns()
        hung_up = connection.state == CLOSED
        fresh = connection not in self.used
        if hung_up and not connection.reads and not fresh and row not in self.resent:
            self.resent.add(row)  # the server had given the idle connection up; every HTTP client sends again
            self._forget(connection)
            self.waiting.appendleft(row)
            self._connect()  # not another idle one, which may be as dead
            return
        self._keep(
            Seen(
                row, self.scheduled[row], connection.connected_ns if fresh else 0, connection.sent_ns,
                connection.sent_kernel_ns, now,
                "", connection.error, head, hung_up, connection.reads, connection.kernel_ns, connection.user_ns,
            )
        )  # fmt: skip
        connection.reads, connection.kernel_ns, connection.user_ns = [], [], []
        if hung_up or head is None or not head.keeps_open:
            self._drop(connection)
        else:
            connection.state = IDLE
            self.used.add(connection)
            self._free(connection)

    def _keep(self, seen: Seen) -> None:
        self.seen.append(seen)
        self.left -= 1
        row, now = seen.index, time.monotonic_ns()
        if self.load.concurrency is not None:
            self._next(now + int(self.load.think_s * 1e9))
        for follower in self.followers.pop(row, ()):
            at = now + int(self.load.asks[follower].scheduled_s * 1e9)
            heapq.heappush(self.due, (at, follower))
        if self.watch is not None:
            self.watch(seen, len(self.busy))

    def _sweep(self, now: int) -> None:
        """Give up what has waited too long."""
        patience = self.patience
        for connection, since in list(self.connecting.items()):
            if now - since > patience.connect_s * 1e9:
                connection.fail(f"no connection within {patience.connect_s:g} s")
                self._after_connecting(connection)
        for connection in list(self.busy):
            last = connection.user_ns[-1] if connection.user_ns else connection.sent_ns
            if now - last > patience.stall_s * 1e9:
                connection.fail(f"nothing came for {patience.stall_s:g} s")
                self._ended(connection)
            elif now - connection.sent_ns > patience.total_s * 1e9:
                connection.fail(f"no end within {patience.total_s:g} s")
                self._ended(connection)

    def _poll(self, now: int) -> list[tuple[int, int]]:
        wait = SWEEP_NS
        if self.due:
            wait = min(wait, self.due[0][0] - now)
        if self.ahead:
            wait = min(wait, self.ahead[0] - AHEAD_NS - now)
        seconds = 0.0 if wait < SPIN_NS else (wait - 1_000_000) * 1e-9
        return self.poller.wait(seconds)

    def _forget(self, connection: Connection) -> None:
        if self.open.get(connection.number) is connection:
            del self.open[connection.number]
            self.poller.remove(connection.number)
        self.used.discard(connection)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()
