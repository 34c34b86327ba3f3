"""One connection: bytes out, stamped bytes in, with or without TLS."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import time
from functools import cache
from typing import Any

from reckoner.errors import InputError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.reply import Head, head_of, is_whole

SO_TIMESTAMPNS, SO_TIMESTAMPING = 35, 37
"""Ask the kernel when a packet came, and when it came or went, in nanoseconds (Linux, include/uapi/asm-generic/
socket.h; Documentation/networking/timestamping.rst, sec. 1.2 and 1.3; checked 2026-11-21)."""
BOTH_WAYS = (1 << 1) | (1 << 3) | (1 << 4) | (1 << 7) | (1 << 11)
"""Software stamps of what is sent and of what is received, numbered, without the packet itself: TX_SOFTWARE,
RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY (include/uapi/linux/net_tstamp.h)."""
_TIMESPEC = struct.Struct("@ll")
READ_BYTES = 1 << 18
LONGEST_NS = 25_000
"""Half of the longest time that the kernel takes to pass a small packet on. Assumption: a cold send over loopback was
seen to take 50 us."""
_ROOM = socket.CMSG_SPACE(3 * _TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_ERROR_ROOM = 512

_END, _LAST = b"\r\n\r\n", b"0\r\n\r\n"  # of a chunked reply; trailers may stand between the two line ends
_TAIL = 64  # bytes, and reads of at least a byte, that hold an end

CONNECTING, SHAKING, IDLE, BUSY, CLOSED = range(5)


class Connection:
    """A non-blocking socket that keeps what it reads with the stamps of each read.

    Attributes
    ----------
    number : int
        Descriptor of the socket, also once it is closed.
    state : int
        Connecting, shaking hands, idle, busy or closed.
    reads : list of bytes
        What came, read by read.
    kernel_ns, user_ns : list of int
        When the last packet of each read came (real time; 0 where the kernel does not say), and when the client had
        read it (monotonic).
    """

    __slots__ = (
        "address", "connected_ns", "error", "head", "incoming", "kernel_ns", "number", "outgoing", "pending", "reads",
        "request", "sent_kernel_ns", "sent_ns", "sock", "stamped", "state", "tls", "user_ns",
    )  # fmt: skip

    def __init__(self, address: Address, family: int, place: tuple[Any, ...], stamped: bool) -> None:
        self.address = address
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.number = self.sock.fileno()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stamped = stamped
        self.sent_kernel_ns = 0
        self.state = CONNECTING
        self.request = -1
        self.connected_ns = 0
        self.sent_ns = 0
        self.pending = b""
        self.error = ""
        self.head: Head | None = None
        self.reads: list[bytes] = []
        self.kernel_ns: list[int] = []
        self.user_ns: list[int] = []
        self.tls: ssl.SSLObject | None = None
        if address.tls:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = context_of(address.ca_file)
            self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=address.host)
        code = self.sock.connect_ex(place)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.fail(f"cannot connect: {_words(code)}")

    def fail(self, why: str) -> None:
        """Give the connection up."""
        self.error = self.error or why
        self.close()

    def close(self) -> None:
        """Hang up."""
        if self.state != CLOSED:
            self.state = CLOSED
            self.sock.close()

    def ready(self) -> None:
        """Go on with connecting, once the socket can be written."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.fail(f"cannot connect: {_words(code)}")
            return
        if self.stamped:  # numbered stamps are for connections that stand
            self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, BOTH_WAYS)
        if self.tls is not None:
            self.state = SHAKING
            self._shake()
            return
        self.state, self.connected_ns = IDLE, time.monotonic_ns()

    def begin(self, index: int, content: bytes) -> None:
        """Send a request and keep what comes from now on."""
        self.request, self.state, self.head = index, BUSY, None
        self.reads, self.kernel_ns, self.user_ns = [], [], []
        if self.stamped:
            self.went()  # what went before belongs to another request
        self.sent_kernel_ns = 0
        if self.tls is not None:
            self.tls.write(content)
            content = self.outgoing.read()
        before = time.monotonic_ns()
        self._send(content)
        self.sent_ns = handed_ns(before, time.monotonic_ns())
        if self.stamped:
            self.went()

    def went(self) -> None:
        """Read the kernel's stamps of what was sent; the first after a request began is when it went."""
        while True:
            try:
                _, extra, _, _ = self.sock.recvmsg(0, _ERROR_ROOM, socket.MSG_ERRQUEUE)
            except OSError:  # nothing there, or a connection that is none any more: reading will say so
                return
            for _, kind, data in extra:
                if kind == SO_TIMESTAMPING and not self.sent_kernel_ns:
                    seconds, nanos = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                    self.sent_kernel_ns = seconds * 1_000_000_000 + nanos

    def flush(self) -> None:
        """Send what the kernel had no room for."""
        content, self.pending = self.pending, b""
        self._send(content)

    def _send(self, content: bytes) -> None:
        try:
            sent = self.sock.send(content)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.fail(f"the server hung up while the request was sent: {error.strerror}")
            return
        self.pending = content[sent:]

    def receive(self) -> bool:
        """Read what is there; True once the reply is whole or cannot get whole any more."""
        sock = self.sock
        try:
            content, extra, _, _ = sock.recvmsg(READ_BYTES, _ROOM)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(f"connection lost: {error.strerror}")
            return True
        now = time.monotonic_ns()
        stamp = 0
        if extra:
            seconds, nanos = _TIMESPEC.unpack(extra[0][2][: _TIMESPEC.size])
            stamp = seconds * 1_000_000_000 + nanos
        if self.tls is not None:
            content, closed = self._unseal(content)
            if self.state in (SHAKING, IDLE, CLOSED) or (not content and not closed):
                return self.state == CLOSED
        if not content:
            self.close()
            return True
        self.reads.append(content)
        self.kernel_ns.append(stamp)
        self.user_ns.append(now)
        return self._judge(content)

    def _judge(self, content: bytes) -> bool:
        """Whether the reply is whole; taken apart only where its last bytes could be its end."""
        head = self.head
        if head is None:
            raw = content if len(self.reads) == 1 else b"".join(self.reads)
            try:
                head = self.head = head_of(raw)
            except ValueError as error:
                self.fail(str(error))
                return True
            if head is None:
                return False
        if head.length is None and not head.chunked:
            return False
        if head.chunked:
            tail = content if len(content) >= _TAIL else b"".join(self.reads[-_TAIL:])
            if not tail.endswith(_END) or not (tail.endswith(_LAST) or b"\r\n0\r\n" in tail):
                return False
        return is_whole(b"".join(self.reads), head)

    def _shake(self) -> None:
        assert self.tls is not None  # asked of TLS connections alone
        try:
            self.tls.do_handshake()
            self.state, self.connected_ns = IDLE, time.monotonic_ns()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            self.fail(f"certificate of {self.address.host}: {error.verify_message}; give --ca-file, or mend it")
            return
        except ssl.SSLError as error:
            self.fail(f"TLS with {self.address.host}: {error.reason or error}")
            return
        out = self.outgoing.read()
        if out:
            self._send(self.pending + out)

    def _unseal(self, content: bytes) -> tuple[bytes, bool]:
        """Plain bytes of sealed ones, and whether the server closed the stream."""
        assert self.tls is not None  # asked of TLS connections alone
        if content:
            self.incoming.write(content)
        else:
            self.incoming.write_eof()
        if self.state == SHAKING:
            if not content:
                self.fail("the server hung up during the TLS handshake")
            else:
                self._shake()
            if self.state != IDLE:
                return b"", False
        plain: list[bytes] = []
        try:
            while True:
                piece = self.tls.read(READ_BYTES)
                if not piece:
                    return b"".join(plain), True
                plain.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(plain), not content
        except ssl.SSLError:
            return b"".join(plain), True


def handed_ns(before: int, after: int) -> int:
    """When the kernel took what was sent between two readings: in the middle, but never late in a long bracket.

    A sender that was put aside in between was put aside after its packet had woken the receiver.

    >>> handed_ns(100, 140), handed_ns(0, 9_000_000)
    (120, 25000)
    """
    return before + min((after - before) // 2, LONGEST_NS)


@cache
def context_of(ca_file: str) -> ssl.SSLContext:
    """Context that checks certificates.

    Raises
    ------
    InputError
        The file holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"--ca-file {ca_file}: no certificate can be read ({error}); give a PEM file") from error


@cache
def can_stamp() -> bool:
    """Whether the kernel stamps what comes."""
    if not hasattr(socket.socket, "recvmsg") or not hasattr(socket, "CMSG_SPACE"):
        return False
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as one:
        try:
            one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, BOTH_WAYS)
        except OSError:
            return False
        other, _ = listener.accept()
        with other:
            for _ in range(3):  # the first packets after the switch may go unstamped
                other.send(b"x")
                _, extra, _, _ = one.recvmsg(1, _ROOM)
                if extra:
                    return True
                time.sleep(0.01)
    return False


def _words(code: int) -> str:
    return os.strerror(code)
