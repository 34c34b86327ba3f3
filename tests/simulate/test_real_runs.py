"""The committed scores of the real runs: whole, attributed, and what the goals ask of the worst of them."""

from __future__ import annotations

import csv
from pathlib import Path

from reckoner.files import read_json

HERE = Path(__file__).parents[2] / "validation" / "simulation"


def test_both_runs_are_there_request_by_request_with_their_source_and_licence():
    with (HERE / "vllm_requests.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    runs = [row["run"] for row in rows]
    assert {run: runs.count(run) for run in set(runs)} == dict.fromkeys(read_json(HERE / "results.json"), 300)
    page = (HERE / "README.md").read_text()
    assert "LLMServingSim" in page
    assert "MIT" in page


def test_every_percentile_is_within_five_percent_after_sixty_answers():
    for run in read_json(HERE / "results.json").values():
        for metric in ("ttft", "tpot", "e2e"):
            assert all(abs(run["after_60"][metric][f"p{q}"]) < 0.05 for q in (50, 90, 95, 99)), metric
