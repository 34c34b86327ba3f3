"""The frozen inputs of the price table: what was measured and recorded by hand, read with the path of every error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from reckoner.errors import InputError, MixedSetsError, ReckonerError, UnknownNameError
from reckoner.evaluate.report import Report
from reckoner.files import canonical_json, read_json, sha256, write_json

SCHEMA: Final = 1

# A tenth of a cent per wrong answer that a learner is shown: assumption, to be replaced by the reader's own figure.
USD_PER_ERROR: Final = 0.001

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What an hour of the hardware costs, who says so and what it covers."""

    usd_per_hour: float
    comment: str
    source: str

    def __post_init__(self) -> None:
        """Refuse a rate that would make every cost zero, negative or undefined."""
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour > 0):
            raise ValueError(
                f"usd_per_hour is {self.usd_per_hour}; give the rate of the hardware, above 0 USD per hour"
            )
        for field, text in (("comment", self.comment), ("source", self.source)):
            if not text.strip():
                raise ValueError(f"{field} is empty; say what the rate covers and where it comes from")


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second: median of ``n`` repeats; no interval where the repeats are too few for one."""

    median: float
    n: int
    low: float | None = None
    high: float | None = None
    coverage: float | None = None

    def __post_init__(self) -> None:
        """Refuse speeds that cost nothing or make no sense."""
        for field, value in (("median", self.median), ("low", self.low), ("high", self.high)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field} is {value}; a speed is a finite number above 0 per second")
        if self.n < 1:
            raise ValueError(f"n is {self.n}; a median needs at least one repeat")
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise ValueError(f"coverage is {self.coverage}; it is the share that the interval holds, above 0 up to 1")
        if (self.low is None) != (self.high is None):
            raise ValueError("one of low and high is missing; give both ends or neither")
        if self.low is not None and self.high is not None and not self.low <= self.median <= self.high:
            raise ValueError(f"[{self.low}, {self.high}] does not hold the median {self.median}; measure again")


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """What one repeat of the throughput test did; the sizes of its requests are read from here."""

    requests: int
    prompt_tokens: int
    new_tokens: int

    def __post_init__(self) -> None:
        """Refuse sizes that no request has: they would price it at nothing or less."""
        for field, value in (
            ("requests", self.requests),
            ("prompt_tokens", self.prompt_tokens),
            ("new_tokens", self.new_tokens),
        ):
            if value < 1:
                raise ValueError(f"{field} is {value}; a repeat counts at least 1, measure again")


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Measured speeds of one version; prefill and decode apart where the engine tells them apart."""

    tokens_per_s: Speed
    prefill_tokens_per_s: Speed | None = None
    decode_tokens_per_s: Speed | None = None
    repeats: tuple[Repeat, ...] = ()
    batch: int = 1
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a batch or a utilisation that nothing runs at."""
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; give the number of requests served at once, at least 1")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation is {self.utilisation}; give the busy share of the time, above 0 up to 1")


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    semver: str
    notes: str
    engine: str
    throughput: Throughput
    eval_report: dict[str, Any]


class _File(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    rate: Rate
    eval_set_hash: str
    throughput_method: dict[str, Any]
    models: dict[str, Any]
    usd_per_error: float = USD_PER_ERROR
    choice_options: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One registered version with all that its row is made of."""

    digest: str
    semver: str
    notes: str
    engine: str
    throughput: Throughput
    report: Report

    @property
    def short(self) -> str:
        """First eight digits of the digest."""
        return self.digest[:8]

    @property
    def label(self) -> str:
        """How sentences call it: ``v0.1.0 (`a1b2c3d4`)``."""
        return f"{self.semver} (`{self.short}`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostInputs:
    """All frozen inputs; the digest of their file says which ones a table was made from.

    Attributes
    ----------
    usd_per_error : float
        What a wrong answer costs that nobody detects. [USD/error]
    choice_options : int or None
        Fewest candidates of a probe: a guess is right once in that many at best. None where it is not recorded.
    models : tuple of Candidate
        By semver, then digest.
    sha256 : str
        Digest of the file's bytes.
    """

    rate: Rate
    eval_set_hash: str
    throughput_method: Mapping[str, Any]
    usd_per_error: float
    choice_options: int | None
    models: tuple[Candidate, ...]
    sha256: str

    @property
    def request_tokens(self) -> tuple[float, float] | None:
        """Mean prompt tokens and new tokens of one request of the throughput test.

        Over all versions together, so that every row is priced on the same request; None where a version's repeats are
        not recorded.
        """
        repeats = [repeat for model in self.models for repeat in model.throughput.repeats]
        requests = sum(repeat.requests for repeat in repeats)
        if requests < 1 or not all(model.throughput.repeats for model in self.models):
            return None
        prompt = sum(repeat.prompt_tokens for repeat in repeats)
        return prompt / requests, sum(repeat.new_tokens for repeat in repeats) / requests

    def model(self, name: str) -> Candidate:
        """The version that a semver, a digest or its first digits (at least 8) name.

        Raises
        ------
        UnknownNameError
            There is none, or several share those digits.
        """
        found = [m for m in self.models if name == m.semver or (len(name) >= 8 and m.digest.startswith(name))]
        if len(found) != 1:
            raise UnknownNameError.of("version", name, [m.semver for m in self.models] + [m.short for m in self.models])
        return found[0]


def load_inputs(path: str | Path) -> CostInputs:
    """Read and check ``cost_inputs.json``.

    Raises
    ------
    InputError
        The file is missing, or a field is missing, of another type or impossible; the message gives file and field.
    MixedSetsError
        A version was graded on another evaluation set; the message names each one.
    DamagedError
        The file is truncated or not JSON.
    """
    source = Path(path)
    content = read_json(source)
    return parse_inputs(content, name=source.name, digest=sha256(source.read_bytes()))


def parse_inputs(content: Any, *, name: str = "cost_inputs.json", digest: str | None = None) -> CostInputs:
    """Check the inputs as plain JSON values; see :func:`load_inputs`."""
    file = _convert(content, _File, name, "$")
    if file.schema != SCHEMA:
        raise InputError(f"{name}: schema is {file.schema}, this version reads {SCHEMA}; freeze the inputs again")
    if not file.models:
        raise InputError(f"{name}: models is empty; freeze at least one version with its throughput and eval report")
    if not (math.isfinite(file.usd_per_error) and file.usd_per_error >= 0):
        raise InputError(f"{name}: usd_per_error is {file.usd_per_error}; give a finite price of 0 or more")
    if file.choice_options is not None and file.choice_options < 2:
        raise InputError(f"{name}: choice_options is {file.choice_options}; a choice has at least 2 options")
    models = tuple(
        sorted(
            (_candidate(key, value, name) for key, value in file.models.items()),
            key=lambda model: (_version_key(model.semver), model.digest),
        )
    )
    _refuse_mixed_sets(models, file.eval_set_hash, name)
    return CostInputs(
        rate=file.rate,
        eval_set_hash=file.eval_set_hash,
        throughput_method=file.throughput_method,
        usd_per_error=file.usd_per_error,
        choice_options=file.choice_options,
        models=models,
        sha256=digest or sha256(canonical_json(content)),
    )


def freeze_inputs(path: str | Path, content: Mapping[str, Any]) -> CostInputs:
    """Check ``content``, then write it as the frozen inputs; nothing is written when it is not whole.

    Parameters
    ----------
    content : mapping
        ``{"schema": 1, "rate": {"usd_per_hour", "comment", "source"}, "eval_set_hash", "throughput_method",
        "usd_per_error" and "choice_options" (both optional),
        "models": {digest: {"semver", "notes", "engine", "throughput", "eval_report"}}}``
        with ``throughput`` as :meth:`reckoner.measure.throughput.Throughput.to_json` gives it and ``eval_report`` as
        :meth:`reckoner.evaluate.report.Report.to_json` does.
    """
    parse_inputs(content, name=Path(path).name)
    return load_inputs(write_json(path, dict(content)))


def _convert(value: Any, kind: type[_T], name: str, where: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        field = where + place.rstrip("`").removeprefix("$") if place else where
        remedy = "" if ";" in message else "; add or correct it"
        raise InputError(f"{name}, {field}: {message[:1].lower()}{message[1:]}{remedy}") from error


def _candidate(digest: str, value: Any, name: str) -> Candidate:
    where = f"$.models.{digest[:8]}"
    if _DIGEST.fullmatch(digest) is None:
        raise InputError(f"{name}: models has the key {digest!r}; a key is the version's whole digest, 64 hex digits")
    if isinstance(value, dict) and value.get("throughput") is None:
        raise InputError(
            f"{name}, {where}.throughput: missing for {value.get('semver', 'a version')}; "
            "run the throughput test for it and freeze the inputs again"
        )
    model = _convert(value, _Model, name, where)
    try:
        report = Report.from_json(model.eval_report)
    except ReckonerError as error:
        raise InputError(f"{name}, {where}.eval_report: {error}") from error
    if report.model_digest != digest:
        raise InputError(
            f"{name}, {where}.eval_report.model_digest: {report.model_digest[:8]} was graded, not {digest[:8]}; "
            "put each report under the version that it grades"
        )
    return Candidate(
        digest=digest,
        semver=model.semver,
        notes=model.notes,
        engine=model.engine,
        throughput=model.throughput,
        report=report,
    )


def _version_key(semver: str) -> tuple[tuple[int, ...], str]:
    """Order v0.10.0 after v0.9.0."""
    return tuple(int(part) for part in re.findall(r"\d+", semver)), semver


def _refuse_mixed_sets(models: tuple[Candidate, ...], expected: str, name: str) -> None:
    strangers = [model for model in models if model.report.eval_set_hash != expected]
    if strangers:
        seen = ", ".join(f"{model.semver} ({model.short}) on {model.report.eval_set_hash[:8]}" for model in strangers)
        raise MixedSetsError(
            f"{name}: eval_set_hash is {expected[:8]}, but {seen}; grade every version on one evaluation set"
        )
