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
    from reckoner.report.forecast_figures import HourScore

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


def score_rows(scores: Sequence[Score]) -> list[list[str]]:
    """Cells of a table of scores."""
    return [
        [
            score.metric,
            score.predictor,
            score.model or "all",
            str(score.n),
            share(score.median_ape),
            share(score.mean_ape),
            share(score.p90_ape),
            share(score.bias, sign=True),
            share(score.coverage) + ("" if score.level is None else f" of {100 * score.level:.0f}%"),
            share(score.width),
        ]
        for score in scores
    ]


SCORE_COLUMNS = ("metric", "predictor", "model", "n", "median", "mean", "P90", "bias", "inside", "width")


def share(value: float | None, *, sign: bool = False) -> str:
    """Share as percent; a dash where there is none.

    >>> share(0.1234), share(None), share(-0.05, sign=True)
    ('12.3%', '-', '-5.0%')
    """
    if value is None:
        return "-"
    return f"{100 * value:+.1f}%" if sign else f"{100 * value:.1f}%"


def by_hour(sums: dict[Key, Sums], metric: str) -> tuple[dict[str, list[HourScore]], float]:
    """Scores of each predictor by hour, and the level that their intervals promised."""
    from reckoner.report.forecast_figures import HourScore

    merged: dict[tuple[str, str], Sums] = {}
    for key, part in sums.items():
        if key.metric == metric:
            group = (key.predictor, key.hour)
            merged[group] = merged[group].merge(part) if group in merged else part
    hours: dict[str, list[HourScore]] = {}
    level, intervals = 0.0, 0
    for predictor, hour in sorted(merged):
        part = merged[predictor, hour]
        if part.n:
            level, intervals = level + part.level, intervals + part.intervals
            hours.setdefault(predictor, []).append(
                HourScore(
                    hour=hour,
                    n=part.n,
                    bias=part.error / part.n,
                    mean_ape=part.ape / part.n,
                    coverage=part.covered / part.intervals if part.intervals else None,
                )
            )
    return hours, level / intervals if intervals else 0.0


def draw(sums: dict[Key, Sums], path: Path, *, metric: str = "e2e_s") -> list[Path]:
    """Write the picture of drift, and beside it that of coverage where forecasts had intervals."""
    from reckoner.report.forecast_figures import coverage_chart, drift_chart
    from reckoner.report.png import to_png

    hours, level = by_hour(sums, metric)
    written = [to_png(drift_chart(hours), path)]
    if level:
        written.append(to_png(coverage_chart(hours, level=level), path.with_name(f"{path.stem}-coverage{path.suffix}")))
    for file in written:
        click.echo(f"wrote {file}", err=True)
    return written
