"""What a ledger keeps: predictions, observations and decisions, checked once and written in one canonical form."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, NamedTuple

from reckoner.errors import InputError, UnknownNameError

GENESIS = "0" * 64  # what the first entry's hash continues
# Limits of plausibility, assumptions: a larger number is a slip of units, and one such row would spoil every mean.
MAX_TOKENS = 10**9
MAX_SECONDS = 1e7
MAX_FIGURE = 1e18
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_NAME = 512


class Id(NamedTuple):
    """Where an entry stands and what it says: its number in the chain and its hash.

    >>> str(Id(7, "ab" * 32))
    '7-abababababab'
    """

    seq: int
    hash: str

    def __str__(self) -> str:
        """Short form for people; :meth:`reckoner.ledger.Ledger.find` reads it back."""
        return f"{self.seq}-{self.hash[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A predicted value with its interval.

    Raises
    ------
    InputError
        A number is negative, not finite or a boolean; one end of the interval is missing, or the ends are swapped.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Check the three numbers."""
        object.__setattr__(self, "value", number("value", self.value))
        if (self.low is None) != (self.high is None):
            raise InputError(f"low is {self.low} and high is {self.high}; give both ends of an interval or neither")
        if self.low is not None and self.high is not None:
            object.__setattr__(self, "low", number("low", self.low))
            object.__setattr__(self, "high", number("high", self.high))
            if self.low > self.high:
                raise InputError(f"low is {self.low}, above high {self.high}; swap the ends of the interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionEntry:
    """What someone or something expects of a subject, before its outcome is known.

    Parameters
    ----------
    subject : str
        What is predicted: a request's id, a run's name. Observations of the same subject are its outcomes.
    predictor : str
        Who predicts: ``"physics"``, ``"calibrator"``, a person's name.
    figures : mapping of str to Figure or float
        Metric name with unit suffix (``"e2e_s"``) to its prediction. [SI]
    level : float, optional
        Probability that the intervals are meant to hold.
    inputs : mapping, optional
        What was known: model, tokens, device, ... JSON values.
    """

    subject: str
    predictor: str
    figures: Mapping[str, Figure]
    level: float = 0.9
    inputs: Mapping[str, Any] = field(default_factory=dict)

    kind = "prediction"

    def __post_init__(self) -> None:
        """Check names and numbers; a bare number becomes a figure without an interval."""
        name("subject", self.subject)
        name("predictor", self.predictor)
        level = number("level", self.level)
        if not 0 < level < 1:
            raise InputError(f"level is {self.level}; a probability lies between 0 and 1, such as 0.9")
        _inputs(self.inputs)
        kept: dict[str, Figure] = {}
        for metric, figure in _figures(self.figures).items():
            try:
                kept[metric] = figure if isinstance(figure, Figure) else Figure(value=figure)
            except InputError as error:
                raise InputError(f"{metric}: {error}") from error
        object.__setattr__(self, "figures", kept)

    def content(self) -> dict[str, Any]:
        """Everything but number and time, as JSON values."""
        figures: dict[str, Any] = {}
        for metric, figure in self.figures.items():
            figures[metric] = {"value": figure.value}
            if figure.low is not None:
                figures[metric].update(low=figure.low, high=figure.high)
        return {
            "kind": self.kind,
            "subject": self.subject,
            "predictor": self.predictor,
            "figures": figures,
            "level": self.level,
            "inputs": dict(self.inputs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationEntry:
    """What happened: measured figures of a subject, in SI."""

    subject: str
    figures: Mapping[str, float]
    inputs: Mapping[str, Any] = field(default_factory=dict)

    kind = "observation"

    def __post_init__(self) -> None:
        """Check names and numbers."""
        name("subject", self.subject)
        _inputs(self.inputs)
        kept = {metric: number(metric, value) for metric, value in _figures(self.figures).items()}
        object.__setattr__(self, "figures", kept)

    def content(self) -> dict[str, Any]:
        """Everything but number and time, as JSON values."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "figures": dict(self.figures),
            "inputs": dict(self.inputs),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEntry:
    """What was chosen, why, and on which predictions it rests."""

    subject: str
    choice: str
    because: str = ""
    based_on: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    kind = "decision"

    def __post_init__(self) -> None:
        """Check names."""
        name("subject", self.subject)
        if not isinstance(self.choice, str) or not self.choice:
            raise InputError(f"choice is {self.choice!r}; say in a text what was chosen")
        object.__setattr__(self, "based_on", tuple(str(item) for item in self.based_on))
        _inputs(self.details, "details")

    def content(self) -> dict[str, Any]:
        """Everything but number and time, as JSON values."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "choice": self.choice,
            "because": self.because,
            "based_on": list(self.based_on),
            "details": dict(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """An entry of another kind that the ledger writes about itself: tally, seal, import."""

    kind: str
    subject: str
    body: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check names and numbers."""
        if self.kind not in ("tally", "seal", "import"):
            raise InputError(f"kind is {self.kind!r}; a raw entry is a tally, a seal or an import")
        name("subject", self.subject)
        _inputs(self.body, "body")

    def content(self) -> dict[str, Any]:
        """Everything but number and time, as JSON values."""
        return {"kind": self.kind, "subject": self.subject, "body": dict(self.body)}


Entry = PredictionEntry | ObservationEntry | DecisionEntry | RawEntry


def request(
    subject: str,
    *,
    model: str,
    prompt_tokens: int,
    e2e_s: float,
    completion_tokens: int | None = None,
    **inputs: Any,
) -> ObservationEntry:
    """Observation of one finished request, with the token counts that a forecast needs.

    Raises
    ------
    InputError
        A count is negative, a boolean or absurd, or the time is not a positive number of seconds.

    >>> request("r1", model="llama-3.1-8b", prompt_tokens=512, completion_tokens=128, e2e_s=3.4).figures
    {'e2e_s': 3.4}
    """
    name("model", model)
    seconds = number("e2e_s", e2e_s)
    if not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"e2e_s is {e2e_s}; a request takes more than 0 and at most {MAX_SECONDS:g} s")
    told: dict[str, Any] = {"model": model, "prompt_tokens": tokens("prompt_tokens", prompt_tokens)}
    if completion_tokens is not None:
        told["completion_tokens"] = tokens("completion_tokens", completion_tokens)
    return ObservationEntry(subject=subject, figures={"e2e_s": seconds}, inputs={**inputs, **told})


def tokens(field_name: str, value: Any) -> int:
    """Check a token count: an integer from 0 to :data:`MAX_TOKENS`, and no boolean."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) <= MAX_TOKENS:
        raise InputError(f"{field_name} is {value!r}; token counts are integers from 0 to {MAX_TOKENS}")
    return int(value)


def number(field_name: str, value: Any) -> float:
    """Check a figure: finite, not negative, no boolean, at most :data:`MAX_FIGURE`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{field_name} is {value!r}; give a number")
    if not math.isfinite(value) or not 0 <= float(value) <= MAX_FIGURE:
        raise InputError(f"{field_name} is {value}; figures are finite, from 0 to {MAX_FIGURE:g}")
    return float(value)


def name(field_name: str, value: Any) -> str:
    """Check a name: printable text that every database can store."""
    if not isinstance(value, str) or not value or len(value) > _MAX_NAME or not value.isprintable():
        raise InputError(f"{field_name} is {value!r:.80}; names are 1 to {_MAX_NAME} printable characters on one line")
    return value


def canonical(body: Mapping[str, Any]) -> str:
    r"""One line of JSON with sorted keys in ASCII: same content, same bytes, whatever the database's encoding.

    >>> canonical({"b": 1.5, "a": "ü"})
    '{"a":"\\u00fc","b":1.5}'
    """
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def chain_hash(prev: str, body: str) -> str:
    """Hash of an entry: SHA-256 of the previous entry's hash followed by this entry's canonical JSON."""
    return hashlib.sha256((prev + body).encode()).hexdigest()


def restore(body: Mapping[str, Any]) -> Entry:
    """Make the entry again from its stored JSON.

    Raises
    ------
    UnknownNameError
        The kind of entry is not known to this version.
    """
    kind = body["kind"]
    if kind == "prediction":
        figures = {metric: Figure(**figure) for metric, figure in body["figures"].items()}
        return PredictionEntry(
            subject=body["subject"],
            predictor=body["predictor"],
            figures=figures,
            level=body["level"],
            inputs=body["inputs"],
        )
    if kind == "observation":
        return ObservationEntry(subject=body["subject"], figures=body["figures"], inputs=body["inputs"])
    if kind == "decision":
        keys = ("subject", "choice", "because", "based_on", "details")
        return DecisionEntry(**{key: body[key] for key in keys})
    if kind in ("tally", "seal", "import"):
        return RawEntry(kind=kind, subject=body["subject"], body=body["body"])
    raise UnknownNameError.of("kind of entry", str(kind), ("prediction", "observation", "decision", "tally", "seal"))


def _figures(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(figures, Mapping) or not figures:
        raise InputError(f"figures is {figures!r}; give at least one metric with its value, such as e2e_s")
    for metric in figures:
        if not isinstance(metric, str) or not _METRIC.fullmatch(metric):
            raise InputError(f"metric is {metric!r}; metrics are lower-case names with their unit, such as e2e_s")
    return figures


def _inputs(value: Mapping[str, Any], path: str = "inputs") -> None:
    """Refuse what JSON cannot carry unchanged."""
    if not isinstance(value, Mapping):
        raise InputError(f"{path} is {value!r:.80}; give a mapping of names to JSON values")
    _json_value(dict(value), path)


def _json_value(value: Any, path: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{path} is {value}; the ledger holds finite numbers only, use null where there is none")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{path} has the key {key!r}; keys are texts")
            _json_value(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _json_value(item, f"{path}[{index}]")
    else:
        raise InputError(f"{path} is a {type(value).__name__}; the ledger holds JSON values only")
