"""What was seen becomes records: stamps chosen, replies taken apart, errors named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from reckoner.measure.events import DONE, ROLE, RequestRecord, delta_kind, delta_text, parsed
from reckoner.measure.wire.load import Run, Seen
from reckoner.measure.wire.reply import Body, body_of, events_of, stamp_at

STAMPS = ("kernel", "user")
_QUOTED = 200  # characters of an error's body that are shown


def records_of(
    run: Run, asked: Sequence[tuple[int, int]], *, stamps: str = "", keep_text: bool = False
) -> list[RequestRecord]:
    """Records of a run, by index.

    Parameters
    ----------
    run : Run
        As driven.
    asked : sequence of (int, int)
        Prompt and output tokens asked for, by index.
    stamps : str
        "kernel" or "user"; by default the kernel's where there are any and no clock was stepped.
    keep_text : bool
        Whether to keep the answers.
    """
    chosen = stamps or stamps_of(run)
    found = [record_of(seen, run, asked[seen.index], chosen, keep_text) for seen in run.seen]
    return sorted(found, key=lambda record: record.index)


def stamps_of(run: Run) -> str:
    """Which stamps a run's latencies come from."""
    return "kernel" if run.stamped and not run.stepped_ns else "user"


def record_of(seen: Seen, run: Run, asked: tuple[int, int], stamps: str, keep_text: bool) -> RequestRecord:
    """Record of one request."""
    base: dict[str, Any] = {
        "index": seen.index,
        "scheduled_s": _since(seen.scheduled_ns, run.start_ns),
        "connected_s": _since(seen.connected_ns, run.start_ns) if seen.connected_ns else None,
        "sent_s": _since(_sent_ns(seen, run, stamps), run.start_ns) if seen.sent_ns else None,
        "asked_prompt_tokens": asked[0],
        "asked_output_tokens": asked[1],
        "reads": len(seen.reads),
        "size": sum(map(len, seen.reads)),
    }
    if seen.state:
        return RequestRecord(**base, state=seen.state, why=seen.why)
    times = [
        _since(kernel - run.clock.ns if stamps == "kernel" and kernel else user, run.start_ns)
        for kernel, user in zip(seen.kernel_ns, seen.user_ns, strict=True)
    ]
    head = seen.head
    if head is None:
        return RequestRecord(**base, state=_broken(seen), why=seen.why or "the server hung up before it answered")
    raw = b"".join(seen.reads)
    ends = list(accumulate(map(len, seen.reads)))
    base["headers_s"] = times[stamp_at(ends, head.size)]
    base["closed_s"] = times[-1]
    body = body_of(raw, head, closed=seen.hung_up and not seen.why)
    if head.status != 200:
        wait = head.headers.get("retry-after", "")
        words = body.content[:_QUOTED].decode("utf-8", "replace").strip()
        return RequestRecord(
            **base, state=f"http {head.status}", why=" ".join(words.split()),
            retry_after_s=float(wait) if wait.isdigit() else None,
        )  # fmt: skip
    return _streamed(seen, base, body, times, ends, keep_text)


def _streamed(
    seen: Seen, base: dict[str, Any], body: Body, times: list[float], ends: list[int], keep_text: bool
) -> RequestRecord:
    stamps: list[float] = []
    kinds: list[int] = []
    texts: list[str] = []
    state, why, finish = "", "", ""
    done_s, usage, timings = None, None, {}
    coalesced, before, bad = 0, -1, 0
    for data, place in events_of(body.content):
        read = stamp_at(ends, body.raw_end(place, ends[-1]))
        if data == b"[DONE]":
            done_s = times[read]
            continue
        event = parsed(data)
        if event is None:
            bad += 1
            continue
        if event.get("error"):
            state, why = "error", _message(event["error"])
            continue
        found = event.get("usage")
        usage = found if isinstance(found, Mapping) else usage
        if isinstance(event.get("timings"), Mapping):
            timings = event["timings"]
        kind = delta_kind(event)
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            finish = str(choices[0].get("finish_reason") or finish)
        if kind is None:
            continue
        stamps.append(times[read])
        kinds.append(kind)
        coalesced += kind != ROLE and read == before
        if kind != ROLE:
            before = read
        if keep_text:
            texts.append(delta_text(event))
    if not state and bad:
        state, why = "garbage", f"{bad} events hold no JSON"
    if not state and not body.whole:
        state, why = _broken(seen), seen.why or "the reply ended before its end"
    if not state and body.packed:
        state, why = "packed", f"the reply came {body.packed}-packed though it was asked for plain: no event has a time"
    if not state and done_s is None and not finish:
        state, why = (
            "garbage",
            "the reply holds neither [DONE] nor a finish_reason; is this an OpenAI-compatible stream?",
        )
    if not state and not any(kind != ROLE for kind in kinds):
        state, why = "empty", "the answer holds no text"
    return RequestRecord(
        **base,
        stamp_s=np.array(stamps, dtype=np.float64),
        kind=np.array(kinds, dtype=np.int8),
        done_s=done_s,
        state=state or DONE,
        why=why,
        prompt_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        finish=finish,
        timings={
            str(k): float(v) for k, v in timings.items() if isinstance(v, int | float) and not isinstance(v, bool)
        },
        coalesced=coalesced,
        text="".join(texts),
    )


def _sent_ns(seen: Seen, run: Run, stamps: str) -> int:
    """When a request went: as the kernel says, where it was asked."""
    return seen.sent_kernel_ns - run.clock.ns if stamps == "kernel" and seen.sent_kernel_ns else seen.sent_ns


def _broken(seen: Seen) -> str:
    if seen.why.startswith("nothing came"):
        return "stalled"
    if seen.why.startswith("no end"):
        return "timeout"
    if seen.why.startswith("no HTTP"):
        return "garbage"
    return "closed"


def _count(usage: Mapping[str, Any] | None, name: str) -> int | None:
    found = None if usage is None else usage.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _message(error: Any) -> str:
    words = error.get("message", error) if isinstance(error, Mapping) else error
    return " ".join(str(words).split())[:_QUOTED]


def _since(ns: int, start_ns: int) -> float:
    return (ns - start_ns) * 1e-9
