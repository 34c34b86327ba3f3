"""``reckoner evaluate``: grade a registered version on a probe set, with an interval beside every share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli.registry import json_option, print_json, root_option, stdout_console

if TYPE_CHECKING:
    from reckoner.engines.base import Engine
    from reckoner.evaluate import Accuracy, Report

SHOWN = ("language", "tense", "person", "regularity", "split", "category")


@click.command()
@click.argument("version")
@click.option("--probes", "probes_path", type=click.Path(path_type=Path), help="JSONL; by default the tutor's own set.")
@click.option("--engine", type=click.Choice(["numpy", "llamacpp"]), default="numpy", show_default=True)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Grade a fixed subset of this size: another set, another hash."
)
@click.option("--by", multiple=True, help="Slices to print: language, tense, person, verb, tense_person, ...")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the whole report as JSON.")
@root_option
@json_option
def command(
    version: str,
    probes_path: Path | None,
    engine: str,
    limit: int | None,
    by: tuple[str, ...],
    out: Path | None,
    root: Path,
    as_json: bool,
) -> None:
    """Grade a registered version on a probe set, slice by slice.

    \b
    Example:
      reckoner evaluate v0.1.0
      reckoner evaluate v0.3.0 --engine llamacpp --by verb --out report.json
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.engines.tokenizer import Tokenizer
    from reckoner.errors import UnknownNameError
    from reckoner.evaluate import SLICES, grade, load_probes, subset
    from reckoner.files import write_json
    from reckoner.registry import Registry
    from reckoner.tutor.versions import probes_path as tutor_probes

    for name in by:
        if name not in SLICES:
            raise UnknownNameError.of("slice", name, SLICES)
    registry = Registry.open(root)
    found = registry.get(version)
    files = registry.files(found)
    probes = load_probes(tutor_probes() if probes_path is None else probes_path)
    if limit is not None:
        probes = subset(probes, limit)
    with _progress(found.label) as told, _engine(engine, files) as running:
        report = grade(
            running,
            Tokenizer.load(files["tokenizer.json"]),
            probes,
            model_digest=found.digest,
            progress=told,
        )
    if out is not None:
        write_json(out, report.to_json())
        click.echo(f"wrote {out}", err=True)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report, found.label, by or SHOWN)


@contextmanager
def _engine(kind: str, files: dict[str, Path]) -> Iterator[Engine]:
    from reckoner.engines.weights import load

    weights = load(files)
    if kind == "numpy":
        from reckoner.engines.numpy_decoder import NumpyDecoder

        yield NumpyDecoder(weights)
        return
    from tempfile import TemporaryDirectory

    from reckoner.engines.gguf_file import write_gguf, write_lora_gguf
    from reckoner.engines.llamacpp import LlamaCpp
    from reckoner.files import read_json

    with TemporaryDirectory(prefix="reckoner-") as folder:
        model = write_gguf(weights, read_json(files["tokenizer.json"]), Path(folder) / "model.gguf")
        adapter = None if weights.adapter is None else write_lora_gguf(weights, Path(folder) / "adapter.gguf")
        with LlamaCpp(model, adapter) as engine:
            yield engine


@contextmanager
def _progress(label: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("grading {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _print(report: Report, label: str, by: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table(title=f"{label} on {report.engine}; evaluation set {report.eval_set_hash[:12]}", title_justify="left")
    for name in ("slice", "n", "correct", "accuracy", "95% interval"):
        table.add_column(name, justify="left" if name == "slice" else "right")
    table.add_row("conjugation (core)", *_cells(report.accuracy))
    for name, value in (("held-out cells", report.held_out), ("adversarial", report.adversarial)):
        if value is not None:
            table.add_row(name, *_cells(value))
    for name in by:
        table.add_section()
        for key, value in report.slices[name].items():
            table.add_row(f"{name}: {key}", *_cells(value))
    console = stdout_console()
    console.print(table)
    for line in _rest(report):
        console.print(line, highlight=False)


def _cells(value: Accuracy) -> tuple[str, str, str, str]:
    return str(value.n), str(value.correct), f"{value.accuracy:.3f}", f"{value.low:.3f} .. {value.high:.3f}"


def _rest(report: Report) -> Iterator[str]:
    if report.choice_accuracy is not None and report.ece is not None and report.brier is not None:
        yield (
            f"likeliest candidate right: {report.choice_accuracy.accuracy:.3f}; "
            f"ECE {report.ece:.3f}, Brier {report.brier:.3f}"
        )
    sampled = report.pass_at_k
    if sampled is not None and report.sampling is not None:
        shares = ", ".join(f"pass@{k} {value:.3f}" for k, value in sampled.items())
        count = sum(outcome.sampled_correct is not None for outcome in report.outcomes)
        yield f"{shares} ({report.sampling.n} samples at T = {report.sampling.temperature} of {count} probes)"
