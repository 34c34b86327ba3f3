"""The audit in words: each outcome against its golden file, and pages that open offline.

After a wanted change: python tests/report/test_audit_report.py, then read the difference.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from reckoner.audit.brief import brief
from reckoner.audit.plan import Measured, Plan
from reckoner.audit.plan_file import write_plan
from reckoner.audit.run import audit
from reckoner.cli.audit import command
from reckoner.report.audit import markdown

GOLDEN = Path(__file__).parents[1] / "golden" / "audit"


def open_plan() -> Plan:
    """A plan that fails nothing and leaves its drift, base rates, rent and quality unknown."""
    plan = brief()
    slo = replace(plan.slo, e2e_p99_s=60.0, usd_per_request=0.01, requests_per_s=2.0, min_quality=0.6, max_power_w=1e4)
    tiers = {
        "cloud": replace(plan.tiers["cloud"], share=0.8),
        "edge": replace(plan.tiers["edge"], share=0.2, usd_per_hour=None, weights="int4"),
    }
    return replace(
        plan, name="left open", slo=slo, tiers=tiers, drift=replace(plan.drift, psi_per_day=None),
        fairness=replace(plan.fairness, base_rate_a=None),
    )  # fmt: skip


def kept_plan() -> Plan:
    """A plan that keeps everything, its quality measured."""
    plan = open_plan()
    graded = tuple(
        Measured(model="llama-2-7b", weights=weights, value=0.7, n=1000, source="a test")
        for weights in ("fp16", "int4")
    )
    tiers = {**plan.tiers, "edge": replace(plan.tiers["edge"], usd_per_hour=0.03)}
    return replace(
        plan, name="kept", tiers=tiers, quality=graded, headroom=0.2, drift=replace(brief().drift, retrain_days=25.0),
        fairness=brief().fairness,
    )  # fmt: skip


PLANS = {"brief": brief, "open": open_plan, "kept": kept_plan}


@pytest.mark.parametrize("name", PLANS)
def test_the_words_fit_every_outcome(name):
    assert markdown(audit(PLANS[name]())) == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "code", "last"), [("brief", 1, "promises fail"), ("open", 1, "cannot be judged")])
def test_a_plan_that_fails_or_cannot_be_judged_ends_with_1_and_says_which(name, code, last, tmp_path):
    file = write_plan(tmp_path / "plan.toml", PLANS[name]())
    said = CliRunner().invoke(command, [str(file)], standalone_mode=False)
    assert said.return_value == code
    assert last in said.stdout
    for verdict in (found := audit(PLANS[name]())).failed + found.unknown:
        assert verdict.fix.split()[0] in said.stdout


def test_a_kept_plan_ends_with_0_and_no_line_is_wider_than_a_terminal_of_80_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("reckoner.cli.audit.console", lambda: Console(width=80))
    for name, make in PLANS.items():
        file = write_plan(tmp_path / "plan.toml", make())
        said = CliRunner().invoke(command, [str(file)], standalone_mode=False)
        assert said.return_value == (0 if name == "kept" else 1)
        assert max(map(len, said.stdout.splitlines())) <= 80


def test_out_writes_words_numbers_and_a_page_that_fetches_nothing(tmp_path):
    file = write_plan(tmp_path / "plan.toml", kept_plan())
    CliRunner().invoke(command, [str(file), "--out", str(tmp_path / "out")], standalone_mode=False)
    assert (tmp_path / "out" / "audit.md").read_text() == (GOLDEN / "kept.md").read_text()
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["feasible"] is True
    page = (tmp_path / "out" / "audit.html").read_text()
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)', page)
    assert "all 13 promises are kept" in page


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in PLANS.items():
        (GOLDEN / f"{name}.md").write_text(markdown(audit(make())), encoding="utf-8")
