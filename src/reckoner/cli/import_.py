"""``reckoner import``: other tools' result files in one form, audited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reckoner.cli._ledger import json_option, opened, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reckoner.measure.importers.imported import Imported
    from reckoner.workbench.imported import Beside

_COLUMNS = ("", "predicted", "90% interval", "measured", "90% interval", "measured / predicted")
_SERVING = ("batch", "tp", "weights", "kv", "engine")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--tool", help="vllm-bench, sglang-bench, guidellm, ...; seen from the content by default.")
@click.option("--run", "only", type=click.IntRange(min=1), help="Only this run of each file, counted from 1.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what was read: .json or .parquet.")
@click.option(
    "--export", type=click.Choice(["llm-d"]), help="Write a llm-d Benchmark Report 0.2.1, to --out or stdout."
)
@click.option("--ledger", "url", help="Commit a prediction and then the outcome to this ledger.")
@click.option("-m", "--model", help="Model for the prediction; by default as the file says.")
@click.option("-d", "--device", help="Device for the prediction; by default as the file says.")
@click.option("-b", "--batch", type=float, help="Sequences at once; by default the load that was asked.")
@click.option("--tp", type=float, help="Devices that share each layer.")
@click.option("--weights", help="Number format of the weights, such as fp8.")
@click.option("--kv", help="Number format of the KV cache.")
@click.option("--engine", help="Engine that served.")
@json_option
def command(files: tuple[Path, ...], tool: str | None, only: int | None, as_json: bool, **options: Any) -> int:
    """Read and audit result files of other load generators.

    Reads vLLM bench (Python and Rust), SGLang, GuideLLM, AIPerf, genai-perf, inference-perf, llmperf, llama-bench,
    optimum-benchmark, InferenceX and llm-d reports. Exit code 1: an audit found an error.

    \b
    Example:
      reckoner import vllm_bench.json
      reckoner import report.json --out report.parquet
      reckoner import vllm_bench.json --export llm-d --out br.json
      reckoner import vllm_bench.json --ledger ledger.db --device h100
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.measure.importers.check import check

    runs = [run for path in files for run in _read(path, tool, only)]
    findings = [check(run) for run in runs]
    document: dict[str, Any] = {
        "runs": [
            run.to_json(requests=False) | {"requests": len(run.requests), "findings": [one.to_json() for one in found]}
            for run, found in zip(runs, findings, strict=True)
        ]
    }
    if options["export"]:
        _export(runs, options["out"])
    elif options["out"] is not None:
        from reckoner.measure.importers.normalised import write

        click.echo(f"wrote {write(options['out'], runs)}", err=True)
    to_stdout = options["export"] and options["out"] is None
    if not as_json and not to_stdout:
        _show(runs, findings)
    if options["url"] is not None:
        document["ledger"] = _commit(runs, options, quiet=as_json or to_stdout)
    if as_json and not to_stdout:
        print_json(document)
    wrong = sum(one.severity == "error" for found in findings for one in found)
    return 1 if wrong else 0


def _read(path: Path, tool: str | None, only: int | None) -> tuple[Imported, ...]:
    from reckoner.errors import InputError
    from reckoner.measure.importers.read import read_results

    runs = read_results(path, tool=tool)
    if only is None:
        return runs
    if only > len(runs):
        raise InputError(f"{path} holds {len(runs)} runs; --run {only} is none of them")
    return (runs[only - 1],)


def _export(runs: Sequence[Imported], out: Path | None) -> None:
    """A report holds one run."""
    from reckoner.errors import InputError
    from reckoner.files import write_json
    from reckoner.measure.importers.llmd_export import to_report

    if len(runs) != 1:
        raise InputError(f"a llm-d report holds one run and {len(runs)} were read; choose one with --run")
    report = to_report(runs[0])
    if out is None:
        print_json(report)
    else:
        click.echo(f"wrote {write_json(out, report)}", err=True)


def _show(runs: Sequence[Imported], findings: Sequence[Any]) -> None:
    from reckoner.report.imported_text import STATISTIC_COLUMNS, finding_lines, headline, statistic_rows

    for index, (run, found) in enumerate(zip(runs, findings, strict=True)):
        click.echo(("\n" if index else "") + headline(run))
        if rows := statistic_rows(run):
            print_table(STATISTIC_COLUMNS, rows)
        for line in finding_lines(found):
            click.echo(line)


def _commit(runs: Sequence[Imported], options: dict[str, Any], *, quiet: bool) -> list[dict[str, Any]]:
    from reckoner.workbench.imported import beside

    serving = {name: options[name] for name in _SERVING if options[name] is not None}
    told = []
    with opened(options["url"], create=True) as ledger:
        for run in runs:
            found = beside(ledger, run, model=options["model"], device=options["device"], serving=serving)
            told.append(found.to_json())
            if quiet:
                continue
            assumed = f"; assumed: {found.assumed}" if found.assumed else ""
            click.echo(
                f"\n{found.design.model.title} on {found.design.device.title}, {found.batch:g} at once{assumed}; "
                f"prediction {found.prediction}, outcome {found.observation}"
            )
            print_table(_COLUMNS, _rows(found))
    return told


def _rows(found: Beside) -> list[list[str]]:
    """A row a metric: what was predicted, and what was measured."""
    from reckoner.report.imported_text import metric_words, show_value

    rows = []
    for row in found.rows:
        spans = [
            "" if low is None or high is None else f"{show_value(row.metric, low)} to {show_value(row.metric, high)}"
            for low, high in ((row.predicted_low, row.predicted_high), (row.measured_low, row.measured_high))
        ]
        values = [show_value(row.metric, value) for value in (row.predicted, row.measured)]
        ratio = f"{row.ratio:.3g}{'' if row.inside else ', outside'}"
        rows.append([metric_words(row.metric), values[0], spans[0], values[1], spans[1], ratio])
    return rows
