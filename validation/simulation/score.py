"""Score the simulator on two real vLLM runs, request by request: zero-shot, and after their first sixty answers.

python validation/simulation/score.py          # rewrites results.json and the table in README.md
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from reckoner.catalogue.find import device, model
from reckoner.design import Design
from reckoner.files import write_atomic, write_json
from reckoner.simulate import Arrivals, Continuous, simulate
from reckoner.simulate.fitting import Observed, first_answers, fit
from reckoner.simulate.server import server_of

HERE = Path(__file__).parent
DEVICES = {"RTX-4090-24GB": "rtx-4090", "RTX-PRO-6000-BW-96GB": "rtx-pro-6000"}
QUANTILES = (0.5, 0.9, 0.95, 0.99)
FIRST = 60
SCHEDULERS = {
    "RTX-4090-24GB": Continuous(max_seqs=256, token_budget=2048),
    "RTX-PRO-6000-BW-96GB": Continuous(max_seqs=128, token_budget=2048),
}
"""As the runs were launched (bench/bench-rtx4090.sh and bench/bench.sh of the source, read 2026-11-21)."""

MARK = "<!-- scores -->"


def load() -> dict[str, tuple[Arrivals, Observed]]:
    """Both runs by name."""
    runs: dict[str, list[dict[str, str]]] = {}
    with (HERE / "vllm_requests.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            runs.setdefault(row["run"], []).append(row)
    found = {}
    for name, rows in runs.items():
        column = {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "run"}
        arrivals = Arrivals(
            arrival_s=column["arrival_s"],
            prompt_tokens=column["prompt_tokens"],
            output_tokens=column["output_tokens"],
            name=name,
        )
        observed = Observed(ttft_s=column["ttft_s"], tpot_s=column["tpot_s"], e2e_s=column["e2e_s"])
        found[name] = (arrivals, observed)
    return found


def errors(found: Any, observed: Observed, rows: Any) -> dict[str, Any]:
    """Relative error of each percentile, and the mean absolute error by request."""
    scored: dict[str, Any] = {}
    for metric in ("ttft", "tpot", "e2e"):
        mine, real = found.latency_s(metric)[rows], getattr(observed, f"{metric}_s")[rows]
        scored[metric] = {
            f"p{100 * q:g}": round(float(np.quantile(mine, q) / np.quantile(real, q) - 1.0), 4) for q in QUANTILES
        }
        scored[metric]["mean_absolute"] = round(float(np.mean(np.abs(mine / real - 1.0))), 4)
    return scored


def score() -> dict[str, Any]:
    """All runs, both ways."""
    results: dict[str, Any] = {}
    for name, (arrivals, observed) in load().items():
        card = name.split("|")[0]
        design, scheduler = Design(model=model("llama-3.1-8b"), device=device(DEVICES[card])), SCHEDULERS[card]
        server = server_of(design, scheduler=scheduler, workload=arrivals.workload)
        rest = np.setdiff1d(np.arange(len(arrivals)), first_answers(arrivals, observed, FIRST))
        fitted = fit(design, arrivals, observed, first=FIRST, scheduler=scheduler)
        after = server_of(design, efficiency=fitted.efficiency, scheduler=scheduler, kv_tokens=fitted.kv_tokens)
        results[name] = {
            "requests": len(arrivals),
            "kv_tokens": server.kv_tokens,
            "zero_shot": errors(simulate(server, arrivals), observed, np.arange(len(arrivals))),
            f"after_{FIRST}": errors(simulate(after, arrivals), observed, rest),
            "fitted": {name: round(float(getattr(fitted.efficiency, name)), 4) for name in ("mfu", "mbu", "layer")}
            | {"kv_tokens": fitted.kv_tokens, "misfit": round(fitted.misfit, 4)},
        }
    return results


def table(results: dict[str, Any]) -> str:
    """Markdown of the results."""
    lines = [
        "| run | learned from | metric | P50 | P90 | P95 | P99 | mean absolute |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, run in results.items():
        for key, label in (("zero_shot", "nothing of it"), (f"after_{FIRST}", f"its first {FIRST} answers")):
            for metric, row in run[key].items():
                cells = " | ".join(f"{100 * row[f'p{100 * q:g}']:+.1f} %" for q in QUANTILES)
                apart = f"{100 * row['mean_absolute']:.1f} %"
                lines.append(f"| {name.split('|')[0]} | {label} | {metric.upper()} | {cells} | {apart} |")
    return "\n".join(lines)


def main() -> None:
    """Write results.json and the table in README.md."""
    results = score()
    write_json(HERE / "results.json", results)
    page = (HERE / "README.md").read_text(encoding="utf-8")
    head, _, rest = page.partition(MARK)
    _, _, tail = rest.partition(MARK)
    write_atomic(HERE / "README.md", f"{head}{MARK}\n{table(results)}\n{MARK}{tail}")
    print(table(results))


if __name__ == "__main__":
    main()
