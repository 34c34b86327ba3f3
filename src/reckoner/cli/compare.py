"""``reckoner compare``: two runs, and whether they differ."""

from __future__ import annotations

from pathlib import Path

import click

from reckoner.cli._ledger import json_option, print_json, print_table


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--tool", help="Tool that wrote both; seen from the content by default.")
@click.option("--run", "only", type=click.IntRange(min=1), help="Only this run of each file, counted from 1.")
@click.option("--max-regression", "limit", help="Exit 1 when B is worse by more than this, such as 5%.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap of the tails.")
@json_option
def command(a: Path, b: Path, tool: str | None, only: int | None, limit: str | None, seed: int, as_json: bool) -> int:
    """Compare two runs: differences with intervals.

    A and B are result files that reckoner import reads, or folders that reckoner measure saved. A difference is seen
    when its interval leaves zero out; beside it stands the smallest that would have been seen four times in five.

    \b
    Example:
      reckoner compare before.json after.json
      reckoner compare before.json after.json --max-regression 5%
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.errors import InputError
    from reckoner.measure.compare import compare
    from reckoner.measure.importers.read import read_results

    allowed = None if limit is None else _share(limit)
    sides = [read_results(path, tool=tool) for path in (a, b)]
    if only is not None:
        for path, runs in zip((a, b), sides, strict=True):
            if only > len(runs):
                raise InputError(f"{path} holds {len(runs)} runs; --run {only} is none of them")
        sides = [(runs[only - 1],) for runs in sides]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"{a} holds {len(sides[0])} runs and {b} {len(sides[1])}; choose one of each with --run")
    found = [compare(one, two, seed=seed) for one, two in zip(*sides, strict=True)]
    for each in found:
        if not each.differences:
            raise InputError(f"{each.a.name} and {each.b.name} state no figure that both have")
    worse = [
        (each, one) for each in found for one in each.differences if allowed is not None and one.regressed(allowed)
    ]
    if as_json:
        print_json({"comparisons": [each.to_json() for each in found], "regressions": [one.metric for _, one in worse]})
    else:
        from reckoner.report.imported_text import COMPARISON_COLUMNS, comparison_rows, comparison_words

        for index, each in enumerate(found):
            click.echo(f"{'' if not index else chr(10)}A: {each.a.name}\nB: {each.b.name}")
            click.echo(comparison_words(each))
            print_table(COMPARISON_COLUMNS, comparison_rows(each))
            for line in each.cautions:
                click.echo(f"caution: {line}")
    for each, one in worse:
        click.echo(f"{each.b.name}: {one.metric} is {one.worse:.1%} worse, more than {limit}", err=True)
    return 1 if worse else 0


def _share(text: str) -> float:
    """Read ``5%`` or ``0.05``.

    >>> _share("5%"), _share("0.05")
    (0.05, 0.05)
    """
    from reckoner.errors import InputError

    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 10.0:
        raise InputError(f"--max-regression is {text!r}; write a share such as 5% or 0.05")
    return value
