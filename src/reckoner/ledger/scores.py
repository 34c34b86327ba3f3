"""How good forecasts were: sums that add up over hours, models and machines, and the score read from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reckoner.errors import InputError
from reckoner.ledger.entries import number

# Bins of absolute percentage error grow by this factor: a quantile read from them is off by at most 1% of itself.
# Masson, Rim, Lee, "DDSketch", VLDB 2019, sec. 2.1 (relative accuracy (g - 1)/(g + 1)).
_GROWTH = 1.02
_LOG_GROWTH = math.log(_GROWTH)
_SMALLEST = 1e-6  # a smaller error is counted as this one


class Key(NamedTuple):
    """What sums are kept apart by."""

    predictor: str
    metric: str
    model: str
    hour: str


@dataclass(slots=True)
class Sums:
    """Additive statistics of forecasts against outcomes; two of them merge into what one would have counted.

    >>> sums = Sums()
    >>> sums.add(predicted=1.1, observed=1.0, low=0.9, high=1.3)
    >>> sums.add(predicted=2.0, observed=4.0, low=1.5, high=2.5)
    >>> sums.n, sums.covered, round(sums.ape / sums.n, 3)
    (2, 1, 0.3)
    """

    n: int = 0
    skipped: int = 0  # outcomes of 0, which have no relative error
    ape: float = 0.0
    error: float = 0.0
    predicted: float = 0.0
    observed: float = 0.0
    intervals: int = 0
    covered: int = 0
    level: float = 0.0
    width: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        *,
        predicted: float,
        observed: float,
        low: float | None = None,
        high: float | None = None,
        level: float = 0.9,
    ) -> None:
        """Count one forecast and its outcome.

        Raises
        ------
        InputError
            A number is negative or not finite; nothing is counted then.
        """
        f, y = number("predicted", predicted), number("observed", observed)
        if y == 0:
            self.skipped += 1
            return
        relative = (f - y) / y
        self.n += 1
        self.ape += abs(relative)
        self.error += relative
        self.predicted += f
        self.observed += y
        slot = math.ceil(math.log(max(abs(relative), _SMALLEST)) / _LOG_GROWTH)
        self.bins[slot] = self.bins.get(slot, 0) + 1
        if low is not None and high is not None:
            self.intervals += 1
            self.covered += int(low <= y <= high)
            self.level += float(level)
            self.width += float(high - low) / y

    def merge(self, other: Sums) -> Sums:
        """Sum of both, as a new object."""
        bins = dict(self.bins)
        for slot, count in other.bins.items():
            bins[slot] = bins.get(slot, 0) + count
        return Sums(**{part: getattr(self, part) + getattr(other, part) for part in _ADDITIVE}, bins=bins)

    def to_json(self) -> dict[str, Any]:
        """JSON values; :meth:`from_json` reads them back."""
        return {
            **{part: getattr(self, part) for part in _ADDITIVE},
            "bins": {str(slot): count for slot, count in sorted(self.bins.items())},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Sums:
        """Read what :meth:`to_json` wrote."""
        bins = {int(slot): count for slot, count in told["bins"].items()}
        return cls(**{part: told[part] for part in _ADDITIVE}, bins=bins)

    def quantile(self, q: float) -> float | None:
        """Quantile of the absolute percentage error, within 1% of itself; None without a single outcome."""
        if self.n == 0:
            return None
        rank, seen = math.ceil(q * self.n), 0
        for slot in sorted(self.bins):
            seen += self.bins[slot]
            if seen >= rank:
                # the middle of a geometric bin halves the worst relative error
                return 2 * math.exp(slot * _LOG_GROWTH) / (_GROWTH + 1)
        return None


_ADDITIVE = ("n", "skipped", "ape", "error", "predicted", "observed", "intervals", "covered", "level", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good one predictor was at one metric.

    Attributes
    ----------
    median_ape, mean_ape, p90_ape : float or None
        Absolute percentage error |f - y| / y, as a share. Median and P90 are exact to 1% of themselves.
    bias : float or None
        Mean of (f - y) / y: positive when forecasts are too high.
    coverage : float or None
        Share of outcomes inside their interval; None where no interval was given.
    level : float or None
        What coverage should be.
    width : float or None
        Mean of (high - low) / y.
    """

    predictor: str
    metric: str
    model: str | None
    n: int
    skipped: int
    median_ape: float | None
    mean_ape: float | None
    p90_ape: float | None
    bias: float | None
    coverage: float | None
    level: float | None
    width: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {part: getattr(self, part) for part in self.__slots__}


class Tally:
    """Scores forecasts in aggregate, so that a busy service writes one entry an hour and not one a request.

    >>> tally = Tally()
    >>> tally.add("calibrator", "llama-3.1-8b", predicted=3.0, observed=3.4, hour="2026-11-20T14")
    >>> [score.n for score in scores(tally.sums)]
    [1]
    """

    def __init__(self) -> None:
        self.sums: dict[Key, Sums] = {}

    def add(  # noqa: PLR0913 - the numbers of one forecast
        self,
        predictor: str,
        model: str,
        *,
        predicted: float,
        observed: float,
        hour: str,
        metric: str = "e2e_s",
        low: float | None = None,
        high: float | None = None,
        level: float = 0.9,
    ) -> None:
        """Count one forecast; ``hour`` is the first 13 characters of the outcome's UTC time."""
        key = Key(predictor, metric, model, hour)
        sums = self.sums.get(key) or Sums()
        sums.add(predicted=predicted, observed=observed, low=low, high=high, level=level)
        self.sums[key] = sums

    def rows(self) -> list[dict[str, Any]]:
        """JSON values, sorted; :func:`read_rows` reads them back."""
        return [{**key._asdict(), "sums": self.sums[key].to_json()} for key in sorted(self.sums)]

    def __len__(self) -> int:
        """Forecasts counted."""
        return sum(sums.n + sums.skipped for sums in self.sums.values())


def read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Key, Sums]]:
    """Read what :meth:`Tally.rows` wrote."""
    for row in rows:
        key = Key(row["predictor"], row["metric"], row["model"], row["hour"])
        yield key, Sums.from_json(row["sums"])


def scores(sums: Mapping[Key, Sums], *, by_model: bool = False) -> tuple[Score, ...]:
    """Merge sums over hours, and over models unless ``by_model``, and read a score for each predictor and metric."""
    merged: dict[tuple[str, str, str | None], Sums] = {}
    for key, part in sums.items():
        group = (key.metric, key.predictor, key.model if by_model else None)
        merged[group] = merged[group].merge(part) if group in merged else part
    found = []
    for metric, predictor, model in sorted(merged, key=lambda group: (group[0], group[1], group[2] or "")):
        part = merged[metric, predictor, model]
        some, sure = part.n > 0, part.intervals > 0
        found.append(
            Score(
                predictor=predictor,
                metric=metric,
                model=model,
                n=part.n,
                skipped=part.skipped,
                median_ape=part.quantile(0.5),
                mean_ape=part.ape / part.n if some else None,
                p90_ape=part.quantile(0.9),
                bias=part.error / part.n if some else None,
                coverage=part.covered / part.intervals if sure else None,
                level=part.level / part.intervals if sure else None,
                width=part.width / part.intervals if sure else None,
            )
        )
    return tuple(found)


def hour_of(at: str) -> str:
    """Hour of a UTC time stamp: ``"2026-11-20T14"``.

    Raises
    ------
    InputError
        The text is no time stamp.
    """
    if not isinstance(at, str) or len(at) < 13 or at[10] != "T":
        raise InputError(f"at is {at!r}; time stamps look like 2026-11-20T14:05:00.000000Z")
    return at[:13]
