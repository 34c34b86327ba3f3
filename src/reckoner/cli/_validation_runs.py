"""The section of ``docs/validation.md`` on recorded runs, from the simulation suite's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

_QUANTILES = ("p50", "p90", "p95", "p99")


def runs_section(suite: Mapping[str, Any]) -> str:
    """Markdown of the simulated runs: errors by percentile, coverage, and the peers on theirs."""
    parts = [
        "## Recorded runs, simulated\n\nReal vLLM runs, request by request (LLMServingSim's authors, MIT): simulated "
        "over measured, less one, in per cent, of each percentile. *Nothing of it*: efficiencies pooled from other "
        "deployments, the run itself left out; in brackets whether the 90 % interval holds the measured value. "
        f"*First {suite['first']}*: three scalars fitted to the {suite['first']} requests that were answered first, "
        "the others scored. *Apart*: mean absolute error request by request.\n",
        _runs(suite),
    ]
    if suite["covered"] is not None:
        parts.append(f"90 % intervals hold {suite['covered']:g} % of the percentiles (goal 90).\n")
    parts += [_peers(suite)] if suite["runs"] else []
    if suite.get("loops"):
        parts.append(_loops(suite["loops"]))
    if suite["refused"]:
        parts.append("Not simulated:\n\n" + "".join(f"- {name}: {why}\n" for name, why in suite["refused"].items()))
    return "\n".join(parts)


def _runs(suite: Mapping[str, Any]) -> str:
    after = f"after_{suite['first']}"
    lines = [
        "| run | learned from | metric | P50 | P90 | P95 | P99 | apart |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, run in suite["runs"].items():
        for key, label in (("zero_shot", "nothing of it"), (after, f"first {suite['first']}")):
            for metric, row in run[key].items():
                cells = [f"{100 * row[q]:+.1f}{_mark(run, key, metric, q)}" for q in _QUANTILES]
                apart = f"{100 * row['mean_absolute']:.1f}"
                shown = name.replace("|", ", ")
                lines.append(f"| {shown} | {label} | {metric.upper()} | {' | '.join(cells)} | {apart} |")
    return "\n".join(lines) + "\n"


def _mark(run: Mapping[str, Any], key: str, metric: str, q: str) -> str:
    if key != "zero_shot":
        return ""
    return " (in)" if run["inside"][metric][q] else " (out)"


def _loops(rows: Sequence[Mapping[str, Any]]) -> str:
    """Closed loops by engine and source, each with its like left out of the pool."""
    held = list(rows[0]["held"])
    lines = [f"| engine | loops of | metric | n | {' | '.join(held)} |", f"|---|---|---|---:|{'---:|' * len(held)}"]
    for row in rows:
        cells = [f"{row['held'][name]['median']:g} ({row['held'][name]['bias']:+g})" for name in held]
        lines.append(f"| {row['engine']} | {row['source']} | {row['metric']} | {row['n']} | {' | '.join(cells)} |")
    return (
        "Closed loops, simulated with what is expected of their deployment when the deployment itself, or all that "
        "shares its device, model or source, is left out of the pool: median absolute error (and signed error) in per "
        "cent. InferenceX and the silicon table count as one source. `reckoner answer` plays some of these loops, and "
        "all open ones (docs/adr/0007).\n\n" + "\n".join(lines) + "\n"
    )


def _peers(suite: Mapping[str, Any]) -> str:
    """Ours on these runs, theirs on runs of their own choice."""
    after = f"after_{suite['first']}"
    simulators = sorted({p["simulator"] for p in suite["peers"]} - {"vidur"})
    metrics = list(next(iter(suite["runs"].values()))["means"]["zero_shot"])
    theirs = {(p["simulator"], p["metric"]): p for p in suite["peers"]}
    lines = [
        f"| metric | ours, nothing of it | ours, first {suite['first']} | {' | '.join(simulators)} |",
        f"|---|{'---:|' * (2 + len(simulators))}",
    ]
    for metric in metrics:
        ours = [
            f"{100 * median(abs(run['means'][key][metric]) for run in suite['runs'].values()):.1f}"
            for key in ("zero_shot", after)
        ]
        found = [theirs.get((name, metric)) for name in simulators]
        cells = [f"{p['median']:g} (n={p['n']})" if p else "" for p in found]
        lines.append(f"| {metric.replace('_', ' ')} | {' | '.join([*ours, *cells])} |")
    return (
        f"Median absolute error in per cent over {len(suite['runs'])} runs, beside what other simulators scored on "
        "real vLLM runs of their own choice, per the authors of BLIS: other runs, so levels, not ranks. BLIS was "
        "trained partly on its set; Vidur is left out, for its profile was mis-set there.\n\n" + "\n".join(lines) + "\n"
    )
