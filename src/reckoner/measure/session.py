"""A measured run: a load driven, its records, and its figures with intervals and the client's own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reckoner.errors import InputError, ReckonerError
from reckoner.measure.events import Floats, RequestRecord
from reckoner.measure.metrics import VERSION, counted, latency_s
from reckoner.measure.selftest import ClientError, paced_error
from reckoner.measure.statistics import Enough, Mean, enough, mean_of, steady_from
from reckoner.measure.wire.address import Address, request_bytes
from reckoner.measure.wire.load import Ask, Load, Patience, Run
from reckoner.measure.wire.many import drive_many
from reckoner.measure.wire.record import records_of, stamps_of
from reckoner.quantiles import Percentile, needed, percentile_of

METRICS = ("ttft", "tpot", "itl", "e2e", "e2e_scheduled")
QUANTILES = (0.5, 0.9, 0.99)
RIVAL = 0.1
"""Share of a median that the client's own mean error may reach before the figure is refused. Assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One latency of a run.

    Parameters
    ----------
    mean : Mean
        Of the steady part.
    percentiles : mapping of float to Percentile
        Those that the number of requests bounds.
    """

    mean: Mean
    percentiles: dict[float, Percentile]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in s."""
        return {
            "mean": {"value": self.mean.value, "low": self.mean.low, "high": self.mean.high, "n": self.mean.n},
            **{f"p{100 * q:g}": p.to_dict() for q, p in self.percentiles.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A run with its figures.

    Parameters
    ----------
    records : tuple of RequestRecord
        All of them, failed ones too.
    latencies : mapping of str to Told
        Of the steady part; a metric that no request has is absent.
    steady_from_s : float
        When the steady part begins. [s]
    requests_per_s, output_tokens_per_s, input_tokens_per_s : float
        Answered, over the steady part. [1/s]
    asked_per_s : float or None
        Rate that was asked for; None of a closed loop. [1/s]
    failed : mapping of str to int
        Requests without a whole answer, by what went wrong.
    unsent : int
        Never sent, because the run was stopped.
    counted_by : str
        Who counted output tokens.
    stamps : str
        "kernel" or "user".
    clock_stepped_s : float
        By how much the clock was stepped meanwhile; stamps are then the user's. [s]
    read_lag_p99_s : float or None
        How long what had come lay unread: the error of a client without kernel stamps. None where nothing came, or
        nothing was stamped. [s]
    late_p99_s : float
        How late requests were sent. [s]
    coalesced : float
        Share of tokens that came in the same read as the one before.
    most_in_flight : int
        Requests in flight at once.
    cpu_us_per_token : float
        CPU of the client by token, waiting awake included. [us]
    client : ClientError or None
        The client's error at this load against a server with a known schedule; None where it was not tried,
        or could not be told.
    precision : Enough
        Whether the mean of E2E is known well enough.
    client_why : str
        Why the client's error could not be told; empty where it was, or was not tried.
    """

    records: tuple[RequestRecord, ...]
    latencies: dict[str, Told]
    steady_from_s: float
    requests_per_s: float
    output_tokens_per_s: float
    input_tokens_per_s: float
    asked_per_s: float | None
    failed: dict[str, int]
    unsent: int
    counted_by: str
    stamps: str
    clock_stepped_s: float
    read_lag_p99_s: float | None
    late_p99_s: float
    coalesced: float
    most_in_flight: int
    cpu_us_per_token: float
    client: ClientError | None
    precision: Enough
    client_why: str = ""

    @property
    def answered(self) -> int:
        """Requests with a whole answer."""
        return sum(record.whole for record in self.records)

    def refused(self, metric: str) -> str:
        """Why a latency is not to be believed; empty where it is."""
        told = self.latencies.get(metric)
        if told is None or 0.5 not in told.percentiles:
            return ""
        median = told.percentiles[0.5].value
        if self.client is not None and metric in ("ttft", "tpot", "itl"):
            error = (self.client.ttft_error_ms_mean if metric == "ttft" else self.client.itl_error_ms_mean) * 1e-3
            if error > RIVAL * median:
                return f"the client's own error of {1e3 * error:.3g} ms rivals the median of {1e3 * median:.3g} ms"
        if metric == "itl" and self.coalesced > 0.5:
            return (
                f"{100 * self.coalesced:.0f} % of tokens came together with the one before: their gaps cannot be seen"
            )
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "metrics_version": VERSION,
            "requests": len(self.records),
            "answered": self.answered,
            "failed": dict(sorted(self.failed.items())),
            "unsent": self.unsent,
            "latency_s": {name: told.to_dict() for name, told in self.latencies.items() if not self.refused(name)},
            "refused": {name: self.refused(name) for name in self.latencies if self.refused(name)},
            "steady_from_s": self.steady_from_s,
            "requests_per_s": self.requests_per_s,
            "asked_per_s": self.asked_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "input_tokens_per_s": self.input_tokens_per_s,
            "tokens_counted_by": self.counted_by,
            "precision": {"half_width": self.precision.half_width, "reached": self.precision.reached,
                          "more_requests": self.precision.more},
            "client": {
                "stamps": self.stamps,
                "clock_stepped_s": self.clock_stepped_s,
                "read_lag_p99_s": self.read_lag_p99_s,
                "late_p99_s": self.late_p99_s,
                "coalesced": self.coalesced,
                "most_in_flight": self.most_in_flight,
                "cpu_us_per_token": self.cpu_us_per_token,
                "error": None if self.client is None else self.client.to_dict(),
                "error_unknown": self.client_why,
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How requests come.

    Parameters
    ----------
    concurrency : int, optional
        Closed loop with so many in flight.
    think_s : float
        Pause of a closed loop.
    arrival_s : sequence of float, optional
        Open loop: when each request goes. [s]
    follows : sequence of int, optional
        Row that each follows, -1 for none; the arrival of a follow-up is a pause.
    """

    concurrency: int | None = None
    think_s: float = 0.0
    arrival_s: Sequence[float] | None = None
    follows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Hold that a load is open or closed."""
        if (self.concurrency is None) == (self.arrival_s is None):
            raise InputError("a load is open or closed: give arrival_s or concurrency")


def load_of(
    address: Address, model: str, prompts: Sequence[str], output_tokens: Sequence[int], shape: Shape, *, first: int = 0
) -> Load:
    """Requests of a shape, ready to be sent; ``first`` is the number that the first one bears."""
    follows = shape.follows if shape.follows is not None else [-1] * len(prompts)
    times = shape.arrival_s if shape.arrival_s is not None else [0.0] * len(prompts)
    asks = [
        Ask(
            content=request_bytes(address, model, prompt, int(tokens), index=first + i),
            scheduled_s=float(at),
            follows=None if before < 0 else int(before),
        )
        for i, (prompt, tokens, at, before) in enumerate(zip(prompts, output_tokens, times, follows, strict=True))
    ]
    return Load(asks=asks, concurrency=shape.concurrency, think_s=shape.think_s)


def measured(  # noqa: PLR0913 - a load, and how to look at it
    address: Address, load: Load, asked: Sequence[tuple[int, int]], *, warmup: int = 0, goal: float = 0.02,
    patience: Patience | None = None, stamps: str = "", check_client: bool = True,
    watch: Callable[..., None] | None = None, stop: Callable[[], bool] | None = None, processes: int = 1,
) -> Measured:  # fmt: skip
    """Drive a load and tell its figures.

    Parameters
    ----------
    address, load : Address, Load
        Whom, and what.
    asked : sequence of (int, int)
        Prompt and output tokens asked for.
    warmup : int
        Requests at the beginning that no figure counts. They are handed over undrained: what follows them is sent while
        they are still being answered, so that the server is never idle in between.
    goal : float
        Half width over the mean that is enough.
    patience, stamps, watch, stop, processes
        As in :func:`~reckoner.measure.wire.many.drive_many` and :func:`~reckoner.measure.wire.record.records_of`.
    check_client : bool
        Whether to measure the client itself at this load, which takes some seconds.
    """
    run = drive_many(address, load, processes=processes, patience=patience, watch=watch, stop=stop)
    records = records_of(run, asked, stamps=stamps)
    client, why = None, ""
    if check_client and run.seen:
        try:
            client = paced_error(run.most_in_flight, _tokens_per_s(records), processes=processes)
        except ReckonerError as error:  # what was measured stays, whatever becomes of its check
            why = str(error)
    found = tell(run, records, load, warmup=warmup, goal=goal, stamps=stamps or stamps_of(run), client=client)
    return replace(found, client_why=why)


def tell(
    run: Run, records: Sequence[RequestRecord], load: Load, *, warmup: int, goal: float, stamps: str,
    client: ClientError | None,
) -> Measured:  # fmt: skip
    """Tell the figures of a run."""
    counting = [r for r in records if r.index >= warmup]
    in_time = sorted((r for r in counting if r.whole and r.sent_s is not None), key=lambda r: (r.sent_s, r.index))
    e2e = latency_s(in_time, "e2e")
    cut = steady_from(e2e)
    steady = in_time[cut:]
    failed: dict[str, int] = {}
    for record in counting:
        if not record.whole:
            failed[record.state] = failed.get(record.state, 0) + 1
    latencies = {}
    for metric in METRICS:
        values = latency_s(steady, metric)
        if len(values):
            latencies[metric] = _told(values, metric, len(steady))
    begin = min((r.sent_s for r in steady if r.sent_s is not None), default=0.0)
    end = max((float(r.token_stamp_s[-1]) for r in steady), default=begin)
    span = max(end - begin, 1e-9)
    tokens = [counted(r) for r in steady]
    asks = [ask.scheduled_s for ask in load.asks if ask.follows is None]
    lag = _lag_s(run)
    late = latency_s(in_time, "late")
    whole = latencies.get("e2e")
    text_events = sum(len(r.token_stamp_s) for r in steady)
    return Measured(
        records=tuple(records),
        latencies=latencies,
        steady_from_s=begin,
        requests_per_s=len(steady) / span,
        output_tokens_per_s=sum(t.n for t in tokens) / span,
        input_tokens_per_s=sum(r.prompt_tokens or r.asked_prompt_tokens for r in steady) / span,
        asked_per_s=None if load.concurrency is not None or len(asks) < 2 else (len(asks) - 1) / max(*asks, 1e-9),
        failed=failed,
        unsent=run.unsent,
        counted_by=", ".join(sorted({t.by for t in tokens})),
        stamps=stamps,
        clock_stepped_s=run.stepped_ns * 1e-9,
        read_lag_p99_s=float(np.quantile(lag, 0.99)) if len(lag) else None,
        late_p99_s=float(np.quantile(late, 0.99)) if len(late) else 0.0,
        coalesced=sum(r.coalesced for r in steady) / text_events if text_events else 0.0,
        most_in_flight=run.most_in_flight,
        cpu_us_per_token=run.cpu_s * 1e6 / max(sum(len(r.token_stamp_s) for r in records), 1),
        client=client,
        precision=enough(whole.mean if whole else Mean(value=0.0, low=None, high=None, n=0, batches=0), goal),
    )


def _told(values: Floats, metric: str, requests: int) -> Told:
    bounded = [q for q in QUANTILES if (requests if metric == "itl" else len(values)) >= needed(q)]
    return Told(mean=mean_of(values), percentiles={q: percentile_of(values, q, metric) for q in bounded})


def _lag_s(run: Run) -> Floats:
    """How long what had come lay unread, of every stamped read, in s."""
    if not run.stamped:
        return np.zeros(0)
    found = [
        (user + run.clock.ns - kernel) * 1e-9
        for seen in run.seen
        for kernel, user in zip(seen.kernel_ns, seen.user_ns, strict=True)
        if kernel
    ]
    return np.array(found)


def _tokens_per_s(records: Sequence[RequestRecord]) -> float:
    stamps = [r.token_stamp_s for r in records if r.whole]
    if not stamps:
        return 0.0
    span = max(float(s[-1]) for s in stamps) - min(float(s[0]) for s in stamps)
    return sum(map(len, stamps)) / max(span, 1e-3)
