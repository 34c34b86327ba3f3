"""A process that drives its share of a load: told what by its stdin, telling what it saw as it sees it."""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, TypeVar

import msgspec

from reckoner.errors import EngineError, InputError, ReckonerError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.drive import drive
from reckoner.measure.wire.load import Load, Patience, Seen

READY, ENDED, DONE, REFUSED = b"r", b"s", b"f", b"e"
_SIZE = struct.Struct(">I")
_T = TypeVar("_T")
_TOLD = msgspec.msgpack.Decoder(tuple[Seen, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Share of a load; the parameters are those of :func:`~reckoner.measure.wire.drive.drive`."""

    address: Address
    load: Load
    patience: Patience
    stamped: bool


def encoded(value: Any) -> bytes:
    """Message of a value."""
    return msgspec.msgpack.encode(value)


def decoded(content: bytes, kind: type[_T]) -> _T:
    """Value of a message."""
    return msgspec.msgpack.decode(content, type=kind)


def told_of(content: bytes) -> tuple[Seen, int]:
    """Request that ended, and how many its process has in flight."""
    return _TOLD.decode(content)


def frame(kind: bytes, content: bytes) -> bytes:
    """Message with its length and, from a worker, its kind before it."""
    return _SIZE.pack(len(kind) + len(content)) + kind + content


class Frames:
    r"""Messages out of a stream of bytes.

    >>> frames = Frames()
    >>> list(frames.fed(frame(READY, b"") + frame(DONE, b"x")[:5]))
    [(b'r', b'')]
    >>> list(frames.fed(b"x"))
    [(b'f', b'x')]
    """

    def __init__(self) -> None:
        self._left = bytearray()

    def fed(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Messages that are whole with these bytes: kind and content."""
        self._left += content
        at = 0
        try:
            while len(self._left) >= at + _SIZE.size:
                (size,) = _SIZE.unpack_from(self._left, at)
                end = at + _SIZE.size + size
                if len(self._left) < end:
                    return
                body = bytes(self._left[at + _SIZE.size : end])
                at = end
                yield body[:1], body[1:]
        finally:
            del self._left[:at]


class _Outbox:
    """Messages to the parent, sent as far as the pipe has room: a slow reader must not stop the loop."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.left = bytearray()
        os.set_blocking(number, False)

    def put(self, kind: bytes, value: Any = None) -> None:
        """Send a message as far as it goes."""
        self.left += frame(kind, encoded(value))
        while self.left:
            try:
                del self.left[: os.write(self.number, self.left)]
            except BlockingIOError:
                return

    def ended(self, seen: Seen, in_flight: int) -> None:
        """Tell of a request."""
        self.put(ENDED, (seen, in_flight))

    def close(self) -> None:
        """Send all that is left."""
        os.set_blocking(self.number, True)
        while self.left:
            del self.left[: os.write(self.number, self.left)]
        os.close(self.number)


def _told(stream: IO[bytes]) -> bytes:
    """Next message of the parent."""
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EngineError("the process that asked for a share of a load is gone")
    return stream.read(_SIZE.unpack(head)[0])


def main() -> None:
    """Drive a share."""
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    outbox = _Outbox(os.dup(1))
    os.dup2(2, 1)  # nothing that somebody prints gets among the messages
    try:
        _work(outbox, stopped)
        outbox.close()
    except BrokenPipeError:  # the parent is gone: nobody wants to know
        sys.exit(1)


def _work(outbox: _Outbox, stopped: list[int]) -> None:
    def start() -> int:
        outbox.put(READY)
        return decoded(_told(sys.stdin.buffer), int)

    try:
        job = decoded(_told(sys.stdin.buffer), Job)
        run = drive(
            job.address, job.load, patience=job.patience, stamped=job.stamped, watch=outbox.ended,
            stop=lambda: bool(stopped), start=start,
        )  # fmt: skip
        outbox.put(DONE, replace(run, seen=[]))
    except ReckonerError as error:
        name = InputError.__name__ if isinstance(error, InputError) else EngineError.__name__
        outbox.put(REFUSED, (name, str(error)))


if __name__ == "__main__":
    main()
