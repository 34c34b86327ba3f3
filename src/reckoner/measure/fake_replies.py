"""Replies of the fake server: what it is to send and when, as the model's name asks; faults included."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

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
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_WORD = " word"


@dataclass(slots=True)
class Reply:
    """What is still to be sent.

    Parameters
    ----------
    parts : list of (int, bytes, bool)
        When each is due (monotonic, ns), its bytes, and whether they carry a token.
    hangs_up : bool
        Whether the server hangs up once all is sent.
    """

    parts: list[tuple[int, bytes, bool]] = field(default_factory=list)
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


def words_of(body: dict[str, Any]) -> int:
    """Words of a prompt, each a token, and three of a template around a chat."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return 3 + sum(len(str(message.get("content", "")).split()) for message in messages)
    return len(str(body.get("prompt", "")).split())


def reply_of(body: dict[str, Any], start: int) -> Reply:
    """Whole reply to a request that came at ``start`` (monotonic, ns), with the times at which each part is due."""
    plan, chat = plan_of(str(body.get("model", ""))), "messages" in body
    n, fault = plan["n"] or int(body.get("max_tokens") or 1), plan["fault"]
    first = start + int(plan["ttft"] * 1e9)
    gap = int(plan["itl"] * 1e9)
    reply = Reply()
    put = reply.parts.append
    if fault.startswith("http"):
        status = {"http500": b"500 Internal Server Error", "http429": b"429 Too Many Requests"}[fault]
        more = b"Retry-After: 7\r\n" if fault == "http429" else b""
        content = b'{"error": {"message": "no, thank you"}}'
        put((start, b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(content), content), False))
        return reply
    if fault == "nohttp":
        put((start, b"220 mail.example.org ESMTP ready\r\n", False))
        return reply
    if fault == "silent":
        reply.hangs_up = True
        put((start, b"", False))
        return reply
    if fault == "gzip":
        whole = b"".join(event(delta(content=_WORD)) for _ in range(n)) + b"data: [DONE]\n\n"
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(whole) + packer.flush()
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        put((first, head + packed, True))
        return reply
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
        reply.hangs_up = fault == "closes"
        if fault == "closes":
            put((last, b"", False))
        return reply
    if fault == "error":
        put((last, chunk(event({"error": {"message": "out of memory"}})), False))
    tail = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}) if chat else b""
    if fault != "nousage":
        count = 3 * n if fault == "usage" else n
        tail += event({"choices": [], "usage": {"prompt_tokens": words_of(body), "completion_tokens": count}})
    put((last, chunk(tail + b"data: [DONE]\n\n") + b"0\r\n\r\n", False))
    return reply


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
