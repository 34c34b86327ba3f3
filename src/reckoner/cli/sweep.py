"""``reckoner sweep``: many designs as one table, filtered and reduced to the best trade-offs."""

from __future__ import annotations

import csv
import math
import sys
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._csv import one_format
from reckoner.cli._design import NUMBERS, WORDS, design_options, given, numbers, words
from reckoner.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reckoner.predict.sweep import Sweep

SHOWN = {
    "ttft_s": "TTFT",
    "tpot_s": "TPOT",
    "output_tokens_per_s": "out",
    "memory_bytes": "memory",
    "j_per_token": "J/token",
    "fits": "fits",
}


@click.command()
@click.argument("models", metavar="MODEL[,MODEL...]")
@click.option("-d", "--device", required=True, help="Devices, separated by commas.")
@design_options(lists=True)
@click.option("--at-most", multiple=True, metavar="COLUMN=X", help="Keep rows up to this, such as tpot_s=0.05.")
@click.option("--at-least", multiple=True, metavar="COLUMN=X", help="Keep rows from this on.")
@click.option("--fits", is_flag=True, help="Keep what fits into memory.")
@click.option("--minimise", multiple=True, metavar="COLUMN", help="Keep the best trade-offs: smaller is better.")
@click.option("--maximise", multiple=True, metavar="COLUMN", help="Keep the best trade-offs: larger is better.")
@click.option("--sort", metavar="COLUMN", help="Order by this column.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
def command(models: str, device: str, **options: Any) -> int:
    """Predict every combination of models, devices, formats and numbers.

    \b
        $ reckoner sweep llama-3.1-8b -d h100,l40s --batch 1,8,64 --weights bf16,fp8 --csv
        $ reckoner sweep llama-3.1-70b -d h100 --tp 8 -b 1,16,256 --draft-tokens 0,2,4 --acceptance 0.7
        $ reckoner sweep llama-3.1-70b -d h100 --tp 2,4,8 -b 1,16,64 --fits --minimise tpot_s --maximise requests_per_s
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.catalogue import find
    from reckoner.design import Design
    from reckoner.files import canonical_json
    from reckoner.predict.sweep import sweep

    one_format(as_json=options["as_json"], as_csv=options["as_csv"])
    devices = [find.device(name) for name in words(device)]
    named = [find.model(name) for name in words(models)]
    axes: dict[str, Any] = {"model": named, "device": devices}
    axes |= {name: words(text) for name, text in given(options, ("draft", *WORDS)).items()}
    axes |= {name: numbers(name, text) for name, text in given(options, NUMBERS).items()}
    table = sweep(Design(model=named[0], device=devices[0]), **axes)
    table = table.where(
        at_most=_bounds("--at-most", options["at_most"]),
        at_least=_bounds("--at-least", options["at_least"]),
        fits=True if options["fits"] else None,
    )
    if options["minimise"] or options["maximise"]:
        table = table.pareto(minimise=options["minimise"], maximise=options["maximise"])
    if options["sort"] is not None:
        table = table.sort(options["sort"])
    if options["as_json"]:
        click.echo(canonical_json({"columns": {name: _plain(c) for name, c in table.columns.items()}}), nl=False)
    elif options["as_csv"]:
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(table.names)
        out.writerows(zip(*(column.tolist() for column in table.columns.values()), strict=True))
    else:
        _print(table)
    click.echo(f"reckoner: {len(table)} designs", err=True)
    return 0


def _plain(column: NDArray[Any]) -> list[Any]:
    """Values for JSON; nothing where a queue grows without end."""
    return [None if value == math.inf else value for value in column.tolist()]


def _bounds(flag: str, texts: tuple[str, ...]) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            bounds[name] = float(value)
        except ValueError as error:
            raise InputError(f"{flag} is {text!r}; write COLUMN=NUMBER, such as tpot_s=0.05") from error
    return bounds


def _cell(value: float, unit: str) -> str:
    from reckoner.cli.predict import show_metric

    return "without end" if value == math.inf else show_metric(value, unit)


def _print(table: Sweep) -> None:
    """Axes with more than one value, and the metrics that are read most; --csv has all."""
    from rich import box
    from rich.table import Table

    from reckoner.cli._design import console
    from reckoner.predict.metrics import UNITS

    varied = [name for name, values in table.axes.items() if len(values) > 1]
    metrics = [name for name in SHOWN if name in table.metrics]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in varied:
        shown.add_column(name, overflow="fold")
    for name in metrics:
        shown.add_column(SHOWN[name], justify="right", no_wrap=True)
    for row in table.records():
        axes = [f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in varied]
        cells = [
            ("yes" if row[name] else "no") if name == "fits" else _cell(row[name], UNITS[name]) for name in metrics
        ]
        shown.add_row(*axes, *cells)
    console().print(shown)
