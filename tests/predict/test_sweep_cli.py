import csv
import io
import json

import pytest
from click.testing import CliRunner

from reckoner.catalogue.find import device, model
from reckoner.cli.sweep import command
from reckoner.design import Design
from reckoner.errors import InputError, UnknownNameError
from reckoner.predict.sweep import sweep

GRID = ("llama-3.1-8b", "-d", "h100,l40s", "--batch", "1,8,64", "--weights", "bf16,fp8")


def run(*words):
    result = CliRunner().invoke(command, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_csv_holds_the_columns_of_the_library():
    rows = list(csv.DictReader(io.StringIO(run(*GRID, "--csv").stdout)))
    base = Design(model=model("llama-3.1-8b"), device=device("h100"))
    same = sweep(base, model=["llama-3.1-8b"], device=["h100", "l40s"], weights=["bf16", "fp8"], batch=[1, 8, 64])
    assert len(rows) == 12
    assert [float(row["tpot_s"]) for row in rows] == same.column("tpot_s").tolist()
    assert [row["device"] for row in rows] == same.column("device").tolist()


def test_json_is_one_document_of_columns():
    columns = json.loads(run(*GRID, "--json").stdout)["columns"]
    assert {len(column) for column in columns.values()} == {12}
    assert columns["fits"] == [True] * 12


def test_constraints_and_trade_offs_thin_the_table():
    kept = json.loads(run(*GRID, "--at-most", "tpot_s=0.01", "--at-least", "batch=8", "--json").stdout)["columns"]
    assert kept["batch"]
    assert min(kept["batch"]) >= 8
    assert max(kept["tpot_s"]) <= 0.01
    best = json.loads(
        run(*GRID, "--minimise", "tpot_s", "--maximise", "requests_per_s", "--sort", "tpot_s", "--json").stdout
    )["columns"]
    assert best["tpot_s"] == sorted(best["tpot_s"])
    assert best["requests_per_s"] == sorted(best["requests_per_s"])


def test_the_table_shows_the_axes_that_vary():
    shown = run(*GRID).stdout
    assert "nvidia-l40s" in shown
    assert "batch" in shown
    assert "TPOT" in shown
    assert "model" not in shown


def test_what_does_not_fit_is_said_in_the_table_and_left_out_on_request():
    grid = ("llama-3.1-70b", "-d", "h100", "--tp", "1,4")
    assert json.loads(run(*grid, "--json").stdout)["columns"]["fits"] == [False, True]
    assert json.loads(run(*grid, "--fits", "--json").stdout)["columns"]["tp"] == [4.0]


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("--batch", "1,x"), InputError, "--batch is '1,x'; give numbers separated by commas"),
        (("--at-most", "tpot_s"), InputError, "--at-most is 'tpot_s'; write COLUMN=NUMBER"),
        (("--at-most", "tpott_s=1"), UnknownNameError, "no column named 'tpott_s'. Did you mean tpot_s"),
        (("--weights", "fp7"), UnknownNameError, "no precision named 'fp7'"),
        (("--tp", "1,3"), InputError, "tp is 3; it must divide"),
    ],
)
def test_bad_input_names_the_option(words, error, said):
    with pytest.raises(error, match=said):
        run("llama-3.1-8b", "-d", "h100", *words)


def test_a_queue_without_end_is_null_in_json_and_said_in_the_table():
    words = ("llama-3.1-8b", "-d", "h100", "--rate", "0.1,1000")
    columns = json.loads(run(*words, "--json").stdout)["columns"]
    assert columns["arrivals_per_s"] == [0.1, 1000.0]
    assert columns["ttft_s"][1] is None
    assert columns["ttft_s"][0] > 0
    assert "without end" in run(*words).stdout


def test_gains_are_axes_of_the_command():
    rows = json.loads(run("llama-3.1-8b", "-d", "h100", "--draft-tokens", "0,4", "-b", "1", "--json").stdout)["columns"]
    assert rows["tpot_s"][1] < rows["tpot_s"][0]
