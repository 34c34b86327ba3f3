"""``reckoner calibrate``: learn all outcomes in the ledger, keep what was learned, say how it forecasts."""

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
    print_table,
    progress,
)


@click.command()
@ledger_option
@plot_option
@json_option
def command(url: str, plot: Path | None, as_json: bool) -> None:
    """Learn every outcome in the ledger and keep what was learned.

    Each request is forecast from the ones before it, scored, and then learned. What is kept makes later forecasts
    fast; the score goes into the ledger as one entry.

    \b
    Example:
      reckoner record log vllm_bench.json
      reckoner calibrate --plot out/drift.png
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from reckoner.workbench.memory import REPLAYED, Memory, check_not_empty

    with opened(url) as ledger:
        check_not_empty(ledger)
        with Memory(ledger) as memory:
            with progress("learning", len(ledger)) as done:
                learned = memory.catch_up(done)
            kept = learned > 0 and memory.save()
            stats = memory.calibrator.all_stats()
        scores = ledger.score(predictor=REPLAYED, by_model=True)
        if plot is not None:
            draw(ledger.sums(predictor=REPLAYED), plot)
    if as_json:
        print_json({"learned": learned, "models": stats, "scores": [score.to_json() for score in scores]})
        return
    print_table(
        ("model", "outcomes", "overhead ms", "ms/prompt token", "ms/completion token", "drifts", "status"),
        [
            [
                row["model"],
                str(row["sample_count"]),
                f"{row['base_overhead_ms']:.1f}",
                f"{row['ms_per_prompt_token']:.4f}",
                f"{row['ms_per_completion_token']:.4f}",
                str(len(row["drifts"])),
                row["status"],
            ]
            for row in stats
        ],
    )
    click.echo()
    print_scores(scores)
    click.echo(f"learned {learned} new outcomes" if kept else "nothing new to learn", err=True)
