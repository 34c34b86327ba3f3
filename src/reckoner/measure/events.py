"""One record per request: what was seen of it and when, from which every latency is derived."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROLE, CONTENT, REASONING, TOOL = 0, 1, 2, 3
KINDS = ("role", "content", "reasoning", "tool")
"""What an event carries; a role alone is no token."""

DONE = "done"
"""State of a request whose answer came whole; every other state says what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestRecord:
    """A request as it was seen; times are seconds since the run's start, on the monotonic clock.

    Parameters
    ----------
    index : int
        Which request of the schedule.
    scheduled_s : float
        When it was to be sent.
    connected_s, sent_s, headers_s : float or None
        When its connection stood, when its first byte was handed to the kernel, and when the reply's headers came.
    stamp_s : (events,) float
        When the last byte of each event that carries something came. [s]
    kind : (events,) int8
        What each carries: :data:`KINDS` by number.
    done_s, closed_s : float or None
        When ``[DONE]`` came, and the last byte of all.
    state : str
        :data:`DONE`, or what went wrong: "http 503", "closed", "stalled", "garbage", ...
    why : str
        Detail of what went wrong.
    prompt_tokens, output_tokens : int or None
        As the server counted them; None where it did not say.
    asked_prompt_tokens, asked_output_tokens : int
        As asked for.
    finish : str
        Why the answer ended, as the server says it.
    timings : mapping
        The server's own, such as llama.cpp's.
    retry_after_s : float or None
        After which a refused request may come again.
    coalesced : int
        Events that came in the same read as the one before: their gap cannot be seen.
    reads, size : int
        Reads, and bytes of the reply.
    text : str
        The answer, where it was asked to be kept.
    """

    index: int
    scheduled_s: float
    sent_s: float | None = None
    connected_s: float | None = None
    headers_s: float | None = None
    stamp_s: Floats = field(default_factory=lambda: np.zeros(0))
    kind: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    done_s: float | None = None
    closed_s: float | None = None
    state: str = DONE
    why: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    asked_prompt_tokens: int = 0
    asked_output_tokens: int = 0
    finish: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    retry_after_s: float | None = None
    coalesced: int = 0
    reads: int = 0
    size: int = 0
    text: str = ""

    @property
    def whole(self) -> bool:
        """Whether the answer came whole: only then do its latencies count."""
        return self.state == DONE

    @property
    def token_stamp_s(self) -> Floats:
        """Stamps of the events that carry text, in s."""
        kept: Floats = self.stamp_s[self.kind != ROLE]
        return kept


def delta_kind(event: Mapping[str, Any]) -> int | None:
    """What an event of a chat or a completion carries; None of nothing (usage, an empty choice).

    >>> delta_kind({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) == ROLE
    True
    >>> delta_kind({"choices": [{"delta": {"reasoning_content": "Hm"}}]}) == REASONING
    True
    >>> delta_kind({"choices": [{"text": " word"}]}) == CONTENT
    True
    """
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return None
    choice = choices[0]
    delta = choice.get("delta")
    if not isinstance(delta, Mapping):
        return CONTENT if choice.get("text") else None
    if delta.get("content"):
        return CONTENT
    if delta.get("reasoning_content") or delta.get("reasoning"):
        return REASONING
    if delta.get("tool_calls") or delta.get("function_call"):
        return TOOL
    return ROLE if delta.get("role") else None


def delta_text(event: Mapping[str, Any]) -> str:
    """Text of an event; empty of none."""
    choice = event["choices"][0]
    delta = choice.get("delta")
    if not isinstance(delta, Mapping):
        return str(choice.get("text") or "")
    return str(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or "")


def parsed(data: bytes) -> Mapping[str, Any] | None:
    """JSON object of an event's data; None where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
