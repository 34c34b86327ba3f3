"""What a simulation found, request by request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Slo
from reckoner.errors import InputError, UnknownNameError
from reckoner.quantiles import Percentile, percentile_of, quantile
from reckoner.simulate.arrivals import Arrivals
from reckoner.simulate.outcome import LEAST_FOR_OVERLOAD, METRICS, RATIO_FOR_OVERLOAD, Floats, Outcome, Series
from reckoner.simulate.percentiles import gap_percentile
from reckoner.simulate.sketch import Sketch
from reckoner.simulate.timeline import Run, Timeline

if TYPE_CHECKING:
    from reckoner.simulate.server import Server


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation(Outcome):
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
            return gap_percentile(self.gaps, q, len(self), self.series.held)
        values = self.latency_s(metric)
        ordered = self.kept.get(metric)
        if ordered is None:
            ordered = np.sort(values)
            self.kept[metric] = ordered
        return percentile_of(values, q, metric, ordered)

    def point(self, metric: str, q: float) -> float | None:
        """Quantile of a latency of however few requests; None of none, in s."""
        values = self.latency_s(metric)
        return quantile(values, q) if len(values) else None

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
        delay_s = float(self.server.delay_s(self.prompt_tokens[row]))
        first_s, finish_s = float(self.first_s[row]) - delay_s, float(self.finish_s[row]) - delay_s
        return timeline.runs(row, int(self.replica[row]), first_s, finish_s, steps)

    @property
    def load(self) -> str:
        """What was asked, in words."""
        return self.arrivals.name

    @property
    def refused(self) -> int:
        """Count the requests that could never fit into the cache."""
        return len(self.rejected)

    @property
    def first_refused(self) -> str:
        """The first of those by row and size; empty where there is none."""
        return refused_row(self.arrivals, int(self.rejected[0]), 0) if len(self.rejected) else ""

    @property
    def tokens_out(self) -> int:
        """Tokens put out."""
        return int(self.output_tokens.sum())

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last answer, in s."""
        return float(self.finish_s.max() - self.arrival_s.min())

    @property
    def preemptions(self) -> int:
        """Times that a request was sent back for want of cache."""
        return int(self.preempted.sum())

    @property
    def overload(self) -> float | None:
        """Demand over what was served, where an open loop's queue kept growing; None where it did not."""
        if self.arrivals.follows is not None or len(self) < LEAST_FOR_OVERLOAD:
            return None
        wait = self.latency_s("queue")
        quarter = len(wait) // 4
        early, late = float(wait[quarter : 2 * quarter].mean()), float(wait[-quarter:].mean())
        e2e = self.latency_s("e2e") - wait
        ratio = self.makespan_s / max(float(self.arrival_s[-1] - self.arrival_s[0]), 1e-300)
        grows = late > max(1.3 * early, float(np.median(e2e))) and ratio > RATIO_FOR_OVERLOAD
        return ratio if grows else None

    def share_within(self, slo: Slo) -> float:
        """Share of the answered requests whose own latencies keep every limit."""
        return float(
            within(slo, self.first_s - self.arrival_s, self.finish_s - self.arrival_s, self.output_tokens).mean()
        )


def refused_row(arrivals: Arrivals, row: int, before: int) -> str:
    """Name a request that can never fit: its row, counted from 1 with those ``before``, and its size."""
    prompt, output = int(arrivals.prompt_tokens[row]), int(arrivals.output_tokens[row])
    return f"request {before + row + 1:,} with {prompt:,} tokens in and {output:,} out"


def within(slo: Slo, ttft_s: Floats, e2e_s: Floats, output: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each request's own latencies keep every limit."""
    good = np.ones(len(ttft_s), bool)
    if slo.ttft_p99_s is not None:
        good &= ttft_s <= slo.ttft_p99_s
    if slo.e2e_p99_s is not None:
        good &= e2e_s <= slo.e2e_p99_s
    if slo.tpot_p99_s is not None:
        good &= (e2e_s - ttft_s) <= slo.tpot_p99_s * np.maximum(output - 1, 0) + 1e-12
    return good
