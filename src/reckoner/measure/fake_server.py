"""A server with a known schedule: what it sent when is written down, so that a client's own error can be seen.

The model's name says what it does: ``ttft=0.05,itl=0.02,n=64`` sends the first token 50 ms after the request came and
63 more 20 ms apart. ``fault=NAME`` misbehaves (:mod:`reckoner.measure.fake_replies`). ``GET
/truth`` gives what was really sent.
"""

from __future__ import annotations

import argparse
import heapq
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from reckoner.engines.child import served
from reckoner.measure.fake_replies import Reply, reply_of
from reckoner.measure.wire.clock import offset
from reckoner.measure.wire.connection import LONGEST_NS, SO_TIMESTAMPNS, can_stamp, handed_ns
from reckoner.measure.wire.poller import allow_files, new_poller

_TIMESPEC = struct.Struct("@ll")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
SPIN_NS = 1_200_000
MOST_STREAMS, LEAST_STREAMS = 8192, 64  # connections that it makes room for, and does not start without


@dataclass(slots=True)
class _Stream:
    """One connection: what it was asked, and what is still to be sent."""

    sock: Any
    buffer: bytes = b""
    index: int = -1
    came_ns: int = 0
    reply: Reply = field(default_factory=Reply)
    at: int = 0
    sent_ns: list[int] = field(default_factory=list)


class _Server:
    def __init__(self, listener: socket.socket, *, fallback: bool, parent: int | None) -> None:
        self.listener = listener
        self.poller = new_poller(fallback=fallback)
        self.streams: dict[int, _Stream] = {}
        self.due: list[tuple[int, int, int]] = []
        self.truth: dict[int, dict[str, Any]] = {}
        self.clock = offset()
        self.stamped = can_stamp()
        self.turn = 0
        listener.setblocking(False)
        if self.stamped:  # inherited by what is accepted, so that a request that came before its accept is stamped too
            listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._watch(listener.fileno())
        self.parent = parent
        if parent is not None:
            self._watch(parent)

    def serve(self) -> None:
        """Serve until the process is ended, or the parent hangs up: a client that is killed leaves no server behind."""
        while True:
            now = time.monotonic_ns()
            wait = self.due[0][0] - now if self.due else 50_000_000
            for number, _ in self.poller.wait(0.0 if wait < SPIN_NS else (wait - 1_000_000) * 1e-9):
                if number == self.listener.fileno():
                    self._accept()
                elif number in self.streams:
                    self._read(number)
                elif number == self.parent:
                    return
            self._send_due()

    def _watch(self, number: int) -> None:
        self.poller.add(number)
        self.poller.reads(number)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.streams[sock.fileno()] = _Stream(sock)
            self._watch(sock.fileno())

    def _read(self, number: int) -> None:
        stream = self.streams[number]
        try:
            content, extra, _, _ = stream.sock.recvmsg(1 << 16, _ROOM)
        except BlockingIOError:
            return
        except OSError:
            content, extra = b"", []
        if not content:
            self._close(number)
            return
        came = time.monotonic_ns()
        if extra:
            seconds, nanos = _TIMESPEC.unpack(extra[0][2][: _TIMESPEC.size])
            came = seconds * 1_000_000_000 + nanos - self.clock.ns
        stream.buffer += content
        head, found, rest = stream.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(rest) < length:
            return
        stream.buffer = rest[length:]
        if head.startswith(b"GET"):
            self._tell(stream, head.split(b" ")[1])
            return
        stream.index = next(
            (int(line[17:]) for line in head.split(b"\r\n") if line.lower().startswith(b"x-request-index: ")), -1
        )
        stream.came_ns = came
        self._plan(number, stream, json.loads(rest[:length] or b"{}"))

    def _tell(self, stream: _Stream, path: bytes) -> None:
        if path == b"/truth":
            content = json.dumps(list(self.truth.values())).encode()
            self.truth = {}
            self.clock = offset()
        else:
            content = b'{"object":"list","data":[{"id":"fake"}]}'
        stream.sock.setblocking(True)
        stream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
        stream.sock.setblocking(False)

    def _plan(self, number: int, stream: _Stream, body: dict[str, Any]) -> None:
        stream.reply, stream.at, stream.sent_ns = reply_of(body, stream.came_ns), 0, []
        self._next(number, stream)

    def _next(self, number: int, stream: _Stream) -> None:
        if stream.at < len(stream.reply.parts):
            self.turn += 1
            heapq.heappush(self.due, (stream.reply.parts[stream.at][0], self.turn, number))

    def _send_due(self) -> None:
        now = time.monotonic_ns()
        while self.due and self.due[0][0] <= now:
            _, _, number = heapq.heappop(self.due)
            stream = self.streams.get(number)
            if stream is None or stream.at >= len(stream.reply.parts):
                continue
            _, content, token = stream.reply.parts[stream.at]
            stream.at += 1
            before = time.monotonic_ns()
            try:
                sent = stream.sock.send(content)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(number)
                continue
            if token and sent == len(content):  # a token is there with its last byte
                after = time.monotonic_ns()
                clear = after - before <= 8 * LONGEST_NS  # 0.2 ms: a cold send on a busy machine
                stream.sent_ns.append(handed_ns(before, after) if clear else 0)  # 0: put aside meanwhile, so who knows
            if sent < len(content):
                stream.at -= 1
                stream.reply.parts[stream.at] = (now + 200_000, content[sent:], token)
            if stream.at < len(stream.reply.parts):
                self._next(number, stream)
            else:
                self._done(number, stream)
            now = time.monotonic_ns()

    def _done(self, number: int, stream: _Stream) -> None:
        self.truth[len(self.truth)] = {
            "index": stream.index, "came_ns": stream.came_ns, "sent_ns": stream.sent_ns,
        }  # fmt: skip
        if stream.reply.hangs_up:
            self._close(number)

    def _close(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            self.poller.remove(number)
            stream.sock.close()


@contextmanager
def fake_server(*, host: str = "127.0.0.1", certificate: str = "", fallback: bool = False) -> Iterator[str]:
    """A fake server in a process of its own, for as long as the block lasts.

    Parameters
    ----------
    host : str
        Address to listen on.
    certificate : str
        PEM file with certificate and key, to serve https.
    fallback : bool
        Whether to do without epoll even where there is one.

    Yields
    ------
    str
        Its address.

    Raises
    ------
    EngineError
        It did not start.
    """
    arguments = ["--host", host, "--with-parent"]
    if certificate:
        arguments += ["--certificate", certificate]
    if fallback:
        arguments.append("--fallback")
    with served("reckoner.measure.fake_server", arguments, "the fake server") as url:
        yield url


def main() -> None:
    """Listen, print the address, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", default="")
    parser.add_argument("--fallback", action="store_true")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin is closed")
    given = parser.parse_args()
    family = socket.AF_INET6 if ":" in given.host else socket.AF_INET
    listener = socket.create_server((given.host, given.port), family=family, backlog=4096)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if given.certificate:
        outer = socket.create_server((given.host, 0), family=family, backlog=128)
        threading.Thread(target=_unseal, args=(outer, (host, port), given.certificate), daemon=True).start()
        sys.stdout.write(f"https://{shown}:{outer.getsockname()[1]}\n")
    else:
        sys.stdout.write(f"http://{shown}:{port}\n")
    sys.stdout.flush()
    allow_files(MOST_STREAMS, least=LEAST_STREAMS)
    parent = sys.stdin.fileno() if given.with_parent else None
    _Server(listener, fallback=given.fallback, parent=parent).serve()


def _unseal(outer: socket.socket, inner: tuple[str, int], certificate: str) -> None:
    """Pass sealed connections on to the plain server; for correctness, not for speed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while content := source.recv(1 << 16):
                sink.sendall(content)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    while True:
        plain, _ = outer.accept()
        try:
            sealed = context.wrap_socket(plain, server_side=True)
        except (OSError, ssl.SSLError):
            plain.close()
            continue
        other = socket.create_connection(inner)
        for pair in ((sealed, other), (other, sealed)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


if __name__ == "__main__":
    main()
