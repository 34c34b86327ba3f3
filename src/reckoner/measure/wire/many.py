"""One load over several processes that start at one moment: more requests than one core can send on time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise

from reckoner.errors import EngineError, InputError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.clock import offset, stepped_ns
from reckoner.measure.wire.connection import can_stamp
from reckoner.measure.wire.drive import AHEAD_NS, drive
from reckoner.measure.wire.load import Load, Patience, Run, Seen, Watch
from reckoner.measure.wire.poller import new_poller
from reckoner.measure.wire.worker import DONE, ENDED, READY, REFUSED, Frames, Job, decoded, encoded, frame, told_of

LOOK_S = 0.05  # how often it is asked whether to stop
START_NS = 2 * AHEAD_NS  # from the word "go" to the start: word and first connections take their time. Assumption.


def drive_many(
    address: Address, load: Load, *, processes: int = 1, patience: Patience | None = None, stamped: bool | None = None,
    watch: Watch | None = None, stop: Callable[[], bool] | None = None,
) -> Run:  # fmt: skip
    """Send a load from several processes, and keep what comes as if one had sent it.

    Parameters
    ----------
    address, load, patience, stamped, watch, stop
        As in :func:`~reckoner.measure.wire.drive.drive`.
    processes : int
        Among which an open loop is dealt out request by request, follow-ups with what they follow, and a closed loop
        stream by stream.

    Returns
    -------
    Run
        Merged: rows are those of the load, CPU time is that of all processes, this one's too. A request whose process
        died is there, with the state "client".

    Raises
    ------
    InputError
        Less than one process, or more streams than a process may open files.
    EngineError
        The host is unknown.
    """
    parts = shares(load, processes)
    if len(parts) == 1:
        return drive(address, load, patience=patience, stamped=stamped, watch=watch, stop=stop)
    address.resolve()  # an unknown host is said before anything starts
    stamped = can_stamp() if stamped is None else stamped
    cpu = time.process_time()
    jobs = [Job(address=address, load=part, patience=patience or Patience(), stamped=stamped) for part, _ in parts]
    with _interrupts() as asked, _crew(jobs) as workers:
        for worker, (_, rows) in zip(workers, parts, strict=True):
            worker.rows = rows
        seen = _collect(workers, watch, lambda: len(asked) + int(stop is not None and stop()))
    return _merged(workers, seen, time.process_time() - cpu)


def shares(load: Load, processes: int) -> list[tuple[Load, list[int]]]:
    """Deal a load out; each part with the rows it has of the whole.

    Raises
    ------
    InputError
        Less than one process.

    Examples
    --------
    >>> from reckoner.measure.wire.load import Ask
    >>> asks = [Ask(content=b""), Ask(content=b"", follows=0), Ask(content=b""), Ask(content=b"")]
    >>> [rows for _, rows in shares(Load(asks=asks), 2)]
    [[0, 1, 3], [2]]
    >>> [(part.concurrency, rows) for part, rows in shares(Load(asks=asks, concurrency=3), 2)]
    [(2, [0, 2, 3]), (1, [1])]
    """
    if processes < 1:
        raise InputError(f"processes is {processes}; it must be at least 1")
    if load.concurrency is not None:
        streams = min(load.concurrency, len(load.asks))
        count = min(processes, streams)
        owner = [row % streams % count for row in range(len(load.asks))]
        parallel = [len(range(i, streams, count)) for i in range(count)]
    else:
        heads = sum(ask.follows is None for ask in load.asks)
        count = min(processes, heads)
        owner, dealt = [], 0
        for ask in load.asks:
            owner.append(dealt % count if ask.follows is None else owner[ask.follows])
            dealt += ask.follows is None
    parts = []
    for i in range(count):
        rows = [row for row, of in enumerate(owner) if of == i]
        place = {row: at for at, row in enumerate(rows)}
        asks = [load.asks[row] for row in rows]
        if load.concurrency is None:
            asks = [ask if ask.follows is None else replace(ask, follows=place[ask.follows]) for ask in asks]
            parts.append((replace(load, asks=asks), rows))
        else:  # what follows what plays no part in a closed loop
            asks = [replace(ask, follows=None) for ask in asks]
            parts.append((replace(load, asks=asks, concurrency=parallel[i]), rows))
    return parts


class _Worker:
    """A process that drives its share, as this process sees it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reckoner.measure.wire.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            process_group=0,  # a Ctrl-C comes to this process alone, which then tells the others
        )  # fmt: skip
        assert self.process.stdout is not None  # a pipe was asked for
        self.number = self.process.stdout.fileno()
        self.frames = Frames()
        self.rows: list[int] = []
        self.ready = self.over = False
        self.in_flight = 0
        self.run: Run | None = None

    def tell(self, content: bytes) -> None:
        """Send a message; whoever is dead does not hear it."""
        assert self.process.stdin is not None  # a pipe was asked for
        with suppress(BrokenPipeError):
            self.process.stdin.write(frame(b"", content))
            self.process.stdin.flush()

    def interrupt(self, *, at_once: bool) -> None:
        """Ask for what has ended so far, where there is anything to ask for."""
        if at_once or not self.ready:
            self.process.kill()
        else:
            self.process.send_signal(signal.SIGINT)

    def hear(self) -> Iterator[tuple[bytes, bytes]]:
        """Messages that have come; none once the process has hung up."""
        content = os.read(self.number, 1 << 20)
        if not content:
            self.over = True
        yield from self.frames.fed(content)


@contextmanager
def _crew(jobs: Sequence[Job]) -> Iterator[list[_Worker]]:
    """Processes that have their jobs; none is left behind."""
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker() for _ in jobs)
        for worker, job in zip(workers, jobs, strict=True):
            worker.tell(encoded(job))
        yield workers
    finally:
        for worker in workers:
            if worker.run is None:
                worker.process.kill()
            with suppress(BrokenPipeError):
                worker.process.communicate()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C is noted, not raised: one that came between two messages would lose the one in hand."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield asked
        return
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _collect(workers: list[_Worker], watch: Watch | None, urged: Callable[[], int]) -> list[Seen]:
    """Start the processes together, and take what they tell until the last one has hung up.

    ``urged`` says how often somebody asked to stop: once, and what has ended is kept; more often, and nothing is waited
    for.
    """
    seen: list[Seen] = []
    by_number = {worker.number: worker for worker in workers}
    poller = new_poller()
    for number in by_number:
        poller.add(number)
        poller.reads(number)
    start_ns = heard = 0
    try:
        while any(not worker.over for worker in workers):
            for number, _ in poller.wait(LOOK_S):
                worker = by_number[number]
                for kind, content in worker.hear():
                    _take(worker, kind, content, seen)
                    if kind == ENDED and watch is not None:
                        watch(seen[-1], sum(each.in_flight for each in workers))
                if worker.over:
                    poller.remove(number)
            if not start_ns and all(worker.ready or worker.over for worker in workers):
                start_ns = time.monotonic_ns() + START_NS
                for worker in workers:
                    worker.tell(encoded(start_ns))
            urge = urged()
            if urge > heard:
                for worker in workers:
                    worker.interrupt(at_once=urge > 1)
                heard = urge
    finally:
        poller.close()
    return seen if heard else seen + _lost(workers, seen, start_ns)


def _take(worker: _Worker, kind: bytes, content: bytes, seen: list[Seen]) -> None:
    """Act on one message."""
    if kind == ENDED:
        found, worker.in_flight = told_of(content)
        found.index = worker.rows[found.index]
        seen.append(found)
    elif kind == READY:
        worker.ready = True
    elif kind == DONE:
        worker.run = decoded(content, Run)
        worker.in_flight = 0
    elif kind == REFUSED:
        name, words = decoded(content, tuple[str, str])
        raise (InputError if name == InputError.__name__ else EngineError)(words)


def _lost(workers: Sequence[_Worker], seen: Sequence[Seen], start_ns: int) -> list[Seen]:
    """Requests whose process died before it told of them."""
    known = {one.index for one in seen}
    now = time.monotonic_ns()
    found = []
    for worker in workers:
        if worker.run is None:
            why = f"the client's process that asked ended early, with status {worker.process.wait()}"
            found += [
                Seen(row, start_ns, 0, 0, 0, now, "client", why, None, True, [], [], [])
                for row in worker.rows
                if row not in known
            ]
    return found


def _merged(workers: Sequence[_Worker], seen: list[Seen], cpu_s: float) -> Run:
    """One run of many."""
    runs = [worker.run for worker in workers if worker.run is not None]
    now = time.monotonic_ns()
    seen.sort(key=lambda one: (one.closed_ns, one.index))
    clocks = sorted([run.clock for run in runs] or [offset()], key=lambda clock: clock.at_ns)
    steps = [0, *(run.stepped_ns for run in runs), *(stepped_ns(one, later) for one, later in pairwise(clocks))]
    return Run(
        seen=seen,
        start_ns=min([run.start_ns for run in runs] or [one.scheduled_ns for one in seen] or [now]),
        end_ns=max([run.end_ns for run in runs] or [now]),
        clock=min(clocks, key=lambda clock: clock.uncertainty_ns),
        stepped_ns=max(steps, key=abs),
        stamped=all(run.stamped for run in runs),
        cpu_s=cpu_s + sum(run.cpu_s for run in runs),
        unsent=sum(len(worker.rows) for worker in workers) - len(seen),
        most_in_flight=max(most_at_once(seen), *(run.most_in_flight for run in runs), 0),
    )


def most_at_once(seen: Sequence[Seen]) -> int:
    """Most requests in flight at one moment, of those that ended."""
    changes = [(one.sent_ns, 1) for one in seen if one.sent_ns] + [(one.closed_ns, -1) for one in seen if one.sent_ns]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
