"""``reckoner score``: how good each predictor in the ledger was."""

from __future__ import annotations

from pathlib import Path

import click

from reckoner.cli._ledger import (
    draw,
    json_option,
    ledger_option,
    opened,
    plot_option,
    print_json,
    print_scores,
)


@click.command()
@click.option("--metric", help="One metric only, such as e2e_s.")
@click.option("--predictor", help="One predictor only.")
@click.option("--by-model", is_flag=True, help="A row for each model.")
@ledger_option
@plot_option
@json_option
def command(
    metric: str | None, predictor: str | None, by_model: bool, url: str, plot: Path | None, as_json: bool
) -> None:
    """Score every predictor in the ledger: error, bias, coverage.

    Errors are |forecast - outcome| / outcome. Only what was committed before its outcome counts.

    \b
    Example:
      reckoner score --by-model
      reckoner score --predictor ann --plot out/ann.png
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.ledger.scores import scores
    from reckoner.workbench.memory import check_not_empty

    with opened(url) as ledger:
        check_not_empty(ledger)
        sums = ledger.sums(metric=metric, predictor=predictor)
        waiting = ledger.waiting()
    found = scores(sums, by_model=by_model)
    if plot is not None:
        draw(sums, plot, metric=metric or "e2e_s")
    if as_json:
        print_json({"scores": [score.to_json() for score in found], "waiting": waiting})
        return
    if found:
        print_scores(found)
    else:
        click.echo("no prediction has met its outcome yet", err=True)
    if waiting:
        click.echo(f"{waiting} predictions wait for their outcome", err=True)
