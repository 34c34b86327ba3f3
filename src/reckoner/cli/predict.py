"""``reckoner predict``: one design, its metrics with intervals, and why."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._csv import one_format
from reckoner.cli._design import NUMBERS, WORDS, WORKLOAD, console, design_options, given
from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.design import Design
    from reckoner.predict.prediction import Prediction
    from reckoner.predict.relief import Relief

LABELS = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "e2e_s": "whole request",
    "output_tokens_per_s": "output tokens",
    "requests_per_s": "requests",
    "memory_bytes": "memory of each device",
    "j_per_token": "energy of an output token",
    "usd_per_m_output_tokens": "a million output tokens",
}

_CARBON = "co2_g_per_m_output_tokens"


@click.command()
@click.argument("model")
@click.option("-d", "--device", required=True, help="Device, such as h100; see reckoner devices.")
@design_options(lists=False)
@click.option("--usd-per-hour", type=float, help="Rent of one device; adds the price of a million tokens.")
@click.option("--provider", help="Take that rent from the catalogue, such as aws or runpod.")
@click.option("--grams-per-kwh", type=float, help="Carbon intensity of the supply; adds that of a million tokens.")
@click.option("--pue", type=float, default=1.0, show_default=True, help="Power of the site over the devices', for it.")
@click.option("--level", type=float, default=0.9, show_default=True, help="Probability that an interval holds.")
@click.option("--explain", "explained", is_flag=True, help="Every term with its formula and source.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the roofline picture (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one line a metric.")
def command(model: str, device: str, **options: Any) -> int:
    """Predict latency, throughput, memory and energy of one design.

    MODEL is a built-in name, a Hugging Face id of one, or a config.json.

    \b
        $ reckoner predict llama-3.1-8b -d h100 -b 32 --weights fp8
        $ reckoner predict config.json -d rtx-4090 --prompt 2048 --output 512 --explain
        $ reckoner predict llama-3.1-70b -d h100 --tp 4 --json
        $ reckoner predict llama-3.1-70b -d h100 --tp 4 -b 64 --prefill-replicas 1 --replicas 2
        $ reckoner predict llama-3.1-70b -d h100 --tp 4 --draft llama-3.2-1b --draft-tokens 4 --acceptance 0.7
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.catalogue import find
    from reckoner.design import Design, Serving, Workload
    from reckoner.files import canonical_json
    from reckoner.predict.prediction import predict

    one_format(as_json=options["as_json"], as_csv=options["as_csv"])
    serving = Serving(**given(options, [name for name in (*WORDS, *NUMBERS) if name not in WORKLOAD]))
    draft = None if options["draft"] is None else find.model(options["draft"])
    design = Design(model=find.model(model), device=find.device(device), serving=serving, draft=draft)
    rent = options["usd_per_hour"]
    if options["provider"] is not None:
        if rent is not None:
            raise InputError("--usd-per-hour and --provider each state the rent; give one of them")
        rent = find.rate(device, options["provider"]).usd_per_hour
    found = predict(design, Workload(**given(options, WORKLOAD)), usd_per_hour=rent).require_fit()
    grams = options["grams_per_kwh"]
    carbon = None if grams is None else found.carbon_g(grams, pue=options["pue"], level=options["level"])
    if options["plot"] is not None:
        from reckoner.report.png import to_png
        from reckoner.report.roofline_figure import roofline_chart

        click.echo(f"wrote {to_png(roofline_chart(found), options['plot'])}", err=True)
    if options["as_json"]:
        document = found.to_dict(options["level"]) | {"relief": [_relief(each) for each in found.relief()]}
        document["metrics"][_CARBON] = None if carbon is None else _metric(carbon)
        if options["explained"]:
            document["terms"] = [_term(term) for term in found.explain()]
        click.echo(canonical_json(document), nl=False)
    elif options["as_csv"]:
        _csv(found, options["level"], carbon)
    else:
        _table(found, options["level"], carbon)
        if options["explained"]:
            _terms(found)
    return 0


def _term(term: Any) -> dict[str, Any]:
    return {name: getattr(term, name) for name in ("name", "symbol", "value", "unit", "formula", "source")}


def _relief(each: Relief) -> dict[str, Any]:
    return {name: getattr(each, name) for name in ("change", "metric", "before", "after")}


def _metric(values: tuple[Any, Any, Any]) -> dict[str, Any]:
    return {**dict(zip(("value", "low", "high"), map(float, values), strict=True)), "unit": "g"}


def _csv(found: Prediction, level: float, carbon: tuple[Any, Any, Any] | None) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["metric", "value", "low", "high", "unit"])
    for name, metric in found.to_dict(level)["metrics"].items():
        if metric is not None:
            out.writerow([name, metric["value"], metric["low"], metric["high"], metric["unit"]])
    if carbon is not None:
        out.writerow([_CARBON, *map(float, carbon), "g"])


def _table(found: Prediction, level: float, carbon: tuple[Any, Any, Any] | None) -> None:
    from rich.table import Table

    from reckoner.predict.metrics import UNITS

    asked = found.to_dict(level)
    table = Table(title=_title(found), title_justify="left")
    for name, side in (("", "left"), ("predicted", "right"), (f"{level:.0%} interval", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for name, metric in asked["metrics"].items():
        if metric is None and asked["overloaded"] and name in ("ttft_s", "e2e_s"):
            table.add_row(LABELS[name], "without end", "")
        elif metric is not None:
            value, low, high = (show_metric(metric[part], metric["unit"]) for part in ("value", "low", "high"))
            table.add_row(LABELS[name], value, f"{low} to {high}")
    if carbon is not None:
        value, low, high = (show_metric(float(each), "g") for each in carbon)
        table.add_row("carbon of a million tokens", value, f"{low} to {high}")
    out = console()
    out.print(table)
    if asked["overloaded"]:
        out.print(
            f"requests arrive faster than the full batch ({found.design.serving.batch:g}, -b) serves them; "
            "the queue grows without end: raise -b or --replicas"
        )
    out.print(asked["why"], highlight=False)
    for each in found.relief():
        after, before = (show_metric(value, UNITS[each.metric]) for value in (each.after, each.before))
        out.print(f"  {each.change}: {LABELS[each.metric]} {after} instead of {before}", highlight=False)
    if found.theory:
        out.print(f"{' and '.join(found.theory)}: from theory, not from measurements; intervals are wider for it")
    evidence = asked["efficiency"]
    out.print(
        f"{evidence['source']}; {_evidence(evidence)}",
        highlight=False,
    )


def _evidence(said: dict[str, Any]) -> str:
    """How near public measurements come to the design, and so how wide its intervals are."""
    if said["novelty"] is None:
        return "given"
    from reckoner.predict.intervals import MEANING

    near = MEANING[said["novelty"]]
    return f"{said['n']} of them on this device with this engine; {near}, which the intervals allow for"


def _title(found: Prediction) -> str:
    design, workload = found.design, found.workload
    s = design.serving
    shared = f", {float(design.n_devices):g} devices" if float(design.n_devices) > 1 else ""
    return (
        f"{design.model.title} on {design.device.title}{shared}\n"
        f"{design.weights_format.name} weights, {design.compute_dtype} products, {design.kv_format.name} cache, "
        f"{design.engine}{'' if s.engine else ' (assumed)'}, batch {float(s.batch):g}, "
        f"{float(workload.prompt_tokens):g} tokens in, {float(workload.output_tokens):g} out{_gains(design)}"
    )


def _gains(design: Design) -> str:
    """Say what is served in other ways than plainly, on a line of its own."""
    s = design.serving
    said = []
    if s.prefill_replicas:
        said.append(f"{s.prefill_replicas:g} prefill : {s.replicas:g} decode servers")
    if s.draft_tokens:
        by = "" if design.draft is None else f" by {design.draft.title}"
        said.append(f"{s.draft_tokens:g} tokens drafted{by}, {s.acceptance:g} accepted")
    if s.token_budget:
        said.append(f"passes of at most {s.token_budget:g} tokens")
    return "".join(["\n", "; ".join(said)]) if said else ""


def show_metric(value: float, unit: str) -> str:
    """Write a metric with its unit; rates without prefixes, so that they compare at a glance.

    >>> show_metric(0.0123, "s"), show_metric(3930.4, "tok/s"), show_metric(0.177, "USD")
    ('12.3 ms', '3,930 tok/s', '$0.177')
    """
    from reckoner.report.tables import number
    from reckoner.units import show

    if unit == "USD":
        return f"${number(value, 3)}"
    return f"{number(value, 3)} {unit}" if unit.endswith("/s") else show(value, unit)


def _terms(found: Prediction) -> None:
    from rich.table import Table

    table = Table(title="Every term")
    for name, side in (("term", "left"), ("", "left"), ("value", "right"), ("formula", "left"), ("source", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for term in found.explain():
        value = f"{float(term.value):.6g} {term.unit}".rstrip()
        table.add_row(term.name, term.symbol, value, term.formula, term.source)
    console().print(table)
