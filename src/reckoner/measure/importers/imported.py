"""The one form that results are read into: requests where the file has them, statistics as it states them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError

Floats = NDArray[np.float64]

TIMES = ("ttft_s", "tpot_s", "itl_s", "e2e_s", "normalised_tpot_s")
METRICS = (*TIMES, "prompt_tokens", "output_tokens")
RATES = ("requests_per_s", "prompt_tokens_per_s", "output_tokens_per_s", "total_tokens_per_s")


def _checked(where: str, value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where} is {value}; a finite number of at least 0 is expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; a field is None where the file does not say it.

    Attributes
    ----------
    start_s : float, optional
        When it was sent, on the tool's own clock.
    ttft_s, e2e_s : float, optional
        From sending to the first token and to the end.
    tpot_s : float, optional
        Time per output token after the first, as the file states it.
    itl_s : tuple of float, optional
        Gaps between chunks, in order.
    error : str, optional
        Why it failed; None for a success.
    """

    id: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    start_s: float | None = None
    ttft_s: float | None = None
    e2e_s: float | None = None
    tpot_s: float | None = None
    itl_s: tuple[float, ...] | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "start_s", "ttft_s", "e2e_s", "tpot_s"):
            _checked(name, getattr(self, name))

    @property
    def seconds(self) -> float | None:
        """From sending to the end; the first token and all gaps where no latency is given."""
        if self.e2e_s is not None or self.ttft_s is None or self.itl_s is None:
            return self.e2e_s
        return self.ttft_s + math.fsum(self.itl_s)

    @property
    def decode_s(self) -> float | None:
        """Time per token after the first: as stated, else (E2E - TTFT) / (n - 1)."""
        if self.tpot_s is not None:
            return self.tpot_s
        if self.seconds is None or self.ttft_s is None or (self.output_tokens or 0) < 2:
            return None
        return max(self.seconds - self.ttft_s, 0.0) / ((self.output_tokens or 0) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """What a file states about one metric.

    Attributes
    ----------
    n : int, optional
        How many values it is made of.
    percentiles : tuple of (float, float)
        (0.99, value), rising.
    stated_as : str
        Its name in the file.
    weighted : bool
        Requests count as often as they have tokens (GuideLLM's rates per token).
    """

    stated_as: str
    n: int | None = None
    mean: float | None = None
    std: float | None = None
    least: float | None = None
    most: float | None = None
    percentiles: tuple[tuple[float, float], ...] = ()
    weighted: bool = False

    def __post_init__(self) -> None:
        for name in ("n", "mean", "std", "least", "most"):
            _checked(f"{name} of {self.stated_as}", getattr(self, name))
        for q, value in self.percentiles:
            _checked(f"p{100 * q:g} of {self.stated_as}", value)

    def at(self, q: float) -> float | None:
        """The stated percentile ``q``, None where it is not stated."""
        return dict(self.percentiles).get(q)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was asked of the client.

    Attributes
    ----------
    requests_per_s : float, optional
        Rate of arrivals; infinite when all are sent at once.
    concurrency : int, optional
        Most requests under way at once.
    requests : int, optional
        Requests to send.
    """

    requests_per_s: float | None = None
    concurrency: int | None = None
    requests: int | None = None

    @property
    def open_loop(self) -> bool:
        """Whether arrivals have a rate of their own."""
        return self.requests_per_s is not None and math.isfinite(self.requests_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run of one tool.

    Attributes
    ----------
    tool : str
        One of :data:`reckoner.measure.importers.read.TOOLS`.
    run : str
        Which run of the file, where it holds several.
    digest : str
        SHA-256 of the file.
    statistics : mapping
        Metric (one of :data:`METRICS`) to what the file states.
    rates : mapping
        One of :data:`RATES` to what the file states.
    duration_s : float, optional
        Length of the run.
    completed, failed : int, optional
        Requests, as the file counts them.
    """

    tool: str
    source: str = ""
    digest: str = ""
    run: str = ""
    version: str | None = None
    model: str | None = None
    device: str | None = None
    engine: str | None = None
    load: Load = field(default_factory=Load)
    requests: tuple[Request, ...] = ()
    statistics: Mapping[str, Statistic] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    duration_s: float | None = None
    completed: int | None = None
    failed: int | None = None
    began_at: float | None = None

    def __post_init__(self) -> None:
        for names, known, what in ((self.statistics, METRICS, "statistics"), (self.rates, RATES, "rates")):
            for name in names:
                if name not in known:
                    raise InputError(f"{what} holds {name!r}; known are {', '.join(known)}")
        for name, value in self.rates.items():
            _checked(name, value)
        _checked("duration_s", self.duration_s)

    @property
    def succeeded(self) -> tuple[Request, ...]:
        """Requests that did not fail."""
        return tuple(one for one in self.requests if one.error is None)

    @property
    def name(self) -> str:
        """File and run."""
        return f"{self.source} ({self.run})" if self.run else self.source

    def values(self, metric: str) -> Floats:
        """Figure of each request that succeeded and has it, shape (n,); gaps of all requests, one after another."""
        if metric == "itl_s":
            return np.asarray([gap for one in self.succeeded for gap in one.itl_s or ()], dtype=np.float64)
        field_of = {"e2e_s": "seconds", "tpot_s": "decode_s"}.get(metric, metric)
        if metric == "normalised_tpot_s":
            told = [one.seconds / one.output_tokens for one in self.succeeded if one.seconds and one.output_tokens]
        else:
            told = [value for one in self.succeeded if (value := getattr(one, field_of)) is not None]
        return np.asarray(told, dtype=np.float64)

    def mean(self, metric: str) -> float | None:
        """Mean of the requests' own figures, else as stated."""
        values = self.values(metric)
        if values.size:
            return float(values.mean())
        told = self.statistics.get(metric)
        return None if told is None else told.mean

    def n(self) -> int:
        """Requests that its latencies are made of; 0 where the file does not say."""
        if self.requests:
            return len(self.succeeded)
        told = [one.n for name, one in self.statistics.items() if one.n is not None and name in ("e2e_s", "ttft_s")]
        return self.completed if self.completed is not None else max(told, default=0)

    def to_json(self, *, requests: bool = True) -> dict[str, Any]:
        """JSON values; an infinite rate is the text ``"inf"``."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        told["load"] = {one.name: getattr(self.load, one.name) for one in fields(self.load)}
        if told["load"]["requests_per_s"] == math.inf:
            told["load"]["requests_per_s"] = "inf"
        told["statistics"] = {
            name: {
                **{part.name: getattr(one, part.name) for part in fields(one)},
                "percentiles": [list(pair) for pair in one.percentiles],
            }
            for name, one in sorted(self.statistics.items())
        }
        told["rates"] = dict(sorted(self.rates.items()))
        told["requests"] = [
            {part.name: value for part in fields(one) if (value := getattr(one, part.name)) is not None}
            for one in self.requests
            if requests
        ]
        return told
