"""``reckoner validate``: the scoreboard against public measurements, anew."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("validate")
@click.option("--folder", default="validation", show_default=True, help="Folder with the open measurements.")
@click.option("--quick", is_flag=True, help="Fewer folds: about a third of the time.")
@click.option("--refit", is_flag=True, help="Also learn the packaged prior anew from the folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the page here, and the numbers beside it as JSON.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(folder: str, quick: bool, refit: bool, out: Path | None, as_json: bool) -> None:
    """Score predictions on public measurements: same cells, new models, devices and sources.

    Fits the prior anew without the rows that it then predicts, and sets the errors beside those of the simplest
    roofline and of aiconfigurator on the same rows. Takes some minutes.

    \b
    Example:
      $ reckoner validate --out docs/validation.md
      docs/validation.md and docs/validation.json written
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.cli._validation_page import page
    from reckoner.files import canonical_json, write_atomic
    from reckoner.predict.validate import run

    board = run(folder, quick=quick, refit=refit, say=lambda line: click.echo(f"reckoner: {line}", err=True))
    if out is not None:
        write_atomic(out, page(board))
        write_atomic(out.with_suffix(".json"), canonical_json(board))
        click.echo(f"{out} and {out.with_suffix('.json')} written", err=True)
    if as_json:
        click.echo(canonical_json(board), nl=False)
    elif out is None:
        click.echo(page(board), nl=False)
