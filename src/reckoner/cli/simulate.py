"""``reckoner simulate``: requests through time on one design, and the tails that they see."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._design import NUMBERS, WORDS, Command, console, given
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.catalogue.device import Device
    from reckoner.design import Design, Slo, Workload
    from reckoner.simulate.arrivals import Arrivals
    from reckoner.simulate.lengths import Lengths
    from reckoner.simulate.outcome import Outcome
    from reckoner.simulate.schedulers import Scheduler
    from reckoner.simulate.server import Server

POLICIES = ("continuous", "prefill-first", "static", "dynamic")
ROUTINGS = ("round-robin", "least-loaded", "prefix-aware")
SERVING = ("tp", "pp", "ep", "replicas")
FORMATS = ("weights", "kv", "compute", "engine", "engine_version")


def serving_options(command: Command) -> Command:
    """Add what names a design and its scheduler."""
    options: list[Callable[[Any], Any]] = [
        click.option("-d", "--device", required=True, help="Device, such as h100; see reckoner devices."),
        click.option("--policy", type=click.Choice(POLICIES), default="continuous", show_default=True),
        click.option("--routing", type=click.Choice(ROUTINGS), default="round-robin", show_default=True),
        click.option("--max-seqs", type=int, help="Requests worked on at once; by default vLLM's, or 8 in batches."),
        click.option("--token-budget", type=int, help="Tokens of a step; by default what vLLM takes on the device."),
        click.option(
            "--kv-tokens", type=int, help="Tokens that a replica's cache holds; by default what memory leaves."
        ),
    ]
    options += [click.option(WORDS[name][0], name, help=WORDS[name][1]) for name in FORMATS]
    options += [click.option(NUMBERS[name][0], name, type=int, help=NUMBERS[name][2]) for name in SERVING]
    for option in reversed(options):
        command = option(command)
    return command


def load_options(command: Command) -> Command:
    """Add what names the requests."""
    options: list[Callable[[Any], Any]] = [
        click.option(
            "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Replay .csv, .jsonl or .parquet."
        ),
        click.option("--times", type=int, default=1, show_default=True, help="The trace so many times over."),
        click.option("--prompt", "prompt_tokens", type=int, default=1024, show_default=True, help="Tokens in."),
        click.option("--output", "output_tokens", type=int, default=256, show_default=True, help="Tokens out."),
        click.option("--length-cv", type=float, default=0.0, show_default=True, help="Spread of both lengths."),
        click.option(
            "--lengths",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Draw pairs of lengths from the rows of .csv, .jsonl or .parquet, in place of --prompt and --output.",
        ),
        click.option("-n", "n", type=int, default=10_000, show_default=True, help="Requests."),
        click.option("--seed", type=int, default=1, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def slo_options(command: Command) -> Command:
    """Add the limits of 99th percentiles."""
    for flag, name, what in (
        ("--e2e-p99", "e2e_p99_s", "whole request"),
        ("--tpot-p99", "tpot_p99_s", "time per output token"),
        ("--ttft-p99", "ttft_p99_s", "time to first token"),
    ):
        command = click.option(flag, name, type=float, help=f"Limit of the P99 of the {what}, in seconds.")(command)
    return command


@click.command()
@click.argument("model")
@serving_options
@load_options
@click.option("--rate", "requests_per_s", type=float, help="Requests that arrive per second.")
@click.option("--burst", type=float, default=1.0, show_default=True, help="Spread of gaps: 0 even, 1 Poisson.")
@click.option("--ramp-to", "ramp_to_per_s", type=float, help="The rate moves from --rate to this.")
@click.option("--turns", type=int, help="--rate is of sessions of so many turns; each prompt holds what was said.")
@click.option("--clients", type=int, help="A closed loop: so many clients, each sends when it is answered.")
@click.option("--think", "think_s", type=float, default=0.0, show_default=True, help="Pause of a client, in seconds.")
@slo_options
@click.option("--usd-per-hour", type=float, help="Rent of one device.")
@click.option(
    "--stream", "as_stream", is_flag=True, help="Percentiles only, within 0.2 %, in memory that does not grow."
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write load over time (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, **options: Any) -> int:
    """Simulate requests on one design: percentiles with intervals, goodput, load over time.

    Requests come at a rate (--rate: Poisson, in bursts, as a ramp, or as sessions), from clients, or from a trace.

    \b
        $ reckoner simulate llama-3.1-8b -d h100 --rate 20 --prompt 512 --output 128 --ttft-p99 0.2
        $ reckoner simulate llama-3.1-70b -d h100 --tp 4 --trace azure_conv.csv --times 2 --json
        $ reckoner simulate llama-3.1-8b -d rtx-4090 --clients 64 -n 2000 --plot load.png
        $ reckoner simulate llama-3.1-8b -d h100 --rate 20 --prompt 512 --output 128 -n 100000000 --stream
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.design import Slo
    from reckoner.files import canonical_json

    design = design_of(model, options)
    slo = Slo(**given(options, ("ttft_p99_s", "tpot_p99_s", "e2e_p99_s")))
    found, spent_s = _streamed(design, options, slo) if options["as_stream"] else _whole(design, options)
    if options["plot"] is not None:
        from reckoner.report.png import to_png
        from reckoner.report.simulation_figures import load_chart

        click.echo(f"wrote {to_png(load_chart(found), options['plot'])}", err=True)
    promised = any(limit is not None for limit in (slo.ttft_p99_s, slo.tpot_p99_s, slo.e2e_p99_s))
    if options["as_json"]:
        document = found.to_dict()
        if promised:
            document |= {"goodput_per_s": found.goodput(slo), "share_within": found.share_within(slo)}
            document["meets"] = found.meets(slo)
        click.echo(canonical_json(document), nl=False)
    else:
        _print(found, slo if promised else None)
    click.echo(f"reckoner: {len(found):,} requests in {spent_s:.2f} s ({len(found) / spent_s:,.0f} a second)", err=True)
    return 0


def _whole(design: Design, options: dict[str, Any]) -> tuple[Outcome, float]:
    from reckoner.simulate.run import simulate

    arrivals = _arrivals(options)
    server = _server(design, options, arrivals.workload)
    with Bar(len(arrivals)) as bar:
        return simulate(server, arrivals, usd_per_hour=options["usd_per_hour"], progress=bar.update), bar.spent_s


def _streamed(design: Design, options: dict[str, Any], slo: Slo) -> tuple[Outcome, float]:
    from reckoner.simulate.stream import chunks_of, gamma_chunks, streamed

    elsewhere = ("trace", "clients", "ramp_to_per_s", "turns")
    if options["requests_per_s"] is not None and all(options[name] is None for name in elsewhere):
        lengths = lengths_asked(options)
        typical = typical_of(lengths)
        source = gamma_chunks(
            options["requests_per_s"], lengths, n=options["n"], seed=options["seed"], cv=options["burst"]
        )
    else:
        arrivals = _arrivals(options)
        typical, source = arrivals.workload, chunks_of(arrivals)
    server = _server(design, options, typical)
    with Bar(source.n) as bar:
        found = streamed(server, source, slo=slo, usd_per_hour=options["usd_per_hour"], progress=bar.update)
        return found, bar.spent_s


def _server(design: Design, options: dict[str, Any], workload: Workload) -> Server:
    from reckoner.simulate.server import server_of

    scheduler = scheduler_of(options, design.device)
    return server_of(design, scheduler=scheduler, kv_tokens=options["kv_tokens"], workload=workload)


def design_of(model: str, options: dict[str, Any]) -> Design:
    """Resolve the names of a design."""
    from reckoner.catalogue import find
    from reckoner.design import Design, Serving

    serving = Serving(**given(options, (*FORMATS, *SERVING)))
    return Design(model=find.model(model), device=find.device(options["device"]), serving=serving)


def scheduler_of(options: dict[str, Any], device: Device) -> Scheduler:
    """Build the scheduler asked for, with an engine's own limits where none are given."""
    from reckoner.simulate.schedulers import Continuous, Dynamic, PrefillFirst, Static
    from reckoner.simulate.server import default_scheduler

    if options["policy"] in ("static", "dynamic"):
        kind = Static if options["policy"] == "static" else Dynamic
        return kind(**({} if options["max_seqs"] is None else {"batch": options["max_seqs"]}))
    limits = default_scheduler(device)
    engine = Continuous if options["policy"] == "continuous" else PrefillFirst
    return engine(
        max_seqs=limits.max_seqs if options["max_seqs"] is None else options["max_seqs"],
        token_budget=limits.token_budget if options["token_budget"] is None else options["token_budget"],
        routing=options["routing"],
    )


def trace_of(options: dict[str, Any]) -> Arrivals | None:
    """Read the trace, if one was named."""
    if options["trace"] is None:
        if options["times"] != 1:
            raise InputError(f"--times is {options['times']} without a --trace; raise --rate instead")
        return None
    from reckoner.simulate.traces import replay

    trace = replay(options["trace"], skip_empty=True)
    return trace if options["times"] == 1 else trace.repeated(options["times"], seed=options["seed"])


def _arrivals(options: dict[str, Any]) -> Arrivals:
    from reckoner.simulate.arrivals import closed_loop, gamma, ramp, sessions

    asked = [name for name in ("trace", "requests_per_s", "clients") if options[name] is not None]
    if len(asked) != 1:
        seen = " and ".join(f"--{name.replace('requests_per_s', 'rate')}" for name in asked) or "nothing"
        raise InputError(f"the load is given by {seen}; give exactly one of --rate, --clients and --trace")
    shapes = [name for name in ("ramp_to_per_s", "turns") if options[name] is not None]
    if len(shapes) > 1 or (shapes and (options["requests_per_s"] is None or options["burst"] != 1.0)):
        raise InputError("--ramp-to and --turns each shape a --rate, one of them and without --burst")
    trace = trace_of(options)
    if trace is not None:
        if options["lengths"] is not None:
            raise InputError("--lengths is given with a --trace, which has its own; leave one out")
        return trace
    lengths, n, seed = lengths_asked(options), options["n"], options["seed"]
    if options["clients"] is not None:
        return closed_loop(options["clients"], lengths, n=n, seed=seed, think_s=options["think_s"])
    if options["turns"] is not None:
        begun = max(n // max(options["turns"], 1), 1)
        return sessions(
            options["requests_per_s"], lengths, n=begun, seed=seed, turns=options["turns"], think_s=options["think_s"]
        )
    if options["ramp_to_per_s"] is not None:
        return ramp(options["requests_per_s"], options["ramp_to_per_s"], lengths, n=n, seed=seed)
    return gamma(options["requests_per_s"], lengths, n=n, seed=seed, cv=options["burst"])


def lengths_asked(options: dict[str, Any]) -> Lengths:
    """Lengths of requests: from a file's rows, or by their means and spread."""
    from reckoner.simulate.lengths import fixed, lognormal
    from reckoner.simulate.traces import lengths_of

    if options["lengths"] is not None:
        if options["length_cv"] != 0.0:
            raise InputError("--length-cv is given with --lengths, whose rows have their own spread; leave one out")
        return lengths_of(options["lengths"])
    prompt, output, cv = options["prompt_tokens"], options["output_tokens"], options["length_cv"]
    return fixed(prompt, output) if cv == 0.0 else lognormal(prompt, output, prompt_cv=cv, output_cv=cv)


def typical_of(lengths: Lengths) -> Workload:
    """Mean lengths, of a thousand draws."""
    import numpy as np

    from reckoner.design import Workload

    prompt, output = lengths(np.random.default_rng(0), 1000)
    return Workload(prompt_tokens=float(prompt.mean()), output_tokens=float(output.mean()))


class Bar:
    """A progress bar on stderr with requests per second; silent when stderr is no terminal."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.progress = Progress(
            TextColumn("simulating"), BarColumn(), TextColumn("{task.fields[speed]}"), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self.progress.disable = not self.progress.console.is_terminal
        self.task = self.progress.add_task("simulating", total=total, speed="")
        self.began = time.perf_counter()

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    @property
    def spent_s(self) -> float:
        """Since it began, in s."""
        return max(time.perf_counter() - self.began, 1e-9)

    def update(self, done: int, total: int) -> None:
        """Show how far it is."""
        speed = done / self.spent_s
        self.progress.update(self.task, completed=done, total=total, speed=f"{speed:,.0f} requests/s")


LABELS = {
    "queue": "wait in the queue",
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "gap between two tokens",
    "e2e": "whole request",
}


def _print(found: Outcome, slo: Any) -> None:
    from rich import box
    from rich.table import Table

    from reckoner.units import show

    out = console()
    table = Table(title=f"{found.server.name}; {found.load}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", "P50", "P90", "P99", "P99, 90% interval"):
        table.add_column(name, justify="right" if name else "left")
    for metric, label in LABELS.items():
        cells = []
        for q in (0.5, 0.9, 0.99):
            try:
                p = found.percentile(metric, q)
            except InputError:
                cells.append("too few")
                interval = "simulate more"
            else:
                cells.append(show(p.value, "s"))
                most = show(p.high, "s") if math.isfinite(p.high) else "not bounded"
                interval = f"{show(p.low, 's')} - {most}"
        table.add_row(label, *cells, interval)
    out.print(table)
    lines = [
        f"{found.requests_per_s:.4g} requests/s and {found.output_tokens_per_s:.4g} output tokens/s "
        f"over {found.makespan_s:.4g} s",
        f"steps took {found.series.utilisation.mean():.0%} of the time; the cache was at most "
        f"{found.series.kv_share.max():.0%} full; {found.preemptions:,} preemptions",
    ]
    if found.energy_j is not None:
        lines.append(
            f"{show(found.energy_j / found.makespan_s, 'W')} on average, "
            f"{show(found.energy_j / len(found), 'J')} per request (modelled by utilisation)"
        )
    if found.usd_per_request is not None:
        lines.append(f"USD {found.usd_per_request:.3g} per request")
    if found.refused:
        lines.append(f"{found.refused:,} rejected: larger than the cache, first {found.first_refused}")
    if found.overload is not None:
        lines.append(f"OVERLOAD: demand is {found.overload:.2f} times what is served; the queue keeps growing")
    if slo is not None:
        verdict = "met" if found.meets(slo) else "not met"
        lines.append(
            f"SLO {verdict}; {found.share_within(slo):.2%} of requests keep it: goodput {found.goodput(slo):.4g}/s"
        )
    out.print("\n".join(lines), highlight=False)
