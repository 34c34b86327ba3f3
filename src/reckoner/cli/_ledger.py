"""What the verbs of the ledger share: its option, its tables, its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reckoner.ledger import Ledger, Score
    from reckoner.ledger.scores import Key, Sums

DEFAULT_LEDGER = "~/.reckoner/ledger.db"


def ledger_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--ledger``, which falls back to RECKONER_LEDGER."""
    return click.option(
        "--ledger",
        "url",
        envvar="RECKONER_LEDGER",
        default=DEFAULT_LEDGER,
        show_default=True,
        show_envvar=True,
        help="A file, or postgresql://USER@HOST/DATABASE.",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def plot_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--plot``."""
    return click.option(
        "--plot",
        type=click.Path(path_type=Path),
        help="Write the drift and coverage picture: FILE.png, and FILE-coverage.png beside it.",
    )(function)


@contextmanager
def opened(url: str, *, create: bool = False, segments: Path | None = None) -> Iterator[Ledger]:
    """Open the ledger of a command."""
    from reckoner.ledger import Ledger

    with Ledger.open(url, create=create, segments=segments) as ledger:
        yield ledger


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Progress bar on stderr for long work; ``done(so_far)`` moves it, at most some thousand times in all."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        step = max((total or 0) // 1000, 1)
        last = 0

        def done(so_far: int) -> None:
            nonlocal last
            if so_far - last >= step:
                bar.update(task, completed=so_far)
                last = so_far

        yield done


def print_scores(scores: Sequence[Score]) -> None:
    """Print a table of scores on stdout."""
    from reckoner.report.forecast_text import SCORE_COLUMNS, score_rows

    print_table(SCORE_COLUMNS, score_rows(scores), left=3)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table on stdout: the first ``left`` columns are words, the others numbers."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < left else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)


def draw(sums: dict[Key, Sums], path: Path, *, metric: str = "e2e_s") -> list[Path]:
    """Write the picture of drift, and beside it that of coverage where forecasts had intervals."""
    from reckoner.report.forecast_figures import coverage_chart, drift_chart
    from reckoner.report.forecast_text import by_hour
    from reckoner.report.png import to_png

    hours, level = by_hour(sums, metric)
    written = [to_png(drift_chart(hours), path)]
    if level:
        written.append(to_png(coverage_chart(hours, level=level), path.with_name(f"{path.stem}-coverage{path.suffix}")))
    for file in written:
        click.echo(f"wrote {file}", err=True)
    return written
