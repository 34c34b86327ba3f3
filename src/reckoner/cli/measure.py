"""``reckoner measure``: latencies of a real endpoint, each with its interval and the client's own error."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._ledger import ledger_option
from reckoner.cli._measure import compared_with, predicted, show_error, show_measured
from reckoner.cli.simulate import slo_options
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.measure.session import Measured, Shape
    from reckoner.measure.wire.address import Address

PROBE_S = 1.0


def load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how requests come."""
    options: list[Callable[[Any], Any]] = [
        click.option("-n", "requests", type=click.IntRange(1), default=100, show_default=True, help="Requests."),
        click.option("-c", "--concurrency", type=click.IntRange(1), help="Closed loop: so many in flight."),
        click.option("--think", "think_s", type=float, default=0.0, help="Pause of a closed loop, in seconds."),
        click.option("--rate", "rates", help="Open loop: requests per second; several, separated by commas, in turn."),
        click.option("--burst", type=float, default=1.0, show_default=True, help="Spread of gaps: 0 even, 1 Poisson."),
        click.option("--ramp", help="Open loop whose rate goes from A to B requests per second, such as 1:20."),
        click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="Replay .csv, .jsonl, .parquet."),
        click.option("--prompt", "prompt_tokens", type=click.IntRange(1), default=128, show_default=True),
        click.option("--output", "output_tokens", type=click.IntRange(1), default=64, show_default=True),
        click.option("--shared", "shared_tokens", type=click.IntRange(0), default=0, help="Tokens all prompts share."),
        click.option("--warmup", type=click.IntRange(0), default=0, show_default=True, help="First requests to skip."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
        click.option(
            "--goal", type=float, default=0.02, show_default=True, help="Half width of a mean that is enough."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says whom to ask, and how."""
    from reckoner.measure.wire.address import APIS, DIALECTS

    options: list[Callable[[Any], Any]] = [
        click.option("--served", help="Name under which the server knows its model; by default the first it lists."),
        click.option("--gguf", type=click.Path(dir_okay=False, path_type=Path), help="Start llama.cpp on this file."),
        click.option("--parallel", type=click.IntRange(1), default=4, show_default=True, help="Slots of that server."),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of that server."),
        click.option("--api", type=click.Choice(tuple(APIS)), default="chat", show_default=True),
        click.option("--dialect", type=click.Choice(tuple(DIALECTS)), default="openai", show_default=True),
        click.option("--key-env", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the API key."),
        click.option("--header", "headers", multiple=True, help="Further header, such as 'X-Tenant: a'; repeatable."),
        click.option("--ca-file", default="", help="Certificate to trust (PEM)."),
        click.option("--stall", "stall_s", type=float, default=60.0, show_default=True, help="Patience, in seconds."),
        click.option(
            "--stamps", type=click.Choice(("kernel", "user")), help="By default the kernel's, where it has any."
        ),
        click.option("--check-client/--no-check-client", default=True, help="Measure the client at the same load."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("address", metavar="[URL]", required=False)
@click.option("--selftest", is_flag=True, help="Measure the client against a server with a known schedule.")
@click.option("--streams", help="Streams of the self-test.  [default: 1,64,512]")
@load_options
@endpoint_options
@click.option("-m", "--model", help="Predict this model (a name or config.json) beside the measurement.")
@click.option("-d", "--device", help="On this device.")
@click.option("--weights", help="In this number format.")
@click.option("--engine", help="Under this engine.")
@click.option("--tp", type=click.IntRange(1), help="On so many devices.")
@slo_options
@click.option("--find-rate", is_flag=True, help="Search the largest rate within the limits; --rate begins.")
@click.option("--most-rate", type=float, help="Rate beyond which that search tries nothing.")
@click.option("--next", "wants_next", is_flag=True, help="Say where to measure next (with -m and -d).")
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), help="Keep every event in this folder.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write one offline page.")
@click.option("--no-ledger", is_flag=True, help="Commit neither prediction nor outcome.")
@ledger_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on the last line.")
def command(address: str | None, **options: Any) -> int:
    """Measure an OpenAI-compatible endpoint, or the client itself.

    Exit code 1 when a figure is refused because the client's own error rivals it, or no request was answered.

    \b
        $ reckoner measure --selftest
        $ reckoner measure http://localhost:8000 -c 8 -n 200 --dialect vllm
        $ reckoner measure http://localhost:8000 --rate 4 -m llama-3.1-8b -d h100 --save out/run
        $ reckoner measure --gguf model.gguf -c 4 -n 64 --prompt 128 --output 32
        $ reckoner measure http://localhost:8000 --rate 2 --find-rate --ttft-p99 0.5 -n 400
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    if options["selftest"]:
        return _selftest(options)
    if (address is None) == (options["gguf"] is None):
        raise InputError("give one address such as http://localhost:8000, or --gguf FILE, or --selftest")
    if options["gguf"] is None:
        assert address is not None  # one of the two was given
        return _measure(address, options)
    from reckoner.engines.llamacpp_server import llamacpp_server

    with llamacpp_server(options["gguf"], parallel=options["parallel"], threads=options["threads"]) as started:
        return _measure(started, {**options, "dialect": "llama.cpp"})


def _selftest(options: dict[str, Any]) -> int:
    from reckoner.measure.selftest import STREAMS, selftest

    try:
        streams = tuple(int(part) for part in options["streams"].split(",")) if options["streams"] else STREAMS
    except ValueError as error:
        raise InputError(f"--streams is {options['streams']!r}; give numbers such as 1,64,512") from error
    if min(streams) < 1:
        raise InputError(f"--streams is {options['streams']!r}; each is at least 1")
    found = selftest(streams, stamps=options["stamps"] or "")
    if options["as_json"]:
        click.echo(json.dumps({"streams": [error.to_dict() for error in found]}, sort_keys=True, allow_nan=False))
    else:
        show_error(found)
    return 1 if any(error.failed for error in found) else 0


def _measure(url: str, options: dict[str, Any]) -> int:
    from reckoner.measure.wire.address import address_of

    address = address_of(
        url, api=options["api"], dialect=options["dialect"], key=os.environ.get(options["key_env"], ""),
        headers=_headers(options["headers"]), ca_file=options["ca_file"],
    )  # fmt: skip
    served = options["served"] or _first_model(address)
    if options["find_rate"]:
        return _find_rate(address, served, options)
    rates = [None] if options["rates"] is None else _numbers("--rate", options["rates"])
    if len(rates) > 1 and (options["save"] is not None or options["html"] is not None):
        raise InputError("--save and --html keep one run; give one --rate")
    documents = []
    for rate in rates:
        found, document = _one(address, served, rate, options)
        documents.append(document)
        if not options["as_json"]:
            show_measured(found, document)
    if options["as_json"]:
        click.echo(
            json.dumps(documents[0] if len(documents) == 1 else {"runs": documents}, sort_keys=True, allow_nan=False)
        )
    return 1 if any(d["refused"] or not d["answered"] for d in documents) else 0


def _one(address: Address, served: str, rate: float | None, options: dict[str, Any]) -> tuple[Measured, dict[str, Any]]:
    """One run: predict, commit, measure, compare, keep."""
    from reckoner.measure.keep import Journal, write_records
    from reckoner.measure.scrape import counters, energy_j, over
    from reckoner.measure.session import load_of, measured
    from reckoner.measure.wire.load import Patience

    shape, lengths = _shape(rate, options)
    asked = [(int(prompt), int(output)) for prompt, output in lengths]
    question = predicted(options, rate, asked)
    prompts, counting = _prompts(address, served, asked, options)
    subject = None if question is None or options["no_ledger"] else _commit(question, address, served, options)
    load = load_of(address, served, prompts, [output for _, output in asked], shape)
    journal = None if options["save"] is None else Journal(options["save"])
    before, joules = counters(address), energy_j()
    live = _Live(len(asked), journal)
    found = measured(
        address, load, asked, warmup=options["warmup"], goal=options["goal"],
        patience=Patience(stall_s=options["stall_s"]), stamps=options["stamps"] or "",
        check_client=options["check_client"], watch=live.see,
    )  # fmt: skip
    live.close()
    document = found.to_dict() | {
        "endpoint": address.shown,
        "model": served,
        "prompt_tokens_counted_by": counting,
        "prompt_tokens": _lengths(found),
        "server": over(before, counters(address)),
        "energy_j": over(joules, energy_j()),
    }
    if question is not None:
        document |= compared_with(question, found, subject, options)
    if options["save"] is not None:
        for path in write_records(options["save"], found.records, document):
            click.echo(f"wrote {path}", err=True)
    if options["html"] is not None:
        from reckoner.files import write_atomic
        from reckoner.report.measured_page import measured_page

        click.echo(f"wrote {write_atomic(options['html'], measured_page(found, document))}", err=True)
    return found, document


def _lengths(found: Measured) -> dict[str, float | None]:
    """Mean prompt length as asked for, and as the server counted it."""
    seen = [r.prompt_tokens for r in found.records if r.prompt_tokens is not None]
    asked = [r.asked_prompt_tokens for r in found.records]
    return {"asked": sum(asked) / max(len(asked), 1), "counted": sum(seen) / len(seen) if seen else None}


def _shape(rate: float | None, options: dict[str, Any]) -> tuple[Shape, list[tuple[int, int]]]:
    """How requests come, and how long each is."""
    from reckoner.measure.session import Shape
    from reckoner.simulate.arrivals import gamma, ramp
    from reckoner.simulate.lengths import fixed
    from reckoner.simulate.traces import replay

    given = [name for name in ("concurrency", "rates", "ramp", "trace") if options[name] is not None]
    if len(given) > 1 and not options["find_rate"]:
        raise InputError("--concurrency, --rate, --ramp and --trace each say how requests come; give one of them")
    n, lengths = options["requests"], fixed(options["prompt_tokens"], options["output_tokens"])
    if options["concurrency"] is not None or (rate is None and not given):
        asked = [(options["prompt_tokens"], options["output_tokens"])] * n
        return Shape(concurrency=options["concurrency"] or 1, think_s=options["think_s"]), asked
    if options["trace"] is not None:
        arrivals = replay(options["trace"])
    elif options["ramp"] is not None:
        ends = _numbers("--ramp", options["ramp"].replace(":", ","))
        if len(ends) != 2:
            raise InputError(f"--ramp is {options['ramp']!r}; give two rates, such as 1:20")
        arrivals = ramp(ends[0], ends[1], lengths, n=n, seed=options["seed"])
    else:
        assert rate is not None  # nothing else is left
        arrivals = gamma(rate, lengths, n=n, seed=options["seed"], cv=options["burst"])
    times = arrivals.arrival_s - float(arrivals.arrival_s.min())
    follows = None if arrivals.follows is None else arrivals.follows.tolist()
    asked = list(zip(arrivals.prompt_tokens.tolist(), arrivals.output_tokens.tolist(), strict=True))
    return Shape(arrival_s=times.tolist(), follows=follows), asked


def _prompts(
    address: Address, served: str, asked: list[tuple[int, int]], options: dict[str, Any]
) -> tuple[list[str], str]:
    from reckoner.measure.prompts import counting_of, prompts_of
    from reckoner.measure.wire.load import Patience

    counting = counting_of(address, served, seed=options["seed"], patience=Patience(stall_s=options["stall_s"]))
    lengths = [prompt for prompt, _ in asked]
    prompts = prompts_of(counting, lengths, seed=options["seed"] + 1, shared_tokens=options["shared_tokens"])
    return prompts, counting.by


def _commit(question: Any, address: Address, served: str, options: dict[str, Any]) -> str:
    """Commit a prediction to the ledger before anything is measured; return its subject."""
    from datetime import UTC, datetime

    from reckoner.cli._ledger import opened
    from reckoner.cli._measure import figures_of

    subject = f"measure {address.host}:{address.port} {served} {datetime.now(UTC).isoformat(timespec='milliseconds')}"
    with opened(options["url"], create=True) as ledger:
        inputs = {"model": question.design.model.name, "device": question.design.device.name}
        ledger.predict(subject, "physics", figures_of(question), inputs=inputs)
    return subject


def _find_rate(address: Address, served: str, options: dict[str, Any]) -> int:
    from reckoner.measure.search import carried

    limits = {
        metric: options[name]
        for metric, name in (("ttft", "ttft_p99_s"), ("tpot", "tpot_p99_s"), ("e2e", "e2e_p99_s"))
        if options[name] is not None
    }
    if not limits:
        raise InputError("--find-rate needs a limit: --ttft-p99, --tpot-p99 or --e2e-p99")
    if options["requests"] - options["warmup"] < 2 * 299:
        raise InputError(f"-n is {options['requests']}; a P99 of the steady half takes at least 598 requests")
    first = _numbers("--rate", options["rates"] or "1")[0]
    runs: list[dict[str, Any]] = []

    def passes(rate: float) -> bool:
        quiet = {**options, "check_client": False, "save": None, "html": None, "no_ledger": True, "rates": str(rate)}
        found, document = _one(address, served, rate, quiet)
        tails = {m: found.latencies[m].percentiles.get(0.99) for m in limits if m in found.latencies}
        good = not found.failed and all(
            tail is not None and tail.value <= limits[metric] for metric, tail in tails.items()
        )
        good = good and len(tails) == len(limits)
        runs.append({"rate": rate, "met": good, "latency_s": document["latency_s"]})
        click.echo(f"{rate:.4g} requests/s: {'met' if good else 'not met'}", err=True)
        return good

    found = carried(passes, first, most=options["most_rate"] or math.inf)
    if options["as_json"]:
        document = {"low": found.low, "high": found.high if found.high < float("inf") else None, "runs": runs}
        click.echo(json.dumps(document, sort_keys=True, allow_nan=False))
    else:
        click.echo(f"{address.shown} carries {found.value:.4g} requests/s ({found.low:.4g} to {found.high:.4g})")
        click.echo(f"{len(found.tried)} runs of {options['requests']} requests")
    return 0


class _Live:
    """What happens meanwhile: a line on stderr, and entries of the journal."""

    def __init__(self, total: int, journal: Any) -> None:
        import sys
        import time

        self.total, self.journal, self.clock = total, journal, time.monotonic
        self.shown = sys.stderr.isatty()
        self.began = self.last = time.monotonic()
        self.done = self.bad = 0
        self.firsts: list[float] = []

    def see(self, seen: Any, in_flight: int) -> None:
        """Take note of a request that ended; cheap, for it runs inside the loop."""
        self.done += 1
        self.bad += bool(seen.state or seen.why)
        if len(seen.user_ns) > 1:
            self.firsts.append((seen.user_ns[1] - seen.sent_ns) * 1e-6)
        if self.journal is not None:
            self.journal.add({
                "index": seen.index, "scheduled_ns": seen.scheduled_ns, "sent_ns": seen.sent_ns, "state": seen.state,
                "why": seen.why, "reads": seen.reads, "kernel_ns": seen.kernel_ns, "user_ns": seen.user_ns,
            })  # fmt: skip
        now = self.clock()
        if self.shown and now - self.last > 0.5:
            self.last = now
            rate = self.done / (now - self.began)
            click.echo(
                f"\r{self.done}/{self.total} answered, {in_flight} in flight, {rate:.3g}/s, {self.bad} failed  "
                f"TTFT {_bars(self.firsts[-200:])} ms\x1b[K", nl=False, err=True,
            )  # fmt: skip

    def close(self) -> None:
        """End the line."""
        if self.journal is not None:
            self.journal.close()
        if self.shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _bars(values: list[float]) -> str:
    """Histogram of values in one line, between its ends."""
    if not values:
        return ""
    low, high = min(values), max(values)
    counts = [0] * 12
    for value in values:
        counts[min(int((value - low) / max(high - low, 1e-9) * 12), 11)] += 1
    most = max(counts)
    return f"{low:.3g} " + "".join(" ▁▂▃▄▅▆▇█"[-(-8 * c // most)] for c in counts) + f" {high:.3g}"


def _headers(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise InputError("--header is no header; give one such as 'X-Tenant: a'")  # its value may be a secret
        found[name.strip()] = value.strip()
    return found


def _numbers(flag: str, text: str) -> list[float]:
    from reckoner.cli._design import numbers

    found = numbers(flag, text)
    if any(not 0.0 < value < 1e6 for value in found):
        raise InputError(f"{flag} is {text!r}; rates are above 0 and below a million per second")
    return found


def _first_model(address: Address) -> str:
    """First model that the server lists."""
    from reckoner.measure.models_of import models_of

    return models_of(address)[0]
