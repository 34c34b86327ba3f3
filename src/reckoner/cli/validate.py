"""``reckoner validate``: the scoreboard against public measurements, anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from reckoner.cli._csv import csv_option, one_format, print_csv


@click.command("validate")
@click.option("--folder", default="validation", show_default=True, help="Folder with the open measurements.")
@click.option("--quick", is_flag=True, help="Fewer folds: about a third of the time.")
@click.option("--refit", is_flag=True, help="Also learn the packaged prior anew from the folder.")
@click.option("--runs", multiple=True, type=click.Path(dir_okay=False), help="Other recorded runs to simulate as well.")
@click.option("--simulation", is_flag=True, help="Only the recorded runs; with --out, the page's other parts stay.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the page here, and the numbers beside it as JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@csv_option
def command(
    folder: str,
    quick: bool,
    refit: bool,
    runs: tuple[str, ...],
    simulation: bool,
    out: Path | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Score predictions on public measurements: same cells, new models, devices and sources.

    Fits the prior anew without the rows that it then predicts, and sets the errors beside those of the simplest
    roofline and of aiconfigurator on the same rows; simulates recorded runs request by request. The figures of request
    forecasts are the folder's own, written by its study. Takes some minutes.

    \b
    Example:
      $ reckoner validate --out docs/validation.md
      docs/validation.md and docs/validation.json written
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.cli._validation_page import page
    from reckoner.cli._validation_requests import requests_of
    from reckoner.cli._validation_runs import runs_section
    from reckoner.files import canonical_json, read_json, write_atomic
    from reckoner.simulate.suite import score

    one_format(as_json=as_json, as_csv=as_csv)

    def say(line: str) -> None:
        click.echo(f"reckoner: {line}", err=True)

    board: dict[str, Any] = {}
    if not simulation:
        from reckoner.predict.validate import run

        board = run(folder, quick=quick, refit=refit, say=say)
        if refit:
            from reckoner.simulate import cells

            say("learning what served deployments get of their devices")
            cells.save(cells.learn(folder))
    elif out is not None:
        board = dict(read_json(out.with_suffix(".json")))
    board["requests"] = requests_of(folder)
    board["simulation"] = score(folder, more=runs, say=say)
    text = page(board) if "items" in board else runs_section(board["simulation"])
    if out is not None:
        write_atomic(out, text)
        write_atomic(out.with_suffix(".json"), canonical_json(board))
        click.echo(f"{out} and {out.with_suffix('.json')} written", err=True)
    if as_json:
        click.echo(canonical_json(board), nl=False)
    elif as_csv:
        print_csv(_lines(board))
    elif out is None:
        click.echo(text, nl=False)


def _lines(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One line a score: file, axis, kind and source, and its figures."""
    for file, axes in (
        ("items", {axis: scores["kind_source"] for axis, scores in board.get("items", {}).items()}),
        ("networks", board.get("networks", {})),
    ):
        for axis, parts in axes.items():
            for name, score in parts.items():
                kind, _, source = name.partition("|")
                plain = {key: value for key, value in score.items() if not isinstance(value, (dict, list))}
                yield {"file": file, "axis": axis, "kind": kind, "source": source} | plain
