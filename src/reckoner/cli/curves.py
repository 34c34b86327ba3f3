"""``reckoner curves``: what a KV cache costs and saves here, measured against context length."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from reckoner.measure.curves import CurvesResult, Target, TargetCurves

RANDOM = "random-100m"


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("tutor", RANDOM),
    show_default=True,
    help="tutor, random-100m (random weights), or a model folder. Repeatable.",
)
@click.option(
    "--engine",
    "engines",
    type=click.Choice(["numpy", "llamacpp"]),
    multiple=True,
    default=("numpy", "llamacpp"),
    show_default=True,
    help="Repeatable.",
)
@click.option("--repeats", type=click.IntRange(min=1), help="Timed runs of each point; 100 unless --quick.")
@click.option("--quick", is_flag=True, help="The demo's plan: about a minute instead of most of an hour.")
@click.option("--again", is_flag=True, help="Measure anew even where this very run is finished in DIR.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the artefacts."
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as one JSON document.")
def command(
    models: tuple[str, ...],
    engines: tuple[str, ...],
    repeats: int | None,
    quick: bool,
    again: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Measure KV-cache memory and decode latency against context length.

    Killed and started again, it goes on where it stopped.

    \b
    Example:
      reckoner curves --quick --out out/kv-cost
      reckoner curves --model tutor --engine numpy --repeats 100 --out out/tutor --json
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from reckoner.measure.curves import CurvesPlan, run_curves
    from reckoner.report.curves_text import write_curves

    plan = CurvesPlan.demo() if quick else CurvesPlan.record()
    if repeats is not None:
        plan = dataclasses.replace(plan, repeats=repeats)
    targets = [_target(model, engine) for model in models for engine in engines]
    if again:
        (out / "manifest.json").unlink(missing_ok=True)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("curves", total=1.0)
        result = run_curves(targets, out=out, plan=plan, progress=lambda share: bar.update(task, completed=share))
        write_curves(result, out)
        bar.update(task, completed=1.0)
    if as_json:
        click.echo(json.dumps(result.manifest(), indent=2, sort_keys=True))
    else:
        _table(result)
    console.print(f"wrote {out / 'README.md'}", highlight=False, soft_wrap=True)


def _target(model: str, engine: str) -> Target:
    from reckoner.errors import UnknownNameError
    from reckoner.measure.curves import EngineName, Target

    kind: EngineName = "numpy" if engine == "numpy" else "llamacpp"
    if model == RANDOM:
        from reckoner.engines.random_decoder import CONFIG_100M

        return Target(name=RANDOM, engine=kind, config=CONFIG_100M)
    if model == "tutor":
        from reckoner.tutor.versions import VERSIONS, files

        return Target(name="tutor", engine=kind, files={role: str(path) for role, path in files(VERSIONS[0]).items()})
    if not (Path(model) / "config.json").is_file():
        raise UnknownNameError.of("model", model, ["tutor", RANDOM, "a folder with config.json"])
    return Target(name=Path(model).resolve().name, engine=kind, folder=model)


def _table(result: CurvesResult) -> None:
    from rich.console import Console
    from rich.table import Table

    # One column a target: they stay few, and the rows fit a terminal of 80 columns.
    table = Table(title="What the KV cache costs and saves (medians per token; largest errors)")
    table.add_column("")
    for one in result.targets:
        table.add_column(f"{one.target.name}\n{one.target.engine}", justify="right")
    for row in zip(*map(_column, result.targets), strict=True):
        table.add_row(row[0][0], *(figure for _, figure in row))
    Console().print(table)


def _column(one: TargetCurves) -> list[tuple[str, str]]:
    """Each quantity's name and figure, the same names for every target."""
    rows = []
    for point in (one.latency[0], one.latency[-1]):
        rows.append((f"ms with cache, S={point.s}", f"{point.per_token_ms_with_cache.median:.3g}"))
        rows.append((f"ms without, S={point.s}", f"{point.per_token_ms_without_cache.median:.3g}"))
    return [
        *rows,
        ("R2 of alpha + beta S", _figure(one.with_cache.r2, ".3f")),
        ("  error beyond the fit", _figure(one.with_cache.max_extrapolation_error, ".0%")),
        ("R2 of a + b S + c S2", _figure(one.without_cache.r2, ".3f")),
        ("  error beyond the fit", _figure(one.without_cache.max_extrapolation_error, ".0%")),
        ("memory against theory, error", _figure(one.memory_error, ".1%")),
        ("crossover", "none" if one.crossover.s is None else f"S = {one.crossover.s:.0f}"),
    ]


def _figure(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
