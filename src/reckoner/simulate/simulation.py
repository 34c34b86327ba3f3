"""What a simulation found: latencies by request, percentiles with intervals, goodput, load, power and dollars."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Slo
from reckoner.errors import InputError, UnknownNameError
from reckoner.physics.energy import power_w
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.percentiles import Percentile, gap_percentile, percentile_of, quantile
from reckoner.simulate.sketch import Sketch
from reckoner.simulate.timeline import Run, Timeline

if TYPE_CHECKING:
    from reckoner.simulate.server import Server

Floats = NDArray[np.float64]

METRICS = ("queue", "ttft", "tpot", "e2e")
"""Latencies by request: wait before the first step, time to first token, gap between tokens, all of it, in s."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Load over time in bins of equal width; one entry a bin.

    Parameters
    ----------
    width_s : float
        Of a bin. [s]
    utilisation : (m,) float
        Share of the replicas' time that a step took.
    sequences, waiting : (m,) float
        Requests in a step, and in the queue, over all replicas.
    kv_share : (m,) float
        Share of the cache in use; 0 where it never runs out.
    output_tokens_per_s, input_tokens_per_s : (m,) float
        Rates. [token/s]
    power_w, usd_per_s : (m,) float or None
        Of all devices; None where unknown. [W], [USD/s]
    """

    width_s: float
    utilisation: Floats
    sequences: Floats
    waiting: Floats
    kv_share: Floats
    output_tokens_per_s: Floats
    input_tokens_per_s: Floats
    power_w: Floats | None
    usd_per_s: Floats | None

    def __len__(self) -> int:
        return len(self.utilisation)

    @property
    def time_s(self) -> Floats:
        """Middle of each bin, in s."""
        return np.asarray((np.arange(len(self)) + 0.5) * self.width_s, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation:
    """Requests served, in the order of the arrivals.

    Parameters
    ----------
    arrivals, server
        What was asked of what.
    arrival_s, started_s, first_s, finish_s : (n,) float
        Of the requests that were answered. [s]
    prompt_tokens, output_tokens, preempted, replica : (n,) int
        Of the same.
    rejected : (k,) int
        Rows of the arrivals that could never fit into the cache.
    dropped : int
        Requests that were to follow a rejected turn of a session.
    series : Series
        Load over time.
    gaps : Sketch
        Gaps between the tokens of all requests.
    log : (k,) float, optional
        Events, where they were kept.
    steps, events : int
        Engine steps, and polynomials that they took.
    usd_per_hour : float, optional
        Rent of one device. [USD/h]
    """

    arrivals: Arrivals
    server: Server
    arrival_s: Floats
    started_s: Floats
    first_s: Floats
    finish_s: Floats
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    preempted: NDArray[np.int32]
    replica: NDArray[np.int32]
    rejected: NDArray[np.intp]
    dropped: int
    series: Series
    gaps: Sketch
    log: Floats | None
    steps: int
    events: int
    usd_per_hour: float | None = None
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.arrival_s)

    def latency_s(self, metric: str) -> Floats:
        """One latency of each request; "tpot" of those with at least two tokens.

        Raises
        ------
        UnknownNameError
            No such metric.
        """
        if metric == "queue":
            return self.started_s - self.arrival_s
        if metric == "ttft":
            return self.first_s - self.arrival_s
        if metric == "e2e":
            return self.finish_s - self.arrival_s
        if metric == "tpot":
            several = self.output_tokens > 1
            return (self.finish_s - self.first_s)[several] / (self.output_tokens[several] - 1)
        raise UnknownNameError.of("metric", metric, METRICS)

    def percentile(self, metric: str, q: float) -> Percentile:
        """Quantile of a latency with its interval.

        Parameters
        ----------
        metric : str
            One of :data:`METRICS`, or "itl": the gaps between tokens of all requests, within 0.2 %.
        q : float
            Probability, above 0 and below 1.

        Raises
        ------
        InputError
            Too few requests for the interval to have two ends; says how many it takes.

        Notes
        -----
        Order statistics bound a quantile whatever the distribution, of independent requests; those of one busy period
        are alike, so the batches of consecutive requests say how many independent ones they are worth, and the interval
        is that of so many. A gap between tokens ("itl") is shared by all that are in a step: there a request counts for
        as little as one over the mean number in a step (assumption).
        """
        if metric == "itl":
            held = float((self.series.sequences / np.maximum(self.series.utilisation, 1e-12)).mean())
            return gap_percentile(self.gaps, q, len(self), max(held, 1.0))
        values = self.latency_s(metric)
        ordered = self.kept.get(metric)
        if ordered is None:
            ordered = np.sort(values)
            self.kept[metric] = ordered
        return percentile_of(values, q, metric, ordered)

    def gaps_of(self, row: int) -> list[Run]:
        """Gaps between the tokens of one answered request, as runs: a stall is a run of one long gap.

        Parameters
        ----------
        row : int
            Among the requests answered.

        Raises
        ------
        InputError
            The events were not kept, or there is no such request.

        Notes
        -----
        A server that speculates yields several tokens at the end of a step: its gaps are those between steps.
        """
        if self.log is None:
            raise InputError("the events were not kept, so gaps cannot be told by request; simulate with events=True")
        if not 0 <= row < len(self):
            raise InputError(f"row is {row}; it must be from 0 to {len(self) - 1}")
        if "timeline" not in self.kept:
            self.kept["timeline"] = Timeline(self.log)
        steps = math.ceil((int(self.output_tokens[row]) - 1) / self.server.tokens_per_step - 1e-9)
        timeline: Timeline = self.kept["timeline"]
        return timeline.runs(row, int(self.replica[row]), float(self.first_s[row]), float(self.finish_s[row]), steps)

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last answer, in s."""
        return float(self.finish_s.max() - self.arrival_s.min())

    @property
    def requests_per_s(self) -> float:
        """Answers over the makespan, in 1/s."""
        return len(self) / self.makespan_s if self.makespan_s > 0.0 else math.inf

    @property
    def output_tokens_per_s(self) -> float:
        """Tokens put out over the makespan, in token/s."""
        return float(self.output_tokens.sum()) / self.makespan_s if self.makespan_s > 0.0 else math.inf

    @property
    def preemptions(self) -> int:
        """Times that a request was sent back for want of cache."""
        return int(self.preempted.sum())

    @property
    def overload(self) -> float | None:
        """Demand over what was served, where an open loop's queue kept growing; None where it did not."""
        if self.arrivals.follows is not None or len(self) < _LEAST_FOR_OVERLOAD:
            return None
        wait = self.latency_s("queue")
        quarter = len(wait) // 4
        early, late = float(wait[quarter : 2 * quarter].mean()), float(wait[-quarter:].mean())
        e2e = self.latency_s("e2e") - wait
        ratio = self.makespan_s / max(float(self.arrival_s[-1] - self.arrival_s[0]), 1e-300)
        grows = late > max(1.3 * early, float(np.median(e2e))) and ratio > _RATIO_FOR_OVERLOAD
        return ratio if grows else None

    def goodput(self, slo: Slo) -> float:
        """Requests per second whose own latencies keep every limit of ``slo``, in 1/s."""
        return self.share_within(slo) * self.requests_per_s

    def share_within(self, slo: Slo) -> float:
        """Share of the answered requests whose own latencies keep every limit."""
        good = np.ones(len(self), bool)
        if slo.ttft_p99_s is not None:
            good &= self.latency_s("ttft") <= slo.ttft_p99_s
        if slo.e2e_p99_s is not None:
            good &= self.latency_s("e2e") <= slo.e2e_p99_s
        if slo.tpot_p99_s is not None:
            good &= (self.finish_s - self.first_s) <= slo.tpot_p99_s * np.maximum(self.output_tokens - 1, 0) + 1e-12
        return float(good.mean())

    def meets(self, slo: Slo) -> bool:
        """Whether the 99th percentiles keep the limits, nobody is rejected and the queue does not grow."""
        if len(self.rejected) or self.overload is not None:
            return False
        bounds = {"ttft": slo.ttft_p99_s, "tpot": slo.tpot_p99_s, "e2e": slo.e2e_p99_s}
        for metric, limit in bounds.items():
            values = self.latency_s(metric)
            if limit is not None and len(values) and quantile(values, 0.99) > limit:
                return False  # answers of one token have no gap that could be too long
        return True

    @property
    def energy_j(self) -> float | None:
        """Of all devices over the makespan; None where the power limit is unknown, in J."""
        if self.series.power_w is None:
            return None
        return float(self.series.power_w.sum()) * self.series.width_s

    @property
    def usd_per_request(self) -> float | None:
        """Rent of all devices over the makespan, by answer; None without a rate, in USD."""
        if self.usd_per_hour is None:
            return None
        return self.usd_per_hour * self.server.devices * self.makespan_s / 3600.0 / len(self)

    def to_dict(self, quantiles: tuple[float, ...] = (0.5, 0.9, 0.99)) -> dict[str, Any]:
        """Plain values for JSON; a percentile that too few requests stand behind is null."""
        found: dict[str, Any] = {}
        for metric in (*METRICS, "itl"):
            row: dict[str, Any] = {}
            for q in quantiles:
                try:
                    p = self.percentile(metric, q)
                except InputError:
                    row[f"p{100 * q:g}"] = None
                    continue
                row[f"p{100 * q:g}"] = p.to_dict()
            found[f"{metric}_s"] = row
        busy = self.series.utilisation
        return {
            "server": self.server.name,
            "arrivals": self.arrivals.name,
            "requests": len(self),
            "rejected": len(self.rejected),
            "dropped": self.dropped,
            "makespan_s": self.makespan_s,
            "requests_per_s": self.requests_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "preemptions": self.preemptions,
            "overload": self.overload,
            "latency": found,
            "utilisation": float(busy.mean()),
            "kv_share_max": float(self.series.kv_share.max()),
            "energy_j": self.energy_j,
            "usd_per_request": self.usd_per_request,
            "steps": self.steps,
            "events": self.events,
        }


_LEAST_FOR_OVERLOAD = 40  # answers below which a growing queue is not told from chance. Assumption.
_RATIO_FOR_OVERLOAD = 1.02  # demand over served below which a run's end effects explain the difference. Assumption.


def series_of(server: Server, bins: Floats, width_s: float, end_s: float, usd_per_hour: float | None) -> Series:
    """Turn the kernel's sums into rates; ``bins`` has one row a bin and one column a channel."""
    used = max(1, math.ceil(end_s / width_s - 1e-9))
    busy, seqs, blocks, waiting, out, into, limit = bins[:used].T / width_s
    total = 0.0 if server.kv_tokens is None else float(server.kv_tokens * server.replicas)
    power = None
    if server.tdp_w is not None and server.idle_w is not None:
        power = np.asarray(power_w(server.idle_w, server.tdp_w, np.minimum(limit / server.replicas, 1.0)))
        power = power * server.devices
    return Series(
        width_s=width_s,
        utilisation=busy / server.replicas,
        sequences=seqs,
        waiting=waiting,
        kv_share=blocks / total if total else np.zeros(used),
        output_tokens_per_s=out,
        input_tokens_per_s=into,
        power_w=power,
        usd_per_s=None if usd_per_hour is None else np.full(used, usd_per_hour * server.devices / 3600.0),
    )
