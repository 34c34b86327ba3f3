"""Pages without a browser: each run as a notebook, with the visit put in from outside."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from reckoner.cli import group
from reckoner.ledger import Ledger, request
from reckoner.web.visit import Sources, Visit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def visit(tmp_path):
    return Visit(
        person="person-ann",
        sources=Sources(
            ledger=str(tmp_path / "l.db"),
            curves=ROOT / "experiments" / "kv-cost",
            prices=ROOT / "experiments" / "finops",
        ),
    )


@pytest.fixture
def told(visit):
    """A ledger with a person's and the physics' forecasts and their outcomes."""
    with Ledger.open(visit.sources.ledger) as ledger:
        for index in range(6):
            ledger.predict(f"r{index}", "ann", {"e2e_s": 2.0 + index}, inputs={"model": "m"})
            ledger.record(request(f"r{index}", model="m", prompt_tokens=8, e2e_s=2.5))
        ledger.predict("open", "ann", {"e2e_s": 1.0})
        ledger.decide("launch", "two H100s", because="cheapest that passes")
    return visit


def run(page, visit):
    """All that a page shows, as one text."""
    app = import_module(f"reckoner.web.pages.{page}").app
    outputs, _ = app.run(defs={"visit": visit})
    return "\n".join(getattr(out, "text", "") for out in outputs if out is not None)


def plain(page):
    return re.sub(r"<[^>]+>", " ", page)


def test_the_curves_page_shows_every_paragraph_figure_and_table_of_the_record(visit):
    from reckoner.web import curves

    found = curves.read(visit.sources.curves)
    page = run("curves", visit)
    assert found.names[0] in plain(page)
    everything = curves.show(found)
    for name in found.names:
        assert f"One decode step: {name}" in everything
        assert f"KV cache memory: {name}" in everything
    assert everything.count("<svg") == 2 * 2 * len(found.names)


def test_a_folder_without_a_run_says_which_command_makes_one(visit, tmp_path):
    from reckoner.web import curves

    assert "reckoner curves --quick" in curves.show(curves.read(tmp_path))


def test_a_damaged_run_is_told_in_a_sentence_and_not_raised(visit, tmp_path):
    from reckoner.web import curves

    shutil.copytree(visit.sources.curves, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").write_text("{")
    assert "manifest.json" in curves.show(curves.read(tmp_path / "run"))


def test_the_prices_page_shows_the_table_of_cpqu(visit, capsys):
    page = run("prices", visit)
    group.main(
        ["cpqu", str(visit.sources.prices), "--check", "--json", "--costs", str(ROOT / "docs" / "COSTS.md")],
        standalone_mode=False,
    )
    rows = json.loads(capsys.readouterr().out)["cpqu"]
    for row in rows.values():
        assert row["semver"] in page
    assert "CpQU" in plain(page)


@pytest.mark.parametrize("dimension", ["tense", "person", "regularity", "language", "verb"])
def test_every_bucket_of_every_dimension_has_its_row_for_every_version(visit, dimension):
    from reckoner.finops.buckets import bucket_rows
    from reckoner.finops.table import derive
    from reckoner.web import prices

    frozen = prices.read(visit.sources.prices)
    rows = bucket_rows(derive(frozen.inputs), dimension)
    page = plain(prices.show(frozen, dimension=dimension))
    for row in rows:
        assert row.bucket.replace("_", " ") in page
    assert len(rows) == len(frozen.inputs.models) * len({row.bucket for row in rows})
    assert sum(row.n for row in rows) == sum(len(model.report.core) for model in frozen.inputs.models)


def test_twice_the_rate_is_twice_the_price_and_nothing_is_written(visit):
    from reckoner.finops.table import derive
    from reckoner.web import prices

    frozen = prices.read(visit.sources.prices)
    before = (visit.sources.prices / "cost_inputs.json").read_bytes()
    rate = frozen.inputs.rate.usd_per_hour
    twice = derive(prices.asked(frozen.inputs, usd_per_hour=2 * rate, usd_per_error=None))
    for one, two in zip(derive(frozen.inputs).rows, twice.rows, strict=True):
        assert two.usd_per_1k_tokens == pytest.approx(2 * one.usd_per_1k_tokens, rel=1e-5)
    assert "What if" in prices.show(frozen, usd_per_hour=2 * rate)
    assert "What if" not in prices.show(frozen, usd_per_hour=rate)
    assert (visit.sources.prices / "cost_inputs.json").read_bytes() == before


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_price_is_refused_in_words(visit, rate):
    from reckoner.web import prices

    assert "USD per hour above 0" in prices.show(prices.read(visit.sources.prices), usd_per_hour=rate)


def test_the_forecasts_page_tells_what_score_tells(told, capsys):
    page = plain(run("forecasts", told))
    group.main(["score", "--ledger", told.sources.ledger], standalone_mode=False)
    said = capsys.readouterr().out.splitlines()[1].split()
    for cell in said:
        assert cell in page
    assert "1 predictions wait" in page


def test_a_ledger_without_outcomes_says_how_to_get_some(visit):
    assert "reckoner record request" in run("forecasts", visit)


def test_the_ledger_page_shows_newest_first_and_escapes_what_people_wrote(told):
    with Ledger.open(told.sources.ledger) as ledger:
        ledger.decide("<script>alert(1)</script>", "mischief")
    page = run("ledger", told)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.index("mischief") < page.index("two H100s")


def test_search_finds_words_of_any_case_in_any_field_and_says_when_there_are_none(told):
    from reckoner.web import ledger as view

    with told.ledger() as ledger:
        assert len(view.search(ledger, text="CHEAPEST").kept) == 1
        assert len(view.search(ledger, kind="prediction").kept) == 7
        assert "Nothing found" in view.show(view.search(ledger, text="unicorn"))
        assert view.search(ledger, last=20).looked == 14


def test_one_entry_in_full_is_what_the_command_line_prints(told, capsys):
    import html

    from reckoner.web import ledger as view

    with told.ledger() as ledger:
        shown = html.unescape(plain(view.detail(ledger, "3")))
        assert view.detail(ledger, " ") == ""
        assert "near" in view.detail(ledger, "99999") or "entry" in view.detail(ledger, "99999")
    group.main(["ledger", "show", "3", "--ledger", told.sources.ledger], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["hash"] in shown


def test_a_whole_chain_is_said_to_be_whole_and_the_export_is_the_command_s(told, capsys):
    from reckoner.web import ledger as view

    with told.ledger() as ledger:
        assert "as it was written" in view.checked(ledger)
        exported = view.exported(ledger).decode()
    group.main(["ledger", "export", "--ledger", told.sources.ledger], standalone_mode=False)
    assert capsys.readouterr().out == exported
