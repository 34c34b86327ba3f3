"""One plan, three ways in: Python, the command line and the browser's controls and download say the same numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reckoner.audit.brief import brief
from reckoner.audit.plan import Drift, Fairness, Measured, MicroTier, Plan, ServedTier
from reckoner.audit.plan_file import plan_of, write_plan
from reckoner.audit.run import audit
from reckoner.cli.audit import command
from reckoner.design import Slo
from reckoner.web.design import controls, plan_of_values
from reckoner.web.parcel import Parcel

MODELS = ("llama-2-7b", "llama-3.1-8b", "qwen2.5-0.5b", "smollm2-135m")
DEVICES = {"cloud": ("h100", "nvidia-l40s"), "edge": ("jetson-orin-nx-16gb",), "mobile": ("apple-a17-pro",)}


def maybe(strategy):
    """Stated or not."""
    return st.none() | strategy


def counts(most):
    return st.integers(1, most)


@st.composite
def served(draw, name):
    """A tier of a language model."""
    drafts = draw(st.sampled_from([0, 0, 4]))
    return ServedTier(
        share=1.0,
        model=draw(st.sampled_from(MODELS)),
        device=draw(st.sampled_from(DEVICES[name])),
        weights=draw(st.sampled_from(["fp16", "int8", "int4"])),
        replicas=draw(counts(200)),
        batch=draw(st.sampled_from([1, 8, 64])) if name == "cloud" else 1,
        scheduler="continuous" if drafts else draw(st.sampled_from(["continuous", "dynamic", "static"])),
        prompt_tokens=draw(counts(500)),
        output_tokens=draw(counts(300)),
        draft_tokens=drafts,
        usd_per_hour=draw(maybe(st.floats(0.01, 10.0))),
        pooled=name != "mobile",
    )


micros = st.builds(
    MicroTier, share=st.just(1.0), device=st.just("stm32h743"), params=st.floats(1e4, 1e8),
    weights=st.sampled_from(["int8", "int4", "ternary"]), activation_bytes=st.floats(0.0, 2e6), replicas=counts(5000),
)  # fmt: skip

slos = st.builds(
    Slo, e2e_p99_s=maybe(st.floats(0.01, 30.0)), ttft_p99_s=maybe(st.floats(0.01, 5.0)),
    tpot_p99_s=maybe(st.floats(0.001, 0.2)), usd_per_request=maybe(st.floats(1e-6, 0.01)),
    requests_per_s=st.floats(0.1, 2000.0), availability=maybe(st.floats(0.5, 0.9999)),
    min_quality=maybe(st.floats(0.1, 0.9)), max_power_w=maybe(st.floats(10.0, 1e5)),
)  # fmt: skip

fairnesses = maybe(
    st.builds(
        Fairness, max_gap=st.floats(0.0, 0.2), base_rate_a=maybe(st.floats(0.1, 0.9)), base_rate_b=st.floats(0.1, 0.9)
    )
)
drifts = st.builds(
    Drift, psi_per_day=maybe(st.floats(0.0, 0.05)), loss_per_psi=maybe(st.floats(0.0, 0.5)),
    retrain_days=st.floats(1.0, 90.0),
)  # fmt: skip


@st.composite
def plans(draw):
    """Any plan over one to four tiers."""
    names = sorted(draw(st.sets(st.sampled_from(["cloud", "edge", "mobile", "tinyml"]), min_size=1)))
    parts = [draw(counts(100)) for _ in names]
    tiers = {
        name: replace(draw(micros if name == "tinyml" else served(name)), share=part / sum(parts))
        for name, part in zip(names, parts, strict=True)
    }
    graded = tuple(
        Measured(model=model, weights=weights, value=draw(st.floats(0.2, 1.0)), n=draw(counts(10_000)), source="a test")
        for model in MODELS
        for weights in ("fp16", "int8", "int4")
        if draw(st.booleans())
    )
    return Plan(
        name="random", slo=draw(slos), tiers=tiers, headroom=draw(st.floats(0.0, 1.0)), drift=draw(drifts),
        fairness=draw(fairnesses), quality=graded,
    )  # fmt: skip


@given(plan=plans())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_python_the_command_line_and_the_browser_give_the_same_numbers(plan, tmp_path_factory):
    found = audit(plan)
    file = write_plan(tmp_path_factory.mktemp("plan") / "plan.toml", plan)
    said = CliRunner().invoke(command, [str(file), "--json"], catch_exceptions=False, standalone_mode=False)
    document = json.loads(said.stdout)
    assert document == json.loads(json.dumps(found.to_dict()))
    assert said.return_value == (0 if found.feasible else 1)
    assert plan_of(document["plan"]) == plan
    values = {one.name: one.value for group in controls(plan).values() for one in group}
    browser = audit(plan_of_values(plan, values))
    parcel = json.loads(Parcel(audit=browser, advice=None, first=None, second=None, reflection={}).json())
    assert {key: parcel[key] for key in document} == document
    says_that_it_holds(document)


def says_that_it_holds(document):
    """A document is feasible only when each of its verdicts is a pass, and a verdict follows from its own figures."""
    words = [verdict["verdict"] for verdict in document["verdicts"]]
    assert (document["feasible"] is True) == (set(words) <= {"pass"})
    assert (document["feasible"] is False) == ("fail" in words)
    for verdict in document["verdicts"]:
        value, limit = verdict["value"], verdict["limit"]
        if value is not None:
            assert math.isfinite(value)
            assert (verdict["verdict"] == "pass") == (value >= limit if verdict["at_least"] else value <= limit)
        else:
            assert verdict["verdict"] != "pass"


def test_the_example_is_the_brief():
    said = CliRunner().invoke(command, ["--example"], catch_exceptions=False, standalone_mode=False)
    import msgspec

    assert plan_of(msgspec.toml.decode(said.stdout.encode())) == brief()
