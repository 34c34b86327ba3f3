"""``reckoner record``: commit a prediction, an outcome, a decision, a request, or a whole log of them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._ledger import json_option, ledger_option, opened, print_json, progress

if TYPE_CHECKING:
    from reckoner.ledger import Figure, Id

_BATCH = 1000  # requests of a log in one transaction: one wait for the disk in a thousand


@click.group()
def command() -> None:
    """Commit predictions, outcomes and decisions to the ledger.

    \b
    Example:
      reckoner record prediction run-7 --by ann e2e_s=3.5
      reckoner record observation run-7 e2e_s=3.9
      reckoner record request llama-3.1-8b -p 512 -c 128 --ms 3400
      reckoner record log vllm_bench.json
    """  # noqa: D301 - click reads the backspace as "keep these lines"


@command.command()
@click.argument("model")
@click.option("-p", "--prompt-tokens", type=int, required=True, help="Tokens of the prompt.")
@click.option("-c", "--completion-tokens", type=int, help="Tokens generated; leave out where unknown.")
@click.option("--ms", type=float, required=True, help="Time from request to last token. [ms]")
@click.option("--id", "subject", help="Its id, where a forecast was committed for it.")
@ledger_option
@json_option
def request(
    model: str,
    prompt_tokens: int,
    completion_tokens: int | None,
    ms: float,
    subject: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Record one finished request."""
    from reckoner.ledger import request as finished

    entry = finished(
        subject or _new_id(),
        model=model,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        e2e_s=ms / 1e3,
    )
    with opened(url, create=True) as ledger:
        _said(ledger.record(entry), as_json)


@command.command()
@click.argument("subject")
@click.argument("figures", nargs=-1, required=True)
@click.option("--by", required=True, help="Who predicts: a person's name, physics, ...")
@click.option("--level", type=float, default=0.9, show_default=True, help="Probability of the intervals.")
@click.option("--model", help="The model that it is about.")
@ledger_option
@json_option
def prediction(
    subject: str, figures: tuple[str, ...], by: str, level: float, model: str | None, url: str, as_json: bool
) -> None:
    """Commit a prediction before its outcome is known.

    FIGURES are METRIC=VALUE or METRIC=VALUE:LOW:HIGH in SI, such as e2e_s=3.5:3.0:4.2.
    """
    with opened(url, create=True) as ledger:
        inputs = {} if model is None else {"model": model}
        _said(ledger.predict(subject, by, dict(_figure(text) for text in figures), level=level, inputs=inputs), as_json)


@command.command()
@click.argument("subject")
@click.argument("figures", nargs=-1, required=True)
@click.option("--model", help="The model that it is about.")
@ledger_option
@json_option
def observation(subject: str, figures: tuple[str, ...], model: str | None, url: str, as_json: bool) -> None:
    """Commit an outcome.

    FIGURES are METRIC=VALUE in SI, such as e2e_s=3.9.
    """
    from reckoner.errors import InputError

    values = {}
    for text in figures:
        metric, figure = _figure(text)
        if figure.low is not None:
            raise InputError(f"{text}: an outcome has one value and no interval")
        values[metric] = figure.value
    with opened(url, create=True) as ledger:
        _said(ledger.observe(subject, values, inputs={} if model is None else {"model": model}), as_json)


@command.command()
@click.argument("subject")
@click.argument("choice")
@click.option("--because", default="", help="Why.")
@click.option("--based-on", multiple=True, help="An entry that it rests on; may be given again.")
@click.option("--details", help="More, as a JSON object.")
@ledger_option
@json_option
def decision(
    subject: str, choice: str, because: str, based_on: tuple[str, ...], details: str | None, url: str, as_json: bool
) -> None:
    """Commit a decision with its reason."""
    from reckoner.errors import InputError

    try:
        told = {} if details is None else json.loads(details)
    except json.JSONDecodeError as error:
        raise InputError(f"--details is no JSON ({error.msg} at {error.pos}); write an object") from error
    with opened(url, create=True) as ledger:
        _said(ledger.decide(subject, choice, because=because, based_on=based_on, details=told), as_json)


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", help="vllm, sglang, guidellm, aiperf, llmperf, otel, litellm, langfuse or seed.")
@click.option("--model", help="Name for all requests, where the file names none.")
@ledger_option
@json_option
def log(files: tuple[Path, ...], form: str | None, model: str | None, url: str, as_json: bool) -> None:
    """Record all requests of other tools' result files.

    \b
    Example:
      reckoner record log vllm_bench.json
      reckoner record log spans.jsonl --format otel
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.calibrate.sql_readers import read_log
    from reckoner.errors import InputError
    from reckoner.files import sha256_file
    from reckoner.ledger import request as finished

    logs = [(path, read_log(path, form=form, model=model)) for path in files]
    total = sum(len(found.requests) for _, found in logs)
    told: list[dict[str, Any]] = []
    with opened(url, create=True) as ledger, progress("recording", total) as done:
        so_far = 0
        for path, found in logs:
            digest = sha256_file(path)[:12]
            if any(ledger.entries(subject=f"{digest}/0", newest=1)):
                raise InputError(f"{path} is in the ledger already; nothing was recorded twice")
            for start in range(0, len(found.requests), _BATCH):
                entries = [
                    finished(
                        f"{digest}/{start + i}",
                        model=one.model,
                        prompt_tokens=one.prompt_tokens,
                        completion_tokens=one.completion_tokens,
                        e2e_s=one.e2e_s,
                        source=path.name,
                        **_finished(one.finished_at),
                    )
                    for i, one in enumerate(found.requests[start : start + _BATCH])
                ]
                ledger.record_many(entries)
                done(so_far := so_far + len(entries))
            told.append(
                {"file": str(path), "form": found.form, "recorded": len(found.requests), "left_out": found.left_out}
            )
    if as_json:
        print_json(told)
        return
    for row in told:
        click.echo(f"{row['recorded']} requests from {row['file']} ({row['form']}), {row['left_out']} left out")


def _finished(at: float | None) -> dict[str, str]:
    """When a request of a log was finished, for the ledger itself only knows when it was told."""
    from datetime import UTC, datetime

    return {} if at is None else {"finished_at": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _new_id() -> str:
    return f"request-{uuid.uuid4().hex[:12]}"


def _said(made: Id, as_json: bool) -> None:
    if as_json:
        print_json({"id": str(made), "seq": made.seq, "hash": made.hash})
    else:
        click.echo(str(made))


def _figure(text: str) -> tuple[str, Figure]:
    """Read ``e2e_s=3.5`` or ``e2e_s=3.5:3.0:4.2``."""
    from reckoner.errors import InputError
    from reckoner.ledger import Figure

    metric, _, values = text.partition("=")
    try:
        numbers = [float(value) for value in values.split(":")]
    except ValueError as error:
        raise InputError(
            f"figure is {text!r}; write METRIC=VALUE or METRIC=VALUE:LOW:HIGH, such as e2e_s=3.5"
        ) from error
    if len(numbers) in (1, 3):
        try:
            return metric, Figure(**dict(zip(("value", "low", "high"), numbers, strict=False)))
        except InputError as error:
            raise InputError(f"{metric}: {error}") from error
    raise InputError(f"figure is {text!r}; give one value, or a value and both ends of its interval")
