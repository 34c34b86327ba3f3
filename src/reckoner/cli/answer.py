"""``reckoner answer``: a prediction with its interval for every row of a file of measurements to come."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.predict.answer import Answer

_SHOWN = 5  # rows without an answer that are named one by one


@click.command("answer")
@click.argument("items", type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where to write the CSV; by default to stdout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of CSV.")
def command(items: str, output: str | None, as_json: bool) -> None:
    """Predict every row of a file of items, with 90 % intervals.

    ITEMS is a CSV file, gzipped or not, in one of the three schemas of validation/README.md: items, networks or runs.
    The answer has the columns item, predicted, low, high, in the unit of each row's kind. A missing field is assumed
    and widens the interval; so is a figure that cannot be meant. A row of an unknown kind is named and left empty.

    \b
    Example:
      $ reckoner answer validation/items.csv.gz -o predictions.csv
      19743 rows answered in predictions.csv
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.files import write_atomic

    if output is not None and Path(output).exists() and Path(items).exists() and Path(output).samefile(items):
        raise InputError(f"--output is {output}, the file of items itself; choose another name, or it would be lost")
    found = _counted(items)
    _tell_unread(items)
    _tell_unanswered(found)
    if as_json:
        click.echo(json.dumps([_figures(a) for a in found], allow_nan=False))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item", "predicted", "low", "high"))
    writer.writerows((a.item, *("" if v is None else f"{v:.6g}" for v in (a.predicted, a.low, a.high))) for a in found)
    if output is None:
        click.echo(text.getvalue(), nl=False)
        return
    write_atomic(Path(output), text.getvalue())
    click.echo(f"{sum(not a.why_not for a in found)} rows answered in {output}", err=True)


def _counted(items: str) -> list[Answer]:
    """Answer part by part and show how far it is on stderr; silent when stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from reckoner.predict.answer import answers
    from reckoner.simulate.answers import Player

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} rows answered"), TimeElapsedColumn())
    found: list[Answer] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        for part in answers(items, revise=Player().revise):
            found += part
            progress.update(task, completed=len(found))
    return found


def _tell_unread(items: str) -> None:
    from reckoner.predict.answer import unread

    if names := unread(items):
        click.echo(f"not read: {', '.join(names)}; validation/README.md names the columns of items", err=True)


def _tell_unanswered(found: list[Answer]) -> None:
    without = [(line, a.why_not) for line, a in enumerate(found, start=2) if a.why_not]
    for line, why in without[:_SHOWN]:
        click.echo(f"line {line}: no answer: {why}", err=True)
    if without:
        click.echo(f"{len(without)} of {len(found)} rows have no answer; their figures are left empty", err=True)


def _figures(a: Answer) -> dict[str, str | float | None]:
    figures: dict[str, str | float | None] = {"item": a.item, "predicted": a.predicted, "low": a.low, "high": a.high}
    return figures | ({"why_not": a.why_not} if a.why_not else {})
