"""From frozen inputs to rows: every derived figure, rounded so that it is the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reckoner.evaluate.stats import chance_corrected
from reckoner.finops.compare import accuracy_difference, speed_interval
from reckoner.finops.cost import (
    NOT_READY,
    Interval,
    break_even_usd_per_error,
    cpqu,
    inverse,
    ratio,
    usd_per_1k_tokens,
    usd_per_accepted,
    usd_per_request,
    usd_with_errors,
)
from reckoner.finops.inputs import SCHEMA, Candidate, CostInputs, Speed, Throughput

DIGITS: Final = 6
"""Significant digits of a derived figure: far below what is measured, far above where libraries differ (1e-15)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One version's line in the table; figures are rounded to :data:`DIGITS`.

    Attributes
    ----------
    accuracy : Interval
        Conjugation accuracy over the core probes with its Wilson interval.
    chance_corrected : float or None
        Accuracy of its choice among candidates, above guessing; None where the engine or the inputs do not say.
    usd_per_1k_tokens : float
        With ``usd_per_1k_interval`` where the throughput has one. [USD/1000 token]
    cpqu : float or None
        None where the version is not deployment-ready. [USD/1000 token]
    usd_per_request : float or None
        Prompt and answer of the test's mean request, the same for all rows, each at its own speed. [USD/request]
    usd_per_accepted, usd_with_errors : float or None
        Per answer, with wrong ones asked again, and with wrong ones priced. [USD/answer]
    """

    model: Candidate
    accuracy: Interval
    chance_corrected: float | None
    usd_per_1k_tokens: float
    usd_per_1k_interval: Interval | None
    cpqu: float | None
    cpqu_interval: Interval | None
    usd_per_request: float | None
    usd_per_accepted: float | None
    usd_per_accepted_interval: Interval | None
    usd_with_errors: float | None

    def to_json(self) -> dict[str, Any]:
        """The row's entry in ``cpqu.json``."""
        graded = self.model.report.accuracy
        speed = self.model.throughput
        return {
            "semver": self.model.semver,
            "notes": self.model.notes,
            "engine": self.model.engine,
            "conjugation_accuracy": {"n": graded.n, "correct": graded.correct, **_ends(self.accuracy)},
            "chance_corrected_choice_accuracy": self.chance_corrected,
            "tokens_per_s": _speed(speed.tokens_per_s),
            "prefill_tokens_per_s": _speed(speed.prefill_tokens_per_s),
            "decode_tokens_per_s": _speed(speed.decode_tokens_per_s),
            "usd_per_1k_tokens": self.usd_per_1k_tokens,
            "usd_per_1k_tokens_interval": _low_high(self.usd_per_1k_interval),
            "cpqu": NOT_READY if self.cpqu is None else self.cpqu,
            "cpqu_interval": _low_high(self.cpqu_interval),
            "usd_per_request": self.usd_per_request,
            "usd_per_accepted_answer": self.usd_per_accepted,
            "usd_per_accepted_answer_interval": _low_high(self.usd_per_accepted_interval),
            "usd_per_answer_errors_priced": self.usd_with_errors,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """The inputs and the rows that follow from them, by semver."""

    inputs: CostInputs
    rows: tuple[Row, ...]

    @property
    def ready(self) -> tuple[Row, ...]:
        """Deployment-ready rows, lowest CpQU first; equal ones by higher accuracy, then digest."""
        priced = [(row.cpqu, -row.accuracy.value, row.model.digest, row) for row in self.rows if row.cpqu is not None]
        return tuple(entry[-1] for entry in sorted(priced, key=lambda entry: entry[:-1]))

    @property
    def by_accuracy(self) -> tuple[Row, ...]:
        """All rows, most accurate first; equal ones by lower cost, then digest."""
        return tuple(sorted(self.rows, key=lambda row: (-row.accuracy.value, row.usd_per_1k_tokens, row.model.digest)))

    def cpqu_json(self) -> dict[str, Any]:
        """``cpqu.json``: the rows keyed by digest."""
        return {row.model.digest: row.to_json() for row in self.rows}

    def manifest_json(self) -> dict[str, Any]:
        """``manifest.json``: which versions, which rate, which evaluation set, which method, which inputs."""
        return {
            "schema": SCHEMA,
            "digests": sorted(row.model.digest for row in self.rows),
            "semver": {row.model.semver: row.model.digest for row in self.rows},
            "rate": {
                "usd_per_hour": self.inputs.rate.usd_per_hour,
                "comment": self.inputs.rate.comment,
                "source": self.inputs.rate.source,
            },
            "eval_set_hash": self.inputs.eval_set_hash,
            "throughput_method": dict(self.inputs.throughput_method),
            "usd_per_error": self.inputs.usd_per_error,
            "cost_inputs_sha256": self.inputs.sha256,
            "significant_digits": DIGITS,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to serve, in figures; words are made of it in the report.

    Attributes
    ----------
    default : Row or None
        Lowest CpQU; None where no version is deployment-ready.
    premium : Row or None
        The most accurate version where it is another one and its lead is distinguishable.
    contender : Row or None
        The most accurate version where it is another one but its lead is not distinguishable.
    break_even_usd_per_error : float or None
        Price of a wrong answer above which the premium version is the cheaper one in all. [USD/error]
    cheapest_with_errors : Row or None
        Lowest cost per answer with wrong ones priced; None where a row has no such figure.
    """

    default: Row | None
    premium: Row | None = None
    contender: Row | None = None
    break_even_usd_per_error: float | None = None
    cheapest_with_errors: Row | None = None


def derive(inputs: CostInputs) -> CostTable:
    """Every row of the table; a pure function of the frozen inputs."""
    return CostTable(inputs=inputs, rows=tuple(_row(inputs, model) for model in inputs.models))


def advise(table: CostTable) -> Advice:
    """A default and, where the figures carry one, a premium version."""
    if not table.ready:
        return Advice(default=None)
    default = table.ready[0]
    priced = [(row.usd_with_errors, row.model.digest, row) for row in table.ready if row.usd_with_errors is not None]
    cheapest = min(priced, key=lambda entry: entry[:-1])[-1] if len(priced) == len(table.ready) else None
    best = table.by_accuracy[0]
    if best.accuracy.value == default.accuracy.value:
        return Advice(default=default, cheapest_with_errors=cheapest)
    if not accuracy_difference(best.model, default.model).distinguishable:
        return Advice(default=default, contender=best, cheapest_with_errors=cheapest)
    break_even = None
    if best.usd_per_request is not None and default.usd_per_request is not None:
        break_even = break_even_usd_per_error(
            (default.usd_per_request, default.accuracy.value), (best.usd_per_request, best.accuracy.value)
        )
    return Advice(
        default=default,
        premium=best,
        break_even_usd_per_error=_significant(break_even),
        cheapest_with_errors=cheapest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RequestCost:
    usd: float
    interval: Interval | None


def _row(inputs: CostInputs, model: Candidate) -> Row:
    graded = model.report.accuracy
    accuracy = Interval(value=graded.accuracy, low=graded.low, high=graded.high)
    choice = model.report.choice_accuracy
    rate = inputs.rate.usd_per_hour
    cost = usd_per_1k_tokens(rate, model.throughput.tokens_per_s.median)
    unit = cpqu(cost, accuracy.value)
    speeds = speed_interval(model.throughput.tokens_per_s)
    costs = None if speeds is None else inverse(speeds, rate / 3.6)
    request = _request_cost(rate, inputs.request_tokens, model.throughput)
    return Row(
        model=model,
        accuracy=_rounded(accuracy),
        chance_corrected=None
        if choice is None or inputs.choice_options is None
        else _significant(chance_corrected(choice.accuracy, inputs.choice_options)),
        usd_per_1k_tokens=_digits(cost),
        usd_per_1k_interval=None if costs is None else _rounded(costs),
        cpqu=_significant(unit),
        cpqu_interval=None if unit is None or costs is None else _rounded_or_none(ratio(costs, accuracy)),
        usd_per_request=None if request is None else _digits(request.usd),
        usd_per_accepted=None if request is None else _significant(usd_per_accepted(request.usd, accuracy.value)),
        usd_per_accepted_interval=None
        if request is None or request.interval is None
        else _rounded_or_none(ratio(request.interval, accuracy)),
        usd_with_errors=None
        if request is None
        else _digits(usd_with_errors(request.usd, accuracy.value, inputs.usd_per_error)),
    )


def _request_cost(rate: float, tokens: tuple[float, float] | None, speed: Throughput) -> _RequestCost | None:
    """Cost of a request of this many prompt and new tokens; None where a speed or the tokens were not recorded.

    One machine's prefill and decode are slowed by the same neighbours, so the ends of their intervals are taken
    together: both slow, both fast.
    """
    prefill, decode = speed.prefill_tokens_per_s, speed.decode_tokens_per_s
    if tokens is None or prefill is None or decode is None:
        return None

    def at(prefill_tokens_per_s: float, decode_tokens_per_s: float) -> float:
        return usd_per_request(
            rate,
            prompt_tokens=tokens[0],
            output_tokens=tokens[1],
            prefill_tokens_per_s=prefill_tokens_per_s,
            decode_tokens_per_s=decode_tokens_per_s,
        )

    middle = at(prefill.median, decode.median)
    if prefill.low is None or prefill.high is None or decode.low is None or decode.high is None:
        return _RequestCost(usd=middle, interval=None)
    ends = Interval(value=middle, low=at(prefill.high, decode.high), high=at(prefill.low, decode.low))
    return _RequestCost(usd=middle, interval=ends)


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _significant(value: float | None) -> float | None:
    return None if value is None else _digits(value)


def _rounded(interval: Interval) -> Interval:
    return Interval(value=_digits(interval.value), low=_digits(interval.low), high=_digits(interval.high))


def _rounded_or_none(interval: Interval | None) -> Interval | None:
    return None if interval is None else _rounded(interval)


def _ends(interval: Interval) -> dict[str, float]:
    return {"accuracy": interval.value, "low": interval.low, "high": interval.high}


def _low_high(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _speed(speed: Speed | None) -> Mapping[str, Any] | None:
    if speed is None:
        return None
    return {
        "median": _digits(speed.median),
        "low": _significant(speed.low),
        "high": _significant(speed.high),
        "n": speed.n,
        "coverage": _significant(speed.coverage),
    }
