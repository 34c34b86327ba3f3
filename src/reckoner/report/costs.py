"""``COSTS.md``: the price table and the paragraphs that follow from it, in words that fit every outcome."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reckoner.files import canonical_json, write_atomic
from reckoner.finops.cost import NOT_READY, READY_ACCURACY, Interval
from reckoner.finops.inputs import Speed, load_inputs
from reckoner.finops.table import CostTable, derive
from reckoner.report.costs_words import (
    best_accuracy,
    best_cpqu,
    caveat,
    limits,
    listed,
    price_decimals,
    recommendation,
)
from reckoner.report.tables import Cell, Table, number, to_markdown

INPUTS: Final = "cost_inputs.json"


def derive_files(folder: str | Path, costs: str | Path) -> dict[Path, str]:
    """Derive everything from ``folder/cost_inputs.json`` without writing anything.

    Parameters
    ----------
    folder : path
        Holds the frozen inputs.
    costs : path
        Where ``COSTS.md`` is to stand.

    Returns
    -------
    dict of Path to str
        Text of ``cpqu.json``, ``manifest.json`` and ``COSTS.md`` by path.

    Raises
    ------
    InputError, MixedSetsError, DamagedError
        Something in the inputs is wrong; the message gives file and field.
    """
    table = derive(load_inputs(Path(folder) / INPUTS))
    return {
        Path(folder) / "cpqu.json": canonical_json(table.cpqu_json()),
        Path(folder) / "manifest.json": canonical_json(table.manifest_json()),
        Path(costs): costs_markdown(table),
    }


def write_costs(folder: str | Path, costs: str | Path) -> tuple[Path, ...]:
    """Derive all files, then write each whole; nothing is written when any input is bad."""
    return tuple(write_atomic(path, text) for path, text in derive_files(folder, costs).items())


def stale_files(folder: str | Path, costs: str | Path) -> tuple[Path, ...]:
    """Derived files that are missing or differ from what the frozen inputs give."""
    return tuple(
        path
        for path, text in derive_files(folder, costs).items()
        if not path.is_file() or path.read_bytes() != text.encode()
    )


def costs_markdown(table: CostTable) -> str:
    """The whole of ``COSTS.md``; the same table gives the same bytes."""
    warning, lost = caveat(table)
    blocks = [
        "# Cost per quality unit",
        f"Derived by `reckoner cpqu` from `{INPUTS}` (SHA-256 `{table.inputs.sha256}`). Do not edit: measure again, "
        "freeze the inputs, derive.",
        _facts(table),
        to_markdown(seed_table(table)),
        "CpQU is the price of 1,000 tokens divided by the conjugation accuracy: lower is better.",
        "## Intervals",
        to_markdown(interval_table(table)),
        interval_note(table),
        "## What an answer costs",
        to_markdown(answer_table(table)),
        answer_note(table),
        "## Best CpQU",
        best_cpqu(table),
        "## Best accuracy",
        best_accuracy(table),
        "## Where the most accurate version loses",
        warning,
        *([] if lost is None else [to_markdown(lost)]),
        "## Recommendation",
        recommendation(table),
        "## What these figures do not say",
        limits(table),
    ]
    return "\n\n".join(blocks) + "\n"


def seed_table(table: CostTable) -> Table:
    """One line per version, in the columns of the seed."""
    decimals = price_decimals(table)
    return Table(
        headers=("SHA (8)", "Semver", "Conjugation accuracy", "$/1k tokens", "CpQU", "Notes"),
        rows=tuple(
            (
                f"`{row.model.short}`",
                row.model.semver,
                f"{row.accuracy.value:.3f}",
                f"{row.usd_per_1k_tokens:.{decimals}f}",
                NOT_READY if row.cpqu is None else f"{row.cpqu:.{decimals}f}",
                row.model.notes,
            )
            for row in table.rows
        ),
    )


def interval_table(table: CostTable) -> Table:
    """Accuracy, price and CpQU of each version with their intervals."""
    decimals = price_decimals(table)
    return Table(
        headers=(
            "Semver",
            "Items",
            "Accuracy [95%]",
            "Chance-corrected choice",
            "Tokens/s [interval]",
            "$/1k tokens [interval]",
            "CpQU [interval]",
        ),
        rows=tuple(
            (
                row.model.semver,
                row.model.report.accuracy.n,
                span(row.accuracy.value, row.accuracy, 3),
                "–" if row.chance_corrected is None else f"{row.chance_corrected:.3f}",
                _speed(row.model.throughput.tokens_per_s),
                span(row.usd_per_1k_tokens, row.usd_per_1k_interval, decimals),
                NOT_READY if row.cpqu is None else span(row.cpqu, row.cpqu_interval, decimals),
            )
            for row in table.rows
        ),
    )


def answer_table(table: CostTable) -> Table:
    """Prefill and decode apart, and what a million answers cost."""
    return Table(
        headers=(
            "Semver",
            "Prefill tokens/s [interval]",
            "Decode tokens/s [interval]",
            "$ per 1M requests",
            "$ per 1M accepted answers [interval]",
            f"$ per 1M answers, an error at ${number(table.inputs.usd_per_error)}",
        ),
        rows=tuple(
            (
                row.model.semver,
                _speed(row.model.throughput.prefill_tokens_per_s),
                _speed(row.model.throughput.decode_tokens_per_s),
                _million(row.usd_per_request),
                _million(row.usd_per_accepted, row.usd_per_accepted_interval),
                _million(row.usd_with_errors),
            )
            for row in table.rows
        ),
    )


def _facts(table: CostTable) -> str:
    inputs = table.inputs
    sizes = sorted({row.model.report.accuracy.n for row in table.rows})
    batches = sorted({row.model.throughput.batch for row in table.rows})
    busy = sorted({row.model.throughput.utilisation for row in table.rows})
    engines = sorted({row.model.engine for row in table.rows})
    graders = sorted({row.model.report.engine for row in table.rows})
    lines = [
        f"**Rate:** ${number(inputs.rate.usd_per_hour)} per hour ({inputs.rate.comment.strip().rstrip('.')}). "
        f"Source: {_sentence(inputs.rate.source)}",
        f"**Evaluation set:** `{inputs.eval_set_hash}`, {listed(map(str, sizes))} core items, the same for every row.",
        f"**Engines:** throughput on {listed(engines)}, answers from {listed(graders)}; "
        f"batch {listed(map(str, batches))}, utilisation "
        f"{listed(f'{share:.0%}' for share in busy)}.",
        *_method(inputs.throughput_method),
        "**Formulas:** $/1k tokens = rate / (tokens/s × 3.6); CpQU = $/1k tokens / accuracy; below an accuracy of "
        f"{READY_ACCURACY:.2f} a version is {NOT_READY} and nothing is divided.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def interval_note(table: CostTable) -> str:
    """What the intervals are, and which are missing."""
    said = ["Accuracies carry 95% Wilson intervals."]
    speeds = [row.model.throughput.tokens_per_s for row in table.rows]
    coverage = sorted({speed.coverage for speed in speeds if speed.coverage is not None})
    if coverage:
        said += [
            "Speeds carry the order-statistic interval of the median over their repeats (exact coverage "
            f"{listed(f'{share:.1%}' for share in coverage)}); prices inherit it, and CpQU joins both on the log scale."
        ]
    short = [row.model.semver for row in table.rows if row.model.throughput.tokens_per_s.low is None]
    if short:
        said += [f"Too few repeats for an interval: {listed(short)}; a record has at least five."]
    options = table.inputs.choice_options
    if options is not None and any(row.chance_corrected is not None for row in table.rows):
        said += [
            f"Chance-corrected: the choice among at least {options} candidates, 0 for guessing and 1 for perfect; the "
            "conjugation accuracy itself is of freely written words, where a guess is worth nothing."
        ]
    return " ".join(said)


def answer_note(table: CostTable) -> str:
    """What a request is, and what happens to wrong answers."""
    said = []
    tokens = table.inputs.request_tokens
    if tokens is not None:
        prompt, new = (number(round(count, 1)) for count in tokens)
        said += [f"A request is the mean one of the throughput test: {prompt} prompt and {new} new tokens."]
    if any(row.usd_per_request is None for row in table.rows):
        said += ["A dash stands where the inputs do not record the requests or their two speeds."]
    said += [
        "Accepted: wrong answers are detected and asked again (cost / accuracy). Priced: they are not detected, and "
        f"each costs ${number(table.inputs.usd_per_error)}, an assumption to replace by your own figure."
    ]
    return " ".join(said)


def span(value: float, interval: Interval | None, decimals: int) -> str:
    """A figure and its interval, all to the same decimals.

    >>> span(0.9, Interval(value=0.9, low=0.85, high=0.93), 3)
    '0.900 [0.850, 0.930]'
    """
    text = f"{value:.{decimals}f}"
    return text if interval is None else f"{text} [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def _speed(speed: Speed | None) -> Cell:
    if speed is None:
        return "–"
    text = number(speed.median)
    return text if speed.low is None or speed.high is None else f"{text} [{number(speed.low)}, {number(speed.high)}]"


def _million(usd: float | None, interval: Interval | None = None) -> Cell:
    if usd is None:
        return "–"
    text = number(usd * 1e6)
    return text if interval is None else f"{text} [{number(interval.low * 1e6)}, {number(interval.high * 1e6)}]"


def _method(method: Mapping[str, Any]) -> list[str]:
    """The recorded method as lines: its own facts, then those of each mapping or list in it; the manifest has all."""
    lines = [f"**Throughput method:** {_sentence(_facts_of(method) or 'not recorded')}"]
    for key in sorted(method):
        item = method[key]
        title = key.replace("_", " ").capitalize()
        if isinstance(item, Mapping) and _facts_of(item):
            lines.append(f"**{title}:** {_sentence(_facts_of(item))}")
        elif isinstance(item, (list, tuple)) and item:
            lines.append(f"**{title}:** {_sentence('; '.join(map(str, item)))}")
    return lines


def _facts_of(value: Mapping[str, Any]) -> str:
    """The single facts of a mapping, in the order of their names."""
    told = []
    for key in sorted(value):
        item = value[key]
        if isinstance(item, bool):
            told.append(f"{key.replace('_', ' ')}: {'yes' if item else 'no'}")
        elif isinstance(item, (str, int, float)):
            told.append(f"{key.replace('_', ' ')}: {number(item, 6) if isinstance(item, (int, float)) else item}")
    return "; ".join(told)


def _sentence(text: str) -> str:
    flat = " ".join(text.split())
    return flat if flat.endswith((".", "!", "?")) else f"{flat}."
