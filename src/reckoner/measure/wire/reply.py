"""An HTTP reply taken apart after the run: headers, chunks, events, each with the stamp of its last byte."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

MOST_HEADER_BYTES = 1 << 16
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; ``size`` is where the body begins."""

    status: int
    headers: dict[str, str]
    size: int

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the server says so."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdigit() else None

    @property
    def keeps_open(self) -> bool:
        """Whether the connection can be used again."""
        return self.headers.get("connection", "").lower() != "close"


def head_of(raw: bytes) -> Head | None:
    r"""Head of a reply; None while it is not whole.

    Raises
    ------
    ValueError
        This is no HTTP reply.

    Examples
    --------
    >>> head_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").chunked
    True
    """
    end = raw.find(_END)
    if end < 0:
        if len(raw) > MOST_HEADER_BYTES or (len(raw) >= 5 and not raw.startswith(b"HTTP/")):
            raise ValueError(f"no HTTP reply: it begins with {raw[:40]!r}")
        return None
    first, *rest = raw[:end].decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
        raise ValueError(f"no HTTP reply: it begins with {raw[:40]!r}")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Head(int(words[1]), headers, end + 4)


def is_whole(raw: bytes, head: Head) -> bool:
    """Whether nothing more is to come, where the reply itself says so."""
    if head.chunked:
        return _chunks(raw, head.size)[2]
    if head.length is not None:
        return len(raw) - head.size >= head.length
    return head.status in (204, 304)


@dataclass(frozen=True, slots=True)
class Body:
    """A body put together again.

    Parameters
    ----------
    content : bytes
        Without chunk sizes, and unpacked where it came packed.
    whole : bool
        Whether its end was seen.
    packed : str
        Encoding that it came in; empty for none.
    starts, places : list of int
        Where each piece begins in ``content`` and in the raw bytes.
    """

    content: bytes
    whole: bool
    packed: str = ""
    starts: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def raw_end(self, end: int, size: int) -> int:
        """Raw bytes that had to come before the first ``end`` of the content were here; ``size`` of all."""
        if self.packed:
            return size  # nobody can tell which packed byte brings which
        if not self.starts:
            return 0
        piece = bisect_left(self.starts, end) - 1
        return self.places[max(piece, 0)] + end - self.starts[max(piece, 0)]


def body_of(raw: bytes, head: Head, *, closed: bool) -> Body:
    """Body of a reply; ``closed`` says that the server hung up."""
    if head.chunked:
        pieces, places, whole = _chunks(raw, head.size)
        starts = list(accumulate((len(piece) for piece in pieces), initial=0))[:-1]
        content = b"".join(pieces)
    else:
        length = head.length
        content = raw[head.size :] if length is None else raw[head.size : head.size + length]
        whole = closed if length is None else len(content) == length
        starts, places = [0], [head.size]
    packed = head.headers.get("content-encoding", "").lower()
    if packed in ("gzip", "deflate", "x-gzip"):
        try:
            unpacked = zlib.decompressobj(wbits=47).decompress(content)
        except zlib.error:
            return Body(b"", whole=False, packed=packed)
        return Body(unpacked, whole=whole, packed=packed)
    return Body(content, whole=whole, starts=starts, places=places)


def _chunks(raw: bytes, at: int) -> tuple[list[bytes], list[int], bool]:
    """Pieces of a chunked body, where each begins in the raw bytes, and whether the last one was seen."""
    pieces: list[bytes] = []
    places: list[int] = []
    while True:
        line = raw.find(b"\r\n", at)
        if line < 0:
            return pieces, places, False
        try:
            size = int(raw[at:line].split(b";", 1)[0], 16)
        except ValueError:
            return pieces, places, False
        begin = line + 2
        if size == 0:
            return pieces, places, raw.find(b"\r\n", begin) >= 0
        piece = raw[begin : begin + size]
        pieces.append(piece)
        places.append(begin)
        if len(piece) < size or len(raw) < begin + size + 2:
            return pieces, places, False
        at = begin + size + 2


def events_of(content: bytes) -> list[tuple[bytes, int]]:
    r"""Server-sent events: the data of each, and where its last byte stands.

    Lines end in ``\n``, ``\r\n`` or ``\r``; an event ends with an empty line (HTML standard, "Server-sent
    events"). One that is cut off is none.

    >>> events_of(b'data: {"a": 1}\n\n: a comment\ndata: [DONE]\r\n\r\ndata: cut')
    [(b'{"a": 1}', 16), (b'[DONE]', 44)]
    """
    found: list[tuple[bytes, int]] = []
    data: list[bytes] = []
    at = 0
    newline, carriage = content.find(b"\n"), content.find(b"\r")
    while newline >= 0 or carriage >= 0:
        if 0 <= carriage < newline or newline < 0:
            end, after = carriage, carriage + 1 + (newline == carriage + 1)
        else:
            end, after = newline, newline + 1
        line = content[at:end]
        at = after
        if 0 <= newline < at:
            newline = content.find(b"\n", at)
        if 0 <= carriage < at:
            carriage = content.find(b"\r", at)
        if not line:
            if data:
                found.append((b"\n".join(data), after))
                data = []
        elif line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
    return found


def stamp_at(ends: Sequence[int], place: int) -> int:
    """Which read brought the raw byte before ``place``; ``ends`` are the raw bytes after each read."""
    return min(bisect_left(ends, place), len(ends) - 1)
