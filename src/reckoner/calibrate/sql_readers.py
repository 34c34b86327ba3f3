"""Request logs of other tools, read into one row a request: model, tokens, seconds.

The form is found by looking at the first document. Sources of the forms: vLLM ``bench serve --save-detailed`` 0.32 and
its Rust client 0.33, SGLang 0.5.23 ``--output-details``, GuideLLM 0.8 reports, AIPerf 0.13 ``profile_export.jsonl``,
llmperf individual responses (2023), OpenTelemetry GenAI semantic conventions 1.36 and later as OTLP JSON, LiteLLM's
StandardLoggingPayload and spend logs, Langfuse observations, and the records of the seed's calibrator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from reckoner.errors import DamagedError, InputError, UnknownNameError
from reckoner.measure.importers.fields import FieldError

_WALL = ("guidellm", "aiperf")  # tools whose clock counts from 1970


class Request(NamedTuple):
    """One finished request."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    e2e_s: float
    ttft_s: float | None = None
    finished_at: float | None = None  # seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Requests of a file, and how many of its entries were none: failed, cancelled or without counts."""

    form: str
    requests: tuple[Request, ...]
    left_out: int


def read_log(path: str | Path, *, form: str | None = None, model: str | None = None) -> Log:
    """Read a tool's result file.

    Parameters
    ----------
    form : str, optional
        One of :data:`FORMS`; found out by default.
    model : str, optional
        Name to give to all requests; needed where the file names none.

    Raises
    ------
    UnknownNameError
        There is no such form.
    InputError
        The file is of no known form, or names no model.
    DamagedError
        The file is cut off or is no JSON; the message names the line.
    """
    source = Path(path)
    documents = _documents(source)
    if not documents:
        raise InputError(f"{source} is empty; give a log with at least one request")
    if form is None:
        form = detect(documents[0])
        if form is None:
            keys = ", ".join(sorted(documents[0])[:8]) if isinstance(documents[0], dict) else "no object"
            raise InputError(
                f"{source} is of no known form (it begins with {keys}); known are {', '.join(FORMS)}: "
                "name one with --format, or say which column is what with --map"
            )
    elif form not in FORMS:
        raise UnknownNameError.of("log format", form, FORMS)
    requests, left_out = [], 0
    try:
        rows = list(FORMS[form][1](documents))
    except FieldError as error:
        raise InputError(f"{source}: {error}") from error
    for found in rows:
        if found is None:
            left_out += 1
            continue
        name = model or found.model
        if not name:
            raise InputError(f"{source} names no model; give one with --model")
        requests.append(found._replace(model=name))
    if all(found.finished_at is not None for found in requests):
        requests.sort(key=lambda found: found.finished_at or 0.0)  # an outcome can be learned from once it is there
    return Log(form=form, requests=tuple(requests), left_out=left_out)


def detect(document: Any) -> str | None:
    """Form of a file whose first document this is; None when it is none that is known here."""
    if not isinstance(document, dict):
        return None
    return next((form for form, (fits, _) in FORMS.items() if fits(document)), None)


def _documents(source: Path) -> list[Any]:
    """JSON documents of a file: one, a list, or one a line."""
    try:
        content = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"no file {source}; check the path") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{source}: {error}; the file is no text") from error
    try:
        whole = json.loads(content)
    except json.JSONDecodeError as error:
        if "\n" not in content.strip():
            raise DamagedError(
                f"{source}, line {error.lineno}: {error.msg}; the file is cut off or is no JSON"
            ) from error
    else:
        return whole if isinstance(whole, list) else [whole]
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DamagedError(
                    f"{source}, line {number}: {error.msg}; the file is cut off or is no JSON"
                ) from error
    return found


Rows = Iterator[Request | None]


def _made(
    model: Any, prompt: Any, completion: Any, seconds: Any, ttft: Any = None, finished_at: float | None = None
) -> Request | None:
    """Request of figures that are there and possible; None otherwise."""
    if not (isinstance(prompt, int) and isinstance(completion, int) and isinstance(seconds, (int, float))):
        return None
    if prompt < 0 or completion < 0 or not 0 < seconds < float("inf"):
        return None
    return Request(
        model if isinstance(model, str) else "",
        prompt,
        completion,
        float(seconds),
        float(ttft) if isinstance(ttft, (int, float)) and ttft > 0 else None,
        finished_at,
    )


def _results(tool: str) -> Callable[[Iterable[Any]], Rows]:
    """Requests of a load generator's results, by its importer; those that failed or lack a count are None."""

    def read(documents: Iterable[Any]) -> Rows:
        from reckoner.measure.importers.read import read_documents

        for run in read_documents(list(documents), tool=tool):
            if not run.requests and run.completed:
                raise FieldError(
                    f"{run.run or tool} states statistics of {run.completed} requests and holds none of them; "
                    f"run the tool "
                    "again so that it saves each request (--save-detailed, --output-details), or see reckoner import"
                )
            for one in run.requests:
                known = tool in _WALL and one.start_s is not None and one.seconds is not None
                ended = (one.start_s or 0.0) + (one.seconds or 0.0) if known else None
                yield (
                    None
                    if one.error is not None
                    else _made(run.model, one.prompt_tokens, one.output_tokens, one.seconds, one.ttft_s, ended)
                )

    return read


def _otel(documents: Iterable[Any]) -> Rows:
    """OTLP JSON: spans that carry ``gen_ai.usage``; others are steps around a request and are passed over."""
    for told in documents:
        for resource in told["resourceSpans"]:
            for scope in resource.get("scopeSpans", ()):
                for span in scope.get("spans", ()):
                    values = {entry["key"]: _otel_value(entry["value"]) for entry in span.get("attributes", ())}
                    prompt = values.get("gen_ai.usage.input_tokens", values.get("gen_ai.usage.prompt_tokens"))
                    completion = values.get("gen_ai.usage.output_tokens", values.get("gen_ai.usage.completion_tokens"))
                    if prompt is None and completion is None:
                        continue
                    if span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR") or "error.type" in values:
                        yield None
                        continue
                    seconds = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e9
                    model = values.get("gen_ai.response.model") or values.get("gen_ai.request.model")
                    first, end = values.get("gen_ai.latency.time_to_first_token"), int(span["endTimeUnixNano"]) / 1e9
                    yield _made(model, prompt, completion, seconds, first, end)


def _litellm(documents: Iterable[Any]) -> Rows:
    """Start and end are used: ``response_time`` is the time to first token where the answer was streamed."""
    for told in documents:
        if told.get("status") not in (None, "success") or told.get("cache_hit") in (True, "True"):
            yield None
            continue
        first = told.get("completionStartTime")
        start = _moment(told["startTime"])
        yield _made(
            told.get("model"),
            told.get("prompt_tokens"),
            told.get("completion_tokens"),
            _moment(told["endTime"]) - start,
            None if first is None else _moment(first) - start,
            _moment(told["endTime"]),
        )


def _langfuse(documents: Iterable[Any]) -> Rows:
    for told in documents:
        if told.get("type") != "GENERATION":
            continue  # spans and events around the calls
        usage = told.get("usageDetails") or told.get("usage") or {}
        if told.get("level") == "ERROR" or not told.get("endTime"):
            yield None
            continue
        start, first = _moment(told["startTime"]), told.get("completionStartTime")
        yield _made(
            told.get("model"),
            usage.get("input"),
            usage.get("output"),
            _moment(told["endTime"]) - start,
            None if first is None else _moment(first) - start,
            _moment(told["endTime"]),
        )


def _seed(documents: Iterable[Any]) -> Rows:
    for told in documents:
        yield _made(told["model"], told["prompt_tokens"], told.get("completion_tokens", 0), told["actual_ms"] / 1e3)


def _has(*keys: str) -> Callable[[dict[str, Any]], bool]:
    return lambda document: all(key in document for key in keys)


FORMS: dict[str, tuple[Callable[[dict[str, Any]], bool], Callable[[Iterable[Any]], Rows]]] = {
    "vllm": (_has("input_lens", "output_lens", "ttfts", "itls", "model_id"), _results("vllm-bench")),
    "sglang": (_has("input_lens", "output_lens", "ttfts", "itls"), _results("sglang-bench")),
    "guidellm": (_has("benchmarks", "metadata"), _results("guidellm")),
    "aiperf": (_has("metadata", "metrics"), _results("aiperf")),
    "llmperf": (_has("number_input_tokens", "number_output_tokens", "end_to_end_latency_s"), _results("llmperf")),
    "otel": (_has("resourceSpans"), _otel),
    "litellm": (_has("prompt_tokens", "completion_tokens", "startTime", "endTime"), _litellm),
    "langfuse": (_has("startTime", "endTime", "type"), _langfuse),
    "seed": (_has("model", "prompt_tokens", "actual_ms"), _seed),
}
"""Form -> (does a first document look like it, its reader). The first that fits is taken."""


def _otel_value(value: dict[str, Any]) -> Any:
    """Value of an OTLP attribute; integers are texts there."""
    if "intValue" in value:
        return int(value["intValue"])
    return value.get("stringValue", value.get("doubleValue", value.get("boolValue")))


def _moment(value: Any) -> float:
    """Seconds since 1970 of a number or an ISO 8601 text."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return datetime.fromisoformat(str(value).replace(" UTC", "+00:00")).timestamp()
    except ValueError as error:
        raise InputError(f"time is {value!r}; times are seconds or ISO 8601 texts") from error
