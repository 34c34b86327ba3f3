"""``reckoner answer``: a prediction with its interval for every row of a file of measurements to come."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import click


@click.command("answer")
@click.argument("items", type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where to write the CSV; by default to stdout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of CSV.")
def command(items: str, output: str | None, as_json: bool) -> None:
    """Predict every row of a file of items, with 90 % intervals.

    ITEMS is a CSV file, gzipped or not, in one of the three schemas of validation/README.md: items, networks or runs.
    The answer has the columns item, predicted, low, high, in the unit of each row's kind. A missing field is assumed
    and widens the interval.

    \b
    Example:
      $ reckoner answer validation/items.csv.gz -o predictions.csv
      19743 rows answered in predictions.csv
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.files import write_atomic
    from reckoner.predict.answer import answer

    found = answer(items)
    if as_json:
        click.echo(
            json.dumps([{"item": a.item, **_figures(a.predicted, a.low, a.high)} for a in found], allow_nan=False)
        )
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("item", "predicted", "low", "high"))
    writer.writerows((a.item, f"{a.predicted:.6g}", f"{a.low:.6g}", f"{a.high:.6g}") for a in found)
    if output is None:
        click.echo(text.getvalue(), nl=False)
        return
    write_atomic(Path(output), text.getvalue())
    click.echo(f"{len(found)} rows answered in {output}", err=True)


def _figures(predicted: float, low: float, high: float) -> dict[str, float]:
    return {"predicted": predicted, "low": low, "high": high}
