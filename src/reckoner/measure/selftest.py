"""The client measured against a server that wrote down when it sent: its own error, at its own load."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from reckoner.errors import EngineError, InputError
from reckoner.measure.events import Floats, RequestRecord
from reckoner.measure.fake_server import fake_server
from reckoner.measure.wire.address import Address, address_of, request_bytes
from reckoner.measure.wire.load import Ask, Load, Patience, Run
from reckoner.measure.wire.many import drive_many
from reckoner.measure.wire.poller import allow_files
from reckoner.measure.wire.record import records_of, stamps_of

STREAMS = (1, 64, 512)
TTFT_S, TOKENS = 0.05, 32
ATTEMPTS = 4  # runs until the server knows when it sent at least one first token. Assumption.
LEAST_ITL_S = 0.005  # as fast as an 8B model decodes on one large GPU
LONGEST_ITL_S = 1.0  # a load that is idler than this is tried at this, lest the test take minutes. Assumption.
SPAN_S = 8.0
"""Time that one answer takes at most; where gaps are long it has fewer tokens. Assumption."""
LEAST_TOKENS = 8
RATE_PER_S = 10_000.0
"""Tokens a second that all streams together are sent, at most. Assumption: what one core of a server sends on time."""
MIDDLE = (0.1, 0.9)  # tokens between these shares count for the rate: all streams are open then


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientError:
    """Error of the client at a number of streams.

    Parameters
    ----------
    streams, n : int
        Streams at once, and requests behind the figures of the first token.
    stamps : str
        "kernel" or "user".
    ttft_error_ms_mean, ttft_error_ms_p99 : float
        Absolute error of the time to first token. [ms]
    itl_error_ms_mean, itl_error_ms_p99 : float
        Absolute error of single gaps. [ms]
    late_ms_p99 : float
        How late requests were sent. [ms]
    cpu_us_per_token : float
        CPU of the client by token. [us]
    tokens_per_s : float
        Received, between the first and the last tenth of the tokens. [1/s]
    failed : int
        Requests without a whole answer.
    unclear : int
        Requests left out because the server was put aside while it sent the first token: there is no truth to compare.
    unequal : int
        Requests left out because the server knows of another number of tokens, or of none.
    coalesced : float
        Share of tokens that came in the same read as the one before. The kernel joins what waits and keeps the last
        stamp alone, so that a client that is put aside for longer than a gap cannot tell when the earlier ones came.
    asked_tokens_per_s : float
        What all streams together were to be sent. [1/s]
    processes : int
        Of the client, at most; no more than there are streams.
    """

    streams: int
    n: int
    stamps: str
    ttft_error_ms_mean: float
    ttft_error_ms_p99: float
    itl_error_ms_mean: float
    itl_error_ms_p99: float
    late_ms_p99: float
    cpu_us_per_token: float
    tokens_per_s: float
    failed: int
    unclear: int = 0
    unequal: int = 0
    coalesced: float = 0.0
    asked_tokens_per_s: float = 0.0
    processes: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def selftest(
    streams: Sequence[int] = STREAMS, *, stamps: str = "", rate_per_s: float = RATE_PER_S, processes: int = 1
) -> list[ClientError]:
    """Measure the client at each number of streams.

    Parameters
    ----------
    streams : sequence of int
        Streams at once.
    stamps : str
        "kernel" or "user"; by default the better one there is.
    rate_per_s : float
        Tokens a second over all streams: at most, for gaps have at least :data:`LEAST_ITL_S` and at most
        :data:`LONGEST_ITL_S`.
    processes : int
        Of the client.

    Raises
    ------
    InputError
        No stream, more streams than a process may open files, or no such rate.
    EngineError
        The fake server did not start.
    """
    if not streams or min(streams) < 1:
        raise InputError(f"streams are {tuple(streams)}; give numbers of at least 1")
    if not 0.0 < rate_per_s < float("inf"):
        raise InputError(f"rate_per_s is {rate_per_s!r}; it must be above 0 tokens per second")
    allow_files(max(streams))  # however many processes the client has, the server is one
    with fake_server() as url:
        address = address_of(url)
        return [
            error_at(address, url, count, stamps=stamps, rate_per_s=rate_per_s, processes=processes)
            for count in streams
        ]


def paced_error(streams: int, tokens_per_s: float, *, processes: int = 1) -> ClientError:
    """Measure the client at a load like one that was seen: as many streams, as many tokens a second."""
    rate = min(max(tokens_per_s, 50.0), RATE_PER_S)
    return selftest((max(streams, 1),), rate_per_s=rate, processes=processes)[0]


def error_at(
    address: Address, url: str, streams: int, *, stamps: str = "", rate_per_s: float = RATE_PER_S, processes: int = 1
) -> ClientError:
    """Measure the client's error against a fake server at a number of streams, all open at once."""
    itl = min(max(streams / rate_per_s, LEAST_ITL_S), LONGEST_ITL_S)
    requests = max(streams, 32)
    load = paced_load(address, streams, requests, itl)
    for attempt in range(ATTEMPTS):
        truth_of(url)  # forget what came before
        run = drive_many(address, load, processes=processes, patience=Patience(stall_s=30.0))
        records = records_of(run, [(0, tokens_at(itl))] * requests, stamps=stamps)
        truth = truth_of(url)
        if attempt + 1 == ATTEMPTS or any(entry["sent_ns"] and entry["sent_ns"][0] for entry in truth.values()):
            break  # otherwise the server was interrupted at every first token: nothing to compare with
    found = compare(run, records, truth, streams, stamps or stamps_of(run))
    return replace(found, asked_tokens_per_s=streams / itl, processes=processes)


def tokens_at(itl_s: float) -> int:
    """Tokens of an answer whose gaps are so long.

    >>> tokens_at(0.005), tokens_at(0.5), tokens_at(1.0)
    (32, 16, 8)
    """
    return min(max(int(SPAN_S / itl_s), LEAST_TOKENS), TOKENS)


def paced_load(address: Address, streams: int, requests: int, itl_s: float) -> Load:
    """Requests whose starts are spread over one gap, so that tokens come evenly."""
    tokens = tokens_at(itl_s)
    model = f"ttft={TTFT_S},itl={itl_s:.6f},n={tokens}"
    span = TTFT_S + tokens * itl_s
    return Load(
        asks=[
            Ask(
                content=request_bytes(address, model, "hello", tokens, index=i),
                scheduled_s=(i // streams) * span * 1.2 + (i % streams) * itl_s / streams,
            )
            for i in range(requests)
        ]
    )


def truth_of(url: str) -> dict[int, dict[str, Any]]:
    """What the fake server really sent since it was asked last, by index."""
    with urllib.request.urlopen(f"{url}/truth", timeout=30) as reply:
        told = json.loads(reply.read())
    return {int(entry["index"]): entry for entry in told}


def compare(
    run: Run, records: Sequence[RequestRecord], truth: dict[int, dict[str, Any]], streams: int, stamps: str
) -> ClientError:
    """Hold what the client says against what the server did."""
    ttft, gaps = [], []
    unclear = unequal = 0
    whole = [record for record in records if record.whole and record.sent_s is not None]
    for record in whole:
        entry = truth.get(record.index, {"sent_ns": ()})
        sent = np.array(entry["sent_ns"], dtype=np.float64)
        seen = record.token_stamp_s
        if len(seen) != len(sent):
            unequal += 1
            continue
        known = sent > 0.0  # where the server itself was put aside while it sent, there is no truth to compare with
        if known[0]:
            ttft.append((seen[0] - record.sent_s) * 1e3 - (sent[0] - entry["came_ns"]) * 1e-6)
        else:
            unclear += 1
        both = known[1:] & known[:-1]
        gaps.append((np.diff(seen) * 1e3 - np.diff(sent) * 1e-6)[both])
    if not ttft:
        why = next((r.why for r in records if r.why), "no stamp of the server was clear")
        raise EngineError(f"the client cannot be judged at {streams} streams: {why}; try again on a quieter machine")
    first, gap = np.abs(np.array(ttft)), np.abs(np.concatenate(gaps))
    late = np.array([(r.sent_s - r.scheduled_s) * 1e3 for r in records if r.sent_s is not None])
    stamps_s = np.concatenate([record.token_stamp_s for record in whole])
    return ClientError(
        streams=streams,
        n=len(ttft),
        stamps=stamps,
        ttft_error_ms_mean=float(first.mean()),
        ttft_error_ms_p99=float(np.quantile(first, 0.99)),
        itl_error_ms_mean=float(gap.mean()),
        itl_error_ms_p99=float(np.quantile(gap, 0.99)),
        late_ms_p99=float(np.quantile(late, 0.99)) if len(late) else float("inf"),
        cpu_us_per_token=run.cpu_s * 1e6 / len(stamps_s),
        tokens_per_s=rate_of(stamps_s),
        failed=sum(not record.whole for record in records),
        unclear=unclear,
        unequal=unequal,
        coalesced=sum(record.coalesced for record in whole) / len(stamps_s),
    )


def rate_of(stamps_s: Floats) -> float:
    """Tokens a second in the middle of a run, while all streams are open; 0 where nothing took any time.

    >>> round(rate_of(np.arange(1000) / 50.0))
    50
    """
    low, high = np.quantile(stamps_s, MIDDLE)
    inside = np.count_nonzero((stamps_s > low) & (stamps_s <= high))
    return float(inside / (high - low)) if high > low else 0.0
