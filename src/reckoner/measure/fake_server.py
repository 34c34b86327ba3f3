"""A server with a known schedule: what it sent when is written down, so that a client's own error can be seen.

The model's name says what it does: ``ttft=0.05,itl=0.02,n=64`` sends the first token 50 ms after the request came and
63 more 20 ms apart. ``fault=NAME`` misbehaves in one of :data:`FAULTS`. ``GET /truth`` gives what was really sent.
"""

from __future__ import annotations

import argparse
import heapq
import json
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from reckoner.errors import EngineError
from reckoner.measure.wire.clock import offset
from reckoner.measure.wire.connection import LONGEST_NS, SO_TIMESTAMPNS, can_stamp, handed_ns

FAULTS = (
    "closes",  # hangs up in the middle of the stream
    "stalls",  # sends half and nothing more
    "garbage",  # events that hold no JSON
    "nohttp",  # no HTTP at all
    "long",  # one event of 10 MB
    "gzip",  # packs the stream though nobody asked for it
    "http500",
    "http429",  # with Retry-After
    "slowhead",  # headers in two halves, 50 ms apart
    "usage",  # counts tokens wrongly
    "nousage",
    "bundles",  # two tokens a packet
    "error",  # an error event in the stream
    "reasons",  # reasoning before content
    "empty",  # a role and no text
    "silent",  # hangs up before it answers
)
_TIMESPEC = struct.Struct("@ll")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_WORD = " word"
SPIN_NS = 1_200_000


@dataclass(slots=True)
class _Stream:
    """One connection: what it was asked, and what is still to be sent."""

    sock: Any
    buffer: bytes = b""
    index: int = -1
    came_ns: int = 0
    queue: list[tuple[int, bytes, bool]] = field(default_factory=list)  # due, bytes, whether they carry a token
    at: int = 0
    sent_ns: list[int] = field(default_factory=list)
    hangs_up: bool = False


def plan_of(model: str) -> dict[str, Any]:
    """Schedule that a model's name asks for.

    >>> plan_of("ttft=0.01,n=3")["n"], plan_of("llama")["fault"]
    (3, '')
    """
    plan: dict[str, Any] = {"ttft": 0.02, "itl": 0.005, "n": 0, "fault": ""}
    for part in model.split(","):
        name, _, value = part.partition("=")
        if name in ("ttft", "itl"):
            plan[name] = float(value)
        elif name == "n":
            plan["n"] = int(value)
        elif name == "fault":
            plan["fault"] = value
    return plan


def chunk(data: bytes) -> bytes:
    """Bytes as a chunk of a chunked reply."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    """JSON as a server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    """One event of a chat."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


class _Server:
    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.poller = select.epoll()
        self.streams: dict[int, _Stream] = {}
        self.due: list[tuple[int, int, int]] = []
        self.truth: dict[int, dict[str, Any]] = {}
        self.clock = offset()
        self.stamped = can_stamp()
        self.turn = 0
        listener.setblocking(False)
        if self.stamped:  # inherited by what is accepted, so that a request that came before its accept is stamped too
            listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.poller.register(listener.fileno(), select.EPOLLIN)

    def serve(self) -> None:
        """Serve until the process is ended."""
        while True:
            now = time.monotonic_ns()
            wait = self.due[0][0] - now if self.due else 50_000_000
            ready = self.poller.poll(0.0 if wait < SPIN_NS else (wait - 1_000_000) * 1e-9, 4096)
            for number, _ in ready:
                if number == self.listener.fileno():
                    self._accept()
                elif number in self.streams:
                    self._read(number)
            self._send_due()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.streams[sock.fileno()] = _Stream(sock)
            self.poller.register(sock.fileno(), select.EPOLLIN)

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
        else:
            content = b'{"object":"list","data":[{"id":"fake"}]}'
        stream.sock.setblocking(True)
        stream.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
        stream.sock.setblocking(False)

    def _plan(self, number: int, stream: _Stream, body: dict[str, Any]) -> None:
        plan = plan_of(str(body.get("model", "")))
        stream.queue, stream.at, stream.sent_ns, stream.hangs_up = [], 0, [], False
        queue_reply(stream, plan, int(body.get("max_tokens") or 1), words_of(body), "messages" in body)
        self._next(number, stream)

    def _next(self, number: int, stream: _Stream) -> None:
        if stream.at < len(stream.queue):
            self.turn += 1
            heapq.heappush(self.due, (stream.queue[stream.at][0], self.turn, number))

    def _send_due(self) -> None:
        now = time.monotonic_ns()
        while self.due and self.due[0][0] <= now:
            _, _, number = heapq.heappop(self.due)
            stream = self.streams.get(number)
            if stream is None or stream.at >= len(stream.queue):
                continue
            _, content, token = stream.queue[stream.at]
            stream.at += 1
            before = time.monotonic_ns()
            try:
                sent = stream.sock.send(content)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(number)
                continue
            if token:
                after = time.monotonic_ns()
                clear = after - before <= 4 * LONGEST_NS
                stream.sent_ns.append(handed_ns(before, after) if clear else 0)  # 0: put aside meanwhile, so who knows
            if sent < len(content):
                stream.at -= 1
                stream.queue[stream.at] = (now + 200_000, content[sent:], False)
            if stream.at < len(stream.queue):
                self._next(number, stream)
            else:
                self._done(number, stream)
            now = time.monotonic_ns()

    def _done(self, number: int, stream: _Stream) -> None:
        self.truth[len(self.truth)] = {
            "index": stream.index, "came_ns": stream.came_ns, "sent_ns": stream.sent_ns,
        }  # fmt: skip
        if stream.hangs_up:
            self._close(number)

    def _close(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.sock.close()


def words_of(body: dict[str, Any]) -> int:
    """Words of a prompt, each a token, and three of a template around a chat."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return 3 + sum(len(str(message.get("content", "")).split()) for message in messages)
    return len(str(body.get("prompt", "")).split())


def queue_reply(stream: _Stream, plan: dict[str, Any], asked: int, size: int, chat: bool) -> None:
    """Put the whole reply into a stream's queue, with the times at which each part is due."""
    n, fault = plan["n"] or asked, plan["fault"]
    start = stream.came_ns
    first = start + int(plan["ttft"] * 1e9)
    gap = int(plan["itl"] * 1e9)
    put = stream.queue.append
    if fault.startswith("http"):
        status = {"http500": b"500 Internal Server Error", "http429": b"429 Too Many Requests"}[fault]
        more = b"Retry-After: 7\r\n" if fault == "http429" else b""
        content = b'{"error": {"message": "no, thank you"}}'
        put((start, b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(content), content), False))
        return
    if fault == "nohttp":
        put((start, b"220 mail.example.org ESMTP ready\r\n", False))
        return
    if fault == "silent":
        stream.hangs_up = True
        put((start, b"", False))
        return
    if fault == "gzip":
        whole = b"".join(event(delta(content=_WORD)) for _ in range(n)) + b"data: [DONE]\n\n"
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(whole) + packer.flush()
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        put((first, head + packed, True))
        return
    if fault == "slowhead":
        put((start, _HEAD[:20], False))
        put((start + 50_000_000, _HEAD[20:], False))
        first = max(first, start + 60_000_000)
    else:
        put((start, _HEAD, False))
    if chat:
        put((start, chunk(event(delta(role="assistant", content=""))), False))
    words = _words(fault, n, chat)
    kept = len(words) // 2 if fault in ("closes", "stalls") else len(words)
    for i, word in enumerate(words[:kept]):
        put((first + i * gap, chunk(word), True))
    last = first + max(len(words) - 1, 0) * gap
    if fault in ("closes", "stalls"):
        stream.hangs_up = fault == "closes"
        if fault == "closes":
            put((last, b"", False))
        return
    if fault == "error":
        put((last, chunk(event({"error": {"message": "out of memory"}})), False))
    tail = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}) if chat else b""
    if fault != "nousage":
        count = 3 * n if fault == "usage" else n
        tail += event({"choices": [], "usage": {"prompt_tokens": size, "completion_tokens": count}})
    put((last, chunk(tail + b"data: [DONE]\n\n") + b"0\r\n\r\n", False))


def _words(fault: str, n: int, chat: bool) -> list[bytes]:
    """Events of an answer."""

    def word(text: str, name: str = "content") -> bytes:
        return event(delta(**{name: text})) if chat else event({"choices": [{"index": 0, "text": text}]})

    if fault == "garbage":
        return [b"data: {not json\n\n"] * n
    if fault == "empty":
        return []
    if fault == "long":
        return [word(_WORD), word("x" * 10_000_000), *[word(_WORD)] * max(n - 2, 0)]
    if fault == "bundles":
        return [word(_WORD) * 2] * (n // 2)
    if fault == "reasons":
        return [word(_WORD, "reasoning_content")] * (n // 2) + [word(_WORD)] * (n - n // 2)
    return [word(_WORD)] * n


@contextmanager
def fake_server(*, host: str = "127.0.0.1", certificate: str = "") -> Iterator[str]:
    """A fake server in a process of its own, for as long as the block lasts.

    Parameters
    ----------
    host : str
        Address to listen on.
    certificate : str
        PEM file with certificate and key, to serve https.

    Yields
    ------
    str
        Its address.

    Raises
    ------
    EngineError
        It did not start.
    """
    command = [sys.executable, "-m", "reckoner.measure.fake_server", "--host", host]
    if certificate:
        command += ["--certificate", certificate]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # a pipe was asked for
        assert process.stderr is not None  # a pipe was asked for
        try:
            line = process.stdout.readline().strip()
            if not line:
                raise EngineError(f"the fake server did not start: {process.stderr.read().strip()[-300:]}")
            yield line
        finally:
            process.kill()


def main() -> None:
    """Listen, print the address, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", default="")
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
    from reckoner.measure.wire.drive import allow_files

    allow_files(8192)
    _Server(listener).serve()


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
