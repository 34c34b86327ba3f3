"""``reckoner measure``: latencies of a real endpoint, each with its interval and the client's own error."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._ledger import ledger_option
from reckoner.cli._measure import compared_with, predicted, prompts_seen, show_error, show_measured
from reckoner.cli._measure_load import Live, load_options, numbers, prompts, seed_of, shape_of
from reckoner.cli.simulate import slo_options
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.measure.session import Measured
    from reckoner.measure.wire.address import Address
    from reckoner.quantiles import Percentile


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says whom to ask, and how."""
    from reckoner.measure.wire.address import APIS, DIALECTS

    options: list[Callable[[Any], Any]] = [
        click.option("--served", help="Name under which the server knows its model; by default the first it lists."),
        click.option("--gguf", type=click.Path(dir_okay=False, path_type=Path), help="Start llama.cpp on this file."),
        click.option(
            "--numpy", type=click.Path(file_okay=False, path_type=Path), help="Start the NumPy decoder on this."
        ),
        click.option(
            "--transformers",
            type=click.Path(file_okay=False, path_type=Path),
            help="Start transformers on this folder.",
        ),
        click.option("--parallel", type=click.IntRange(1), default=4, show_default=True, help="Slots of llama.cpp."),
        click.option(
            "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of an engine started here."
        ),
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
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Of the client: one a core.")
@click.option("--rate-tokens", type=float, help="Tokens per second of the self-test, over all streams.")
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
    folders = {"numpy": options["numpy"], "transformers": options["transformers"]}
    if sum(given is not None for given in (address, options["gguf"], *folders.values())) != 1:
        raise InputError(
            "give one address such as http://localhost:8000, or --gguf FILE, --numpy DIR or --transformers DIR, or "
            "--selftest"
        )
    if address is not None:
        return _measure(address, options)
    for engine, folder in folders.items():
        if folder is not None:
            from reckoner.engines.openai_server import engine_server

            with engine_server(engine, folder, threads=options["threads"]) as started:
                return _measure(started, {**options, "dialect": "vllm"})  # it knows ignore_eos too
    from reckoner.engines.llamacpp_server import llamacpp_server

    with llamacpp_server(options["gguf"], parallel=options["parallel"], threads=options["threads"]) as started:
        return _measure(started, {**options, "dialect": "llama.cpp"})


def _selftest(options: dict[str, Any]) -> int:
    from reckoner.measure.selftest import RATE_PER_S, STREAMS, selftest

    try:
        streams = tuple(int(part) for part in options["streams"].split(",")) if options["streams"] else STREAMS
    except ValueError as error:
        raise InputError(f"--streams is {options['streams']!r}; give numbers such as 1,64,512") from error
    if min(streams) < 1:
        raise InputError(f"--streams is {options['streams']!r}; each is at least 1")
    rate = RATE_PER_S if options["rate_tokens"] is None else options["rate_tokens"]
    if not 0.0 < rate < 1e7:
        raise InputError(f"--rate-tokens is {rate:g}; give tokens per second above 0 and below ten million")
    found = selftest(streams, stamps=options["stamps"] or "", rate_per_s=rate, processes=options["processes"])
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
    if options["wants_next"] and options["model"] is None:
        raise InputError("--next takes -m MODEL and -d DEVICE: it is their uncertainty that a measurement shrinks")
    served = options["served"] or _first_model(address)
    options = {**options, "seed": seed_of(options)}
    if options["find_rate"]:
        return _find_rate(address, served, options)
    rates = [None] if options["rates"] is None else numbers("--rate", options["rates"])
    if len(rates) > 1 and (options["save"] is not None or options["html"] is not None):
        raise InputError("--save and --html keep one run; give one --rate")
    documents = []
    for run, rate in enumerate(rates):
        found, document = _one(address, served, rate, options, run)
        documents.append(document)
        if not options["as_json"]:
            show_measured(found, document)
    if options["as_json"]:
        click.echo(
            json.dumps(documents[0] if len(documents) == 1 else {"runs": documents}, sort_keys=True, allow_nan=False)
        )
    return 1 if any(d["refused"] or not d["answered"] for d in documents) else 0


def _one(
    address: Address, served: str, rate: float | None, options: dict[str, Any], run: int
) -> tuple[Measured, dict[str, Any]]:
    """One run: predict, commit, measure, compare, keep."""
    from reckoner.measure.keep import Journal, write_records
    from reckoner.measure.scrape import counters, energy_j, over
    from reckoner.measure.session import load_of, measured
    from reckoner.measure.wire.load import Patience

    shape, asked = shape_of(rate, options)
    question = predicted(options, rate, asked)
    texts, counting = prompts(address, served, asked, shape, options, run)
    subject = None if question is None or options["no_ledger"] else _commit(question, address, served, options)
    load = load_of(address, served, texts, [output for _, output in asked], shape)
    journal = None if options["save"] is None else Journal(options["save"])
    before, joules = counters(address), energy_j()
    live = Live(len(asked), journal)
    found = measured(
        address, load, asked, warmup=options["warmup"], goal=options["goal"],
        patience=Patience(stall_s=options["stall_s"]), stamps=options["stamps"] or "",
        check_client=options["check_client"], watch=live.see, processes=options["processes"],
    )  # fmt: skip
    live.close()
    document = found.to_dict() | {
        "endpoint": address.shown,
        "model": served,
        "load": {"requests_per_s": rate, "concurrency": shape.concurrency, "requests": len(asked)},
        "prompt_tokens_counted_by": counting,
        "prompt_tokens": prompts_seen(found.records),
        "seed": options["seed"],
        "server": over(before, counters(address)),
        "energy_j": over(joules, energy_j()),
    }
    if question is not None:
        document |= compared_with(question, found, subject, options, document["server"])
    if options["save"] is not None:
        for path in write_records(options["save"], found.records, document):
            click.echo(f"wrote {path}", err=True)
    if options["html"] is not None:
        from reckoner.files import write_atomic
        from reckoner.report.measured_page import measured_page

        click.echo(f"wrote {write_atomic(options['html'], measured_page(found, document))}", err=True)
    return found, document


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
    first = numbers("--rate", options["rates"] or "1")[0]
    runs: list[dict[str, Any]] = []

    def passes(rate: float) -> bool | None:
        quiet = {**options, "check_client": False, "save": None, "html": None, "no_ledger": True, "rates": str(rate)}
        found, document = _one(address, served, rate, quiet, len(runs))
        tails = {m: found.latencies[m].percentiles.get(0.99) for m in limits if m in found.latencies}
        good = met(tails, limits) if not found.failed else False
        runs.append({"rate": rate, "met": good, "failed": found.failed, "latency_s": document["latency_s"]})
        words = {True: "met", False: "not met", None: "not to be told, the limit lies inside the interval"}
        seen = [f"{metric} P99 {tail.value:.4g} s" for metric, tail in tails.items() if tail is not None]
        seen += [f"{count} x {state}" for state, count in sorted(found.failed.items())]
        click.echo(f"{rate:.4g} requests/s: {words[good]} ({', '.join(seen) or 'no P99'})", err=True)
        return good

    found = carried(passes, first, most=options["most_rate"] or math.inf)
    if options["as_json"]:
        document = {"low": found.low, "high": found.high if found.high < float("inf") else None, "runs": runs}
        click.echo(json.dumps(document, sort_keys=True, allow_nan=False))
    else:
        click.echo(f"{address.shown} carries {found.value:.4g} requests/s ({found.low:.4g} to {found.high:.4g})")
        click.echo(f"{len(found.tried)} runs of {options['requests']} requests")
        if found.tried[-1][1] is None:
            click.echo("the bracket stays as wide as that: with more requests (-n) the P99 is known better")
    return 0


def met(tails: Mapping[str, Percentile | None], limits: Mapping[str, float]) -> bool | None:
    """Whether every P99 is below its limit; None where a limit lies inside an interval, or a P99 is missing.

    An interval without an upper end (too few requests that are independent) leaves it to the value.
    """
    verdicts: list[bool | None] = []
    for metric, limit in limits.items():
        tail = tails.get(metric)
        if tail is None:
            verdicts.append(None)
            continue
        high = tail.high if math.isfinite(tail.high) else tail.value
        verdicts.append(True if high <= limit else False if tail.low > limit else None)
    return False if False in verdicts else None if None in verdicts else True


def _headers(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise InputError("--header is no header; give one such as 'X-Tenant: a'")  # its value may be a secret
        found[name.strip()] = value.strip()
    return found


def _first_model(address: Address) -> str:
    """First model that the server lists."""
    from reckoner.measure.models_of import models_of

    return models_of(address)[0]
