"""docs/audit.md knows every setting, and the brief lies beside the examples."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from reckoner.audit.brief import brief
from reckoner.audit.plan import SCHEDULERS, Drift, Fairness, Measured, MicroTier, Plan, ServedTier
from reckoner.audit.plan_file import plan_to_toml
from reckoner.design import Slo

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
TABLES = {"plan": Plan, "slo": Slo, "drift": Drift, "fairness": Fairness, "quality": Measured}


@pytest.mark.parametrize("kind", [*TABLES.values(), ServedTier, MicroTier], ids=lambda kind: kind.__name__)
def test_every_setting_is_documented(kind):
    for field in fields(kind):
        assert f"`{field.name}`" in TEXT or (field.name in TABLES or field.name == "tiers")
    assert all(scheduler in TEXT for scheduler in SCHEDULERS)


def test_the_brief_lies_beside_the_examples_as_the_command_prints_it():
    example = (ROOT / "examples" / "architects_brief.toml").read_text(encoding="utf-8")
    assert example == plan_to_toml(brief()), "reckoner audit --example > examples/architects_brief.toml"
