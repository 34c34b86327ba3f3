"""Latencies derived from records, by definitions that carry a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reckoner.errors import UnknownNameError
from reckoner.measure.events import Floats, RequestRecord

VERSION = "1"
"""Raised whenever a definition changes, so that figures of different definitions are never compared."""

DEFINITIONS = {
    "ttft": "first event with content, reasoning or tool text, less the time of sending; never the role event",
    "tpot": "(last text event - first text event) / (output tokens - 1), of answers of at least two tokens",
    "itl": "gap between neighbouring text events; gaps within one read cannot be seen and count as zero",
    "e2e": "last text event less the time of sending",
    "e2e_scheduled": "last text event less the scheduled time: what a user waits if the client was late to send",
    "headers": "reply headers less the time of sending",
    "connect": "connection made less the scheduled time; 0 on a connection that stood already",
    "late": "time of sending less the scheduled time",
    "tail": "last byte of the reply less the last text event: usage, [DONE] and the end of the chunks",
}
"""What each latency is, in words. [s]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Output tokens of a request, and who counted them: "usage", "tokenizer" or "events"."""

    n: int
    by: str


def counted(record: RequestRecord, tokens: int | None = None) -> Counted:
    """Count output tokens: as the server says, else as a tokenizer counted, else one for each text event."""
    if record.output_tokens is not None:
        return Counted(n=record.output_tokens, by="usage")
    if tokens is not None:
        return Counted(n=tokens, by="tokenizer")
    return Counted(n=len(record.token_stamp_s), by="events")


def latency_s(records: Sequence[RequestRecord], metric: str) -> Floats:
    """One latency of every request that has it, in the order of the records; those that failed have none.

    Parameters
    ----------
    records : sequence of RequestRecord
        Of a run.
    metric : str
        One of :data:`DEFINITIONS`; "itl" gives every gap of every request.

    Returns
    -------
    (n,) float
        Seconds.
    """
    if metric not in DEFINITIONS:
        raise UnknownNameError.of("latency", metric, DEFINITIONS)
    whole = [r for r in records if r.whole and r.sent_s is not None and len(r.token_stamp_s)]
    if metric == "itl":
        gaps = [np.diff(r.token_stamp_s) for r in whole]
        return np.concatenate(gaps) if gaps else np.zeros(0)
    found = [_one(record, metric) for record in whole]
    return np.array([value for value in found if value is not None])


def _one(record: RequestRecord, metric: str) -> float | None:
    stamps, sent = record.token_stamp_s, record.sent_s
    assert sent is not None  # asked of records that were sent
    first, last = float(stamps[0]), float(stamps[-1])
    if metric == "tpot":
        n = counted(record).n
        return (last - first) / (n - 1) if n > 1 else None
    values = {
        "ttft": first - sent,
        "e2e": last - sent,
        "e2e_scheduled": last - record.scheduled_s,
        "headers": None if record.headers_s is None else record.headers_s - sent,
        "connect": None if record.connected_s is None else max(record.connected_s - record.scheduled_s, 0.0),
        "late": sent - record.scheduled_s,
        "tail": None if record.closed_s is None else record.closed_s - last,
    }
    return values[metric]


def identity_gap_s(record: RequestRecord) -> float | None:
    """TTFT + TPOT (n - 1) - E2E: zero by construction where tokens are counted once; None where it has no meaning."""
    ttft, tpot, e2e = (_one(record, metric) for metric in ("ttft", "tpot", "e2e"))
    if ttft is None or tpot is None or e2e is None:
        return None
    return ttft + tpot * (counted(record).n - 1) - e2e
