"""Results become a table and the page "How good are our forecasts?"."""

from __future__ import annotations

import textwrap
from typing import Any

from validation.calibration.rivals import RIVALS

SOURCES = {
    "llmperf": "hosted APIs, 13 streams (llmperf, 2023)",
    "aibrix": "vLLM swept into overload, 6 streams (AIBrix, 2025)",
    "servingsim": "vLLM 0.19 at 10 requests/s, 2 streams (LLMServingSim, 2026)",
}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def table(results: dict[str, Any]) -> str:
    """Markdown table over all sources and forecasters."""
    lines = [
        "| requests | forecaster | MAPE % | median % | first five % | 90 % interval holds % | its width |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for source, title in SOURCES.items():
        for key, (name, _, library) in RIVALS.items():
            row = results["sources"][source].get(key)
            if row is None:
                lines.append(f"| {title} | {name} | {library} was not installed | | | | |")
                continue
            width = "" if row["width"] is None else f"x {row['width']:.2f}"
            cells = (row["mape"], row["median"], row["first_five"], row["coverage"])
            lines.append(f"| {title} | {name} | {' | '.join(_percent(cell) for cell in cells)} | {width} |")
    return "\n".join(lines)


def streams(results: dict[str, Any]) -> str:
    """Markdown table of our figures, stream by stream."""
    lines = ["| stream | requests | MAPE % | median % | holds % | width |", "|---|--:|--:|--:|--:|--:|"]
    for name, rows in sorted(results["streams"].items()):
        row = rows["ours"]
        lines.append(
            f"| {name} | {row['n']:,} | {_percent(row['mape'])} | {_percent(row['median'])} | "
            f"{_percent(row['coverage'])} | x {row['width']:.2f} |"
        )
    return "\n".join(lines)


def page(results: dict[str, Any], transfer: str) -> str:
    """Return the whole page."""
    ours = {source: rows["ours"] for source, rows in results["sources"].items()}
    blind = {source: rows["ours_blind"] for source, rows in results["sources"].items()}
    seed = {source: rows["seed"] for source, rows in results["sources"].items()}
    changes = results["changes"]
    return _wrapped(f"""# How good are our forecasts?

Every figure below but the times is made by one command, `python -m validation.calibration`: each stream of real
requests is replayed
in order of launch, every request is forecast before its outcome is known, and learned only once it has finished. The
requests are others' measurements; sources and licences stand in `validation/calibration/README.md`.

## A request

On hosted APIs the mean relative error is {_percent(ours["llmperf"]["mape"])} % (version 1:
{_percent(seed["llmperf"]["mape"])} %) and the median {_percent(ours["llmperf"]["median"])} %. On vLLM swept into
overload it is {_percent(ours["aibrix"]["mape"])} % (version 1: {_percent(seed["aibrix"]["mape"])} %): prompts and
answers are all alike there, and what differs is the queue. Intervals that promise 90 % hold
{_percent(ours["llmperf"]["coverage"])} % and {_percent(ours["aibrix"]["coverage"])} %.

{table(results)}

Means over streams, each stream counting the same. "First five" is the error of a stream's first five forecasts, the
first of which is the prior's. The width of an interval is high / low, its geometric mean.
All forecasters but "length unknown" are told the answer's length, as version 1 is.

A cold start, the first five forecasts of a stream, misses by {_percent(ours["llmperf"]["first_five"])} % on hosted APIs
(version 1: {_percent(seed["llmperf"]["first_five"])} %) and by {_percent(ours["aibrix"]["first_five"])} % on vLLM
(version 1: {_percent(seed["aibrix"]["first_five"])} %). Where the answer's length is unknown too, intervals hold
{_percent(blind["llmperf"]["coverage"])} % on hosted APIs and {_percent(blind["aibrix"]["coverage"])} % in overload.

### How it works

Five forecasters per model are mixed in log space by how well each has forecast (Student likelihood, a share of the
weight always spread evenly). Three are decayed, robust, non-negative least squares of the time itself on overhead,
prompt, completion and requests in flight, with a prior that never decays; two are decayed ridge regressions of the
logarithm. `predict` remembers what it forecast until `record` brings the outcome. So it knows what is in flight, which
is what foretells a queue; and a forecast is judged by what it said at launch, not by what it would say after its
neighbours have finished. Intervals are quantiles of past misses at a like load, steered towards the coverage asked
for, and wider where many requests are in flight per outcome seen: requests of one crowd miss together.

The point forecast is the value with the least expected *relative* error. Where times scatter widely it lies below the
median, because an overestimate can cost any multiple and an underestimate at most one. For sums use
`AdaptiveCalibrator.total`, which corrects this bias.

### Changes and outliers

On made-up requests (4 % noise, log-uniform lengths, four seeds): when everything takes twice as long from one request
to the next, the mean error of ten forecasts is back below 10 % after {changes["recovered"]["ours"]} outcomes
(version 1: {changes["recovered"]["seed"]}), and the change is told as an event after {changes["noticed"]}. When one
request in twenty takes twenty times as long, the others' error rises from {_percent(changes["clean"]["ours"])} % to
{_percent(changes["outliers"]["ours"])} % (version 1: {_percent(changes["clean"]["seed"])} % to
{_percent(changes["outliers"]["seed"])} %).

### What it costs

One run of `benchmarks/bench_calibrator.py` on one core (CPython 3.11, 2026-11-21; microseconds of CPU):

| | reckoner | version 1's rule | river, adaptive forest | LightGBM, retrained every 50 |
|---|--:|--:|--:|--:|
| learn an outcome | 13.8 | 0.9 | 510 | 195 |
| forecast | 2.1 | 0.1 | 48 | 20 |

With requests in flight, as a fourth regressor: 21.2 and 2.7. An outcome is on disk after 27 us (version 1, which writes
its whole state each time: 215 us with one model, 4,570 us with 1,000; a plain SQLite insert: 11 us safe against a kill,
107 us safe against a power cut). Four processes on one state: 43,759 outcomes a second, none of them lost.

### Stream by stream

{streams(results)}

### What was tried and left

- Four linear half-lives as first designed score 15.9 % on the API streams; two log-ridge experts beside them bring it
  down most, for API latency is nearly a power law of the answer's length.
- A faster step of the interval's tails (0.03, 0.06) covers *less*: with delayed outcomes it chases the past.
- Without the count of requests in flight the overload streams stay above 60 % and their intervals hold 68 %.
- A regressor `in flight x completion` changes nothing here: all answers of a sweep have the same length.
- Windows of 60 residuals cover less than 200; 400 is no better.
- One window for all forecasts of unknown length, whatever the load, held 83 % in overload; one for each load, as where
  the length is known, holds 90 %.

### What it cannot know

Two replicas behind one name, one busy and one idle, look alike from outside: requests with equal tokens and equal
numbers in flight take 1.3 s or 90 s (`aibrix_naive_prefix_routing`). A stream that begins in the middle of an overload
is forecast from the prior until its first outcomes arrive, and they arrive late: of the 300 requests of each
LLMServingSim run 170 or more were launched before the first had finished. There every forecaster fails alike; the
interval of ours says so, once its clock shows that requests outlive what was foretold.

## A deployment

{transfer}""")


def _wrapped(text: str) -> str:
    """Fill each paragraph anew, for figures change its lines; tables, lists and headings stay as they are."""
    blocks = text.split("\n\n")
    kept = ("|", "-", "#")
    filled = (
        block if block.startswith(kept) else textwrap.fill(block, 120, break_on_hyphens=False) for block in blocks
    )
    return "\n\n".join(filled).rstrip() + "\n"
