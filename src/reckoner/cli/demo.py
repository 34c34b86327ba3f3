"""``reckoner demo``: the main job with a progress bar per stage and a closing table."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reckoner.workbench.demo import DemoResult


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out"), show_default=True, help="Folder."
)
@click.option("--record", is_flag=True, help="The full run, written to experiments/ and docs/COSTS.md (about an hour).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
def command(out: Path, record: bool, as_json: bool) -> None:
    """Register, grade, measure and price real models here; write out/report.html.

    Killed at any moment and started again, it goes on where it stopped.

    \b
    Example:
      reckoner demo
      reckoner demo --out elsewhere --json
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    # Before numpy is loaded: the tutor's matrices are so small that a second BLAS thread only waits for the first.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from reckoner.workbench.demo import STAGES, DemoPlan, Places, run_demo

    plan = DemoPlan.record() if record else DemoPlan.demo()
    places = Places.committed(Path()) if record else Places.under(out)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks = {stage: bars.add_task(stage, total=1.0, start=False) for stage in STAGES}

        def told(stage: str, share: float) -> None:
            bars.start_task(tasks[stage])
            bars.update(tasks[stage], completed=share)
            if share >= 1 and not console.is_terminal and not bars.tasks[tasks[stage]].fields.get("told"):
                console.print(f"{stage}: done")  # a log file gets one line a stage instead of a bar
                bars.update(tasks[stage], told=True)

        result = run_demo(plan, places, progress=told)
    if result.resumed:
        console.print(f"read back, not measured again: {', '.join(result.resumed)}")
    if as_json:
        click.echo(json.dumps(_document(result), indent=2, sort_keys=True))
    else:
        _table(result)
    for path in (places.report_html, places.costs_md, places.finops, places.kv_cost):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _document(result: DemoResult) -> dict[str, Any]:
    return {
        "agreement": result.agreement,
        "costs": result.costs,
        "curves": {target.target.key: target.summary for target in result.curves.targets},
        "resumed": list(result.resumed),
        "tokens_per_s": {semver: speed.to_json()["tokens_per_s"] for semver, speed in result.speeds.items()},
    }


def _table(result: DemoResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="What each version costs (greedy, llama.cpp, one thread, batch 1)", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("version", "accuracy [95%]", "held\nout", "token/s", "$/1k\ntokens", "CpQU", "agree"):
        table.add_column(name, justify="left" if name == "version" else "right", no_wrap=True)
    by_semver = {row["semver"]: row for row in result.costs.values()}
    for semver, report in result.reports.items():
        row = by_semver[semver]
        accuracy, held_out = report.accuracy, report.held_out
        agreement = result.agreement[semver]
        cpqu = row["cpqu"]
        table.add_row(
            semver,
            f"{accuracy.accuracy:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]",
            "unknown" if held_out is None else f"{held_out.accuracy:.3f}",
            f"{result.speeds[semver].tokens_per_s.median:,.0f}",
            f"{row['usd_per_1k_tokens']:.3g}",
            cpqu if isinstance(cpqu, str) else f"{cpqu:.3g}",
            f"{agreement['same']}/{agreement['probes']}",
        )
    table.caption = (
        "held out: accuracy on cells that training never saw; agree: probes that NumPy and llama.cpp answer alike"
    )
    Console().print(table)
