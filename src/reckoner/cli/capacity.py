"""``reckoner capacity``: the largest rate that meets an SLO, or the fewest devices for a load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reckoner.cli._design import given
from reckoner.cli._search import searched, show_found
from reckoner.cli.simulate import (
    design_of,
    lengths_asked,
    load_options,
    scheduler_of,
    serving_options,
    slo_options,
    trace_of,
    typical_of,
)
from reckoner.errors import InputError


@click.command()
@click.argument("model")
@serving_options
@load_options
@slo_options
@click.option("--rate", "requests_per_s", type=float, help="Load to carry: finds the fewest devices for it.")
@click.option("--availability", type=float, help="Share of time that enough replicas are up, such as 0.999.")
@click.option("--replica-availability", type=float, default=0.995, show_default=True, help="Of one replica.")
@click.option("--headroom", type=float, default=0.0, show_default=True, help="Share by which the load is raised.")
@click.option("--seeds", type=int, default=5, show_default=True, help="Streams of random arrivals.")
@click.option("--axis", multiple=True, help="Values of an axis, such as tp=1,2,4; repeat it to search combinations.")
@click.option("--workers", type=click.IntRange(1), help="Processes of a search; by default one a core.")
@click.option("--usd-per-hour", type=float, help="Rent of one device.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write load over time (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, **options: Any) -> int:
    """Find the largest rate that meets an SLO, or the fewest devices for a load.

    Without a load (--rate or --trace): the largest rate of the design as given.

    \b
        $ reckoner capacity llama-3.1-8b -d h100 --prompt 512 --output 128 --ttft-p99 0.5 --tpot-p99 0.03
        $ reckoner capacity llama-3.1-70b -d h100 --tp 2 --weights fp8 --trace azure_2023_conv.parquet --times 10
            --ttft-p99 0.5 --availability 0.999
        $ reckoner capacity llama-3.1-70b -d h100 --ttft-p99 0.5 --axis tp=2,4,8 --axis weights=bf16,fp8
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.design import Slo, check_rent
    from reckoner.files import canonical_json
    from reckoner.simulate.server import server_of

    check_rent(options["usd_per_hour"])
    design = design_of(model, options)
    slo = Slo(**given(options, ("ttft_p99_s", "tpot_p99_s", "e2e_p99_s", "availability")))
    if options["axis"]:
        if options["trace"] is not None:
            raise InputError("--axis searches designs under Poisson arrivals; leave out --trace")
        searches, rows = searched(design, slo, options)
        if options["as_json"]:
            click.echo(canonical_json(searches), nl=False)
        else:
            show_found(rows)
        return 0
    trace = trace_of(options)
    if trace is not None and options["lengths"] is not None:
        raise InputError("--lengths is given with a --trace, which has its own; leave one out")
    lengths = lengths_asked(options)
    server = server_of(
        design,
        scheduler=scheduler_of(options, design.device),
        kv_tokens=options["kv_tokens"],
        workload=typical_of(lengths) if trace is None else trace.workload,
    )
    if trace is not None and options["requests_per_s"] is not None:
        raise InputError("the load is given by --trace and --rate; give one of them")
    with _Status() as status:
        if trace is None and options["requests_per_s"] is None:
            document, lines, shown = _rate(server, slo, options, status.say)
        else:
            document, lines, shown = _fleet(server, trace, slo, options, status.say)
    if options["plot"] is not None:
        from reckoner.report.png import to_png
        from reckoner.report.simulation_figures import load_chart

        click.echo(f"wrote {to_png(load_chart(shown), options['plot'])}", err=True)
    click.echo(canonical_json(document) if options["as_json"] else "\n".join(lines), nl=not options["as_json"])
    return 0


def _rate(server: Any, slo: Any, options: dict[str, Any], say: Any) -> tuple[dict[str, Any], list[str], Any]:
    from dataclasses import asdict

    from reckoner.simulate.arrivals import poisson
    from reckoner.simulate.run import simulate
    from reckoner.simulate.sizing import capacity

    lengths = lengths_asked(options)
    many = {"n": options["n"], "seeds": options["seeds"]}
    found = capacity(server, typical_of(lengths), slo, lengths=lengths, **many, report=say)
    document = {"server": server.name, **asdict(found)}
    lines = [
        f"{server.name} carries {found.requests_per_s:.4g} requests/s ({found.low:.4g} to {found.high:.4g}); "
        f"beyond that {found.binding} gives way",
        f"{found.simulations} simulations of {found.n:,} requests, {len(found.by_seed)} streams of arrivals",
    ]
    if options["usd_per_hour"] is not None:
        usd = options["usd_per_hour"] * server.devices / 3600.0 / found.requests_per_s
        document["usd_per_request"] = usd
        lines.append(f"USD {usd:.3g} per request at that rate")
    arrivals = poisson(found.requests_per_s, lengths, n=options["n"], seed=options["seed"])
    return document, lines, simulate(server, arrivals) if options["plot"] is not None else None


def _fleet(
    server: Any, trace: Any, slo: Any, options: dict[str, Any], say: Any
) -> tuple[dict[str, Any], list[str], Any]:
    from reckoner.simulate.arrivals import poisson
    from reckoner.simulate.sizing import fewest

    load = trace
    if load is None:
        load = poisson(options["requests_per_s"], lengths_asked(options), n=options["n"], seed=options["seed"])
    found = fewest(
        server, load, slo,
        headroom=options["headroom"], replica_availability=options["replica_availability"], report=say,
    )  # fmt: skip
    run = found.simulation
    document = {
        "needed": found.needed,
        "spares": found.spares,
        "devices": found.devices,
        "availability": found.availability,
        "simulation": run.to_dict(),
    }
    ttft = run.percentile("ttft", 0.99)
    lines = [
        f"{found.devices} devices: {found.needed} replicas that meet the SLO and {found.spares} spare, "
        f"each of {found.devices // (found.needed + found.spares)}",
        f"{load.name}: {len(load):,} requests at {len(load) / max(load.span_s, 1e-9):.4g}/s; TTFT P99 "
        f"{ttft.value:.3f} s ({ttft.low:.3f} to {ttft.high:.3f})",
        f"at least {found.needed} replicas are up {found.availability:.4%} of the time",
    ]
    if options["usd_per_hour"] is not None:
        usd = options["usd_per_hour"] * found.devices / 3600.0 / run.requests_per_s
        document["usd_per_request"] = usd
        lines.append(f"USD {usd:.3g} per request, spares included")
    return document, lines, run


class _Status:
    """What is being tried, on stderr; silent when stderr is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.status = self.console.status("searching")

    def __enter__(self) -> _Status:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.stop()

    def say(self, line: str) -> None:
        """Show a line."""
        self.status.update(line)
