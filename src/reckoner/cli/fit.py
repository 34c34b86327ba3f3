"""``reckoner fit``: seconds per token from request logs, summed where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reckoner.cli._ledger import json_option, print_json, print_table, progress

if TYPE_CHECKING:
    from reckoner.calibrate.sql_sources import TableSource


@click.command()
@click.argument("source")
@click.option("--table", help="Table of a database.")
@click.option("--map", "maps", multiple=True, help="FIELD=COLUMN or FIELD=SQL, comma-separated or given again.")
@click.option("--model", help="Model of all rows, where the log names none.")
@click.option("--where", help="SQL condition for the rows that count.")
@click.option("--format", "form", help="Form of a JSON file: vllm, otel, litellm, ...; found out by default.")
@click.option("--passes", type=int, default=3, show_default=True, help="How often the rows are summed.")
@click.option(
    "--sample",
    type=int,
    default=100_000,
    show_default=True,
    help="Rows that all passes but the last are made on; 0: the whole log each time.",
)
@click.option("--threads", type=int, help="Threads for files; all cores by default.")
@click.option("--sql", is_flag=True, help="Print the statement instead of running it.")
@json_option
def command(  # noqa: PLR0913 - one option each
    source: str,
    *,
    table: str | None,
    maps: tuple[str, ...],
    model: str | None,
    where: str | None,
    form: str | None,
    passes: int,
    sample: int,
    threads: int | None,
    sql: bool,
    as_json: bool,
) -> None:
    """Fit seconds per token to request logs, where they lie.

    SOURCE is a Parquet, CSV or JSONL file or glob, a SQLite file, a postgresql:// URL, or a result file of vLLM,
    SGLang, GuideLLM, AIPerf, llmperf, OpenTelemetry, LiteLLM or Langfuse. Fields are model, prompt_tokens,
    completion_tokens and e2e_s (or e2e_ms).

    \b
    Example:
      reckoner fit 'logs/*.parquet'
      reckoner fit log.csv --map prompt_tokens=n_in,completion_tokens=n_out
      reckoner fit postgresql://me@db/litellm --table '"LiteLLM_SpendLogs"' \\
          --map e2e_s='EXTRACT(EPOCH FROM "endTime" - "startTime")'
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.calibrate.priors import PRIORS
    from reckoner.calibrate.sql import Reference, aggregate_sql
    from reckoner.calibrate.sql_fit import fit

    opened = _open(source, table, _maps(maps), model, where, form, threads)
    if sql:
        local = PRIORS["local"]
        first = Reference(
            overhead_s=local.overhead / 1e3,
            s_per_prompt_token=local.prompt / 1e3,
            s_per_completion_token=local.completion / 1e3,
        )
        click.echo(aggregate_sql(opened, first).strip())
        return
    with progress("summing", passes) as done:
        found = fit(opened, passes=passes, sample=sample, done=lambda so_far, _: done(so_far))
    if as_json:
        print_json(found.to_json())
        return
    print_table(
        ("model", "requests", "overhead ms", "ms/prompt token", "ms/completion token", "scatter", "mean/median"),
        [
            [
                row.model,
                f"{row.n:,}",
                f"{1e3 * row.overhead_s:.2f} ± {1e3 * row.stderr[0]:.2f}",
                f"{1e3 * row.s_per_prompt_token:.5f} ± {1e3 * row.stderr[1]:.5f}",
                f"{1e3 * row.s_per_completion_token:.4f} ± {1e3 * row.stderr[2]:.4f}",
                f"{100 * row.scatter:.1f}%",
                f"{row.mean_ratio:.3f}",
            ]
            for row in found.models
        ],
    )
    if found.refused:
        click.echo(f"{found.refused:,} of {found.rows:,} rows are no finished requests and were left out", err=True)


def _open(
    source: str,
    table: str | None,
    told: dict[str, str],
    model: str | None,
    where: str | None,
    form: str | None,
    threads: int | None,
) -> TableSource:
    """A tool's result file is read; everything else answers SQL itself."""
    import json

    from reckoner.calibrate.sql_readers import detect, read_log
    from reckoner.calibrate.sql_sources import memory_source, open_source

    path = Path(source)
    known = form
    if form is None and not told and path.suffix in (".json", ".jsonl") and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        try:
            known = detect(json.loads(first))
        except json.JSONDecodeError:
            known = "?"  # one document over many lines: no table
    if known is None or (known == "seed" and form is None):
        return open_source(source, table=table, told=told, model=model, where=where, threads=threads)
    log = read_log(path, form=form, model=model)
    if log.left_out:
        click.echo(f"{log.left_out} entries of {path} are no finished requests and were left out", err=True)
    return memory_source((one.model, one.prompt_tokens, one.completion_tokens, one.e2e_s) for one in log.requests)


def _maps(maps: tuple[str, ...]) -> dict[str, str]:
    """Read ``prompt_tokens=n_in,e2e_ms=took``; a comma inside an expression needs its own --map."""
    import re

    from reckoner.errors import InputError

    found = {}
    for text in maps:
        for part in re.split(r",(?=\w+=[^=])", text):
            name, sign, value = part.partition("=")
            if not sign or not value:
                raise InputError(f"--map is {part!r}; write FIELD=COLUMN, such as prompt_tokens=n_in")
            found[name.strip()] = value.strip()
    return found
