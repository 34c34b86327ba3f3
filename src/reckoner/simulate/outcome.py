"""What a whole run and a streamed one have in common: rates, energy and dollars from a few totals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Slo
from reckoner.errors import InputError
from reckoner.physics.energy import power_w
from reckoner.quantiles import Percentile

if TYPE_CHECKING:
    from reckoner.simulate.server import Server

Floats = NDArray[np.float64]

METRICS = ("queue", "ttft", "tpot", "e2e")
"""Latencies by request: wait before the first step, time to first token, gap between tokens, all of it, in s."""

LEAST_FOR_OVERLOAD = 40
"""Answers below which a growing queue is not told from chance. Assumption."""
RATIO_FOR_OVERLOAD = 1.02
"""Demand over served below which a run's end effects explain the difference. Assumption."""


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

    @property
    def held(self) -> float:
        """Requests that share a step, on average over the steps, at least 1."""
        busy = float(self.utilisation.sum())
        return max(1.0, float(self.sequences.sum()) / busy) if busy > 0.0 else 1.0


class Outcome(ABC):
    """Totals of a run, and what follows from them."""

    __slots__ = ()

    server: Server
    series: Series
    usd_per_hour: float | None
    steps: int
    events: int

    @abstractmethod
    def __len__(self) -> int:
        """Count the requests that were answered."""

    @abstractmethod
    def percentile(self, metric: str, q: float) -> Percentile:
        """Quantile of a latency with its interval."""

    @abstractmethod
    def share_within(self, slo: Slo) -> float:
        """Share of the answered requests whose own latencies keep every limit."""

    @property
    @abstractmethod
    def load(self) -> str:
        """What was asked, in words."""

    @property
    @abstractmethod
    def refused(self) -> int:
        """Count the requests that could never fit into the cache."""

    @property
    @abstractmethod
    def first_refused(self) -> str:
        """The first of those by row and size; empty where there is none."""

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Count the requests that were to follow a rejected turn of a session."""

    @property
    @abstractmethod
    def preemptions(self) -> int:
        """Times that a request was sent back for want of cache."""

    @property
    @abstractmethod
    def tokens_out(self) -> int:
        """Tokens put out."""

    @property
    @abstractmethod
    def makespan_s(self) -> float:
        """From the first arrival to the last answer, in s."""

    @property
    @abstractmethod
    def overload(self) -> float | None:
        """Demand over what was served, where an open loop's queue kept growing; None where it did not."""

    @property
    def requests_per_s(self) -> float:
        """Answers over the makespan, in 1/s."""
        return len(self) / self.makespan_s if self.makespan_s > 0.0 else math.inf

    @property
    def output_tokens_per_s(self) -> float:
        """Tokens put out over the makespan, in token/s."""
        return self.tokens_out / self.makespan_s if self.makespan_s > 0.0 else math.inf

    def goodput(self, slo: Slo) -> float:
        """Requests per second whose own latencies keep every limit of ``slo``, in 1/s."""
        return self.share_within(slo) * self.requests_per_s

    @property
    def energy_j(self) -> float | None:
        """Of all devices over the makespan, by the model of :func:`~reckoner.physics.energy.power_w`, in J.

        None where the device's power limit is unknown.
        """
        if self.series.power_w is None:
            return None
        return float(self.series.power_w.sum()) * self.series.width_s

    @property
    def joules_per_request(self) -> float | None:
        """Energy of all devices by answer; None where the power limit is unknown, in J."""
        return None if self.energy_j is None else self.energy_j / len(self)

    @property
    def usd_per_request(self) -> float | None:
        """Rent of all devices over the makespan, by answer; None without a rate, in USD."""
        if self.usd_per_hour is None:
            return None
        return self.usd_per_hour * self.server.devices * self.makespan_s / 3600.0 / len(self)

    def meets(self, slo: Slo) -> bool:
        """Whether the 99th percentiles keep the limits, nobody is rejected and the queue does not grow."""
        if self.refused or self.overload is not None:
            return False
        bounds = {"ttft": slo.ttft_p99_s, "tpot": slo.tpot_p99_s, "e2e": slo.e2e_p99_s}
        # Answers of one token have no gap that could be too long.
        return all(
            limit is None or (value := self.point(metric, 0.99)) is None or value <= limit
            for metric, limit in bounds.items()
        )

    @abstractmethod
    def point(self, metric: str, q: float) -> float | None:
        """Quantile of a latency of however few requests; None of none, in s."""

    def to_dict(self, quantiles: tuple[float, ...] = (0.5, 0.9, 0.99)) -> dict[str, Any]:
        """Plain values for JSON; a percentile that too few requests stand behind is null."""
        found: dict[str, Any] = {}
        for metric in (*METRICS, "itl"):
            row: dict[str, Any] = {}
            for q in quantiles:
                try:
                    row[f"p{100 * q:g}"] = self.percentile(metric, q).to_dict()
                except InputError:
                    row[f"p{100 * q:g}"] = None
            found[f"{metric}_s"] = row
        return {
            "server": self.server.name,
            "arrivals": self.load,
            "requests": len(self),
            "rejected": self.refused,
            "first_rejected": self.first_refused or None,
            "dropped": self.dropped,
            "makespan_s": self.makespan_s,
            "requests_per_s": self.requests_per_s,
            "output_tokens_per_s": self.output_tokens_per_s,
            "preemptions": self.preemptions,
            "overload": self.overload,
            "latency": found,
            "utilisation": float(self.series.utilisation.mean()),
            "kv_share_max": float(self.series.kv_share.max()),
            "energy_j": self.energy_j,
            "joules_per_request": self.joules_per_request,
            "usd_per_request": self.usd_per_request,
            "steps": self.steps,
            "events": self.events,
        }


def series_of(server: Server, bins: Floats, width_s: float, end_s: float, usd_per_hour: float | None) -> Series:
    """Turn the kernel's sums into rates; ``bins`` has one row a bin and one column a channel.

    Power is a model, the one that :func:`reckoner.predict` has: between rest and what was learned for the sequences in
    a step, by the share of time that a step took; where nothing was learned, between rest and the power limit by the
    share of time that the printed limits would need for the work.
    """
    used = max(1, math.ceil(end_s / width_s - 1e-9))
    busy, seqs, blocks, waiting, out, into, limit = bins[:used].T / width_s
    lanes = server.replicas * server.lanes
    total = 0.0 if server.kv_tokens is None else float(server.kv_tokens * server.replicas)
    power = None
    if server.tdp_w is not None and server.idle_w is not None:
        if server.active_w is not None:
            held = seqs / np.maximum(busy, 1e-300)  # in a step
            above = np.interp(held, np.arange(len(server.active_w)), server.active_w) - server.idle_w
            each = server.idle_w + above * (busy / lanes)
        else:
            each = np.asarray(power_w(server.idle_w, server.tdp_w, np.minimum(limit / lanes, 1.0)))
        power = each * server.devices
    return Series(
        width_s=width_s,
        utilisation=busy / lanes,
        sequences=seqs,
        waiting=waiting,
        kv_share=blocks / total if total else np.zeros(used),
        output_tokens_per_s=out,
        input_tokens_per_s=into,
        power_w=power,
        usd_per_s=None if usd_per_hour is None else np.full(used, usd_per_hour * server.devices / 3600.0),
    )
