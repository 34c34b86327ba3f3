import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reckoner.cli import group
from reckoner.errors import InputError, ReckonerError

SAMPLES = Path(__file__).parents[1] / "golden" / "samples"


@pytest.fixture
def reckoner(tmp_path, monkeypatch):
    """Run the command line on a ledger of its own; returns what it printed, raises what it refuses."""
    monkeypatch.setenv("RECKONER_LEDGER", str(tmp_path / "ledger.db"))

    def run(*words, code=0):
        result = CliRunner().invoke(group, list(words))
        if isinstance(result.exception, ReckonerError):
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return run


def test_a_person_and_physics_are_scored_by_the_same_outcome(reckoner):
    reckoner("record", "prediction", "run-7", "--by", "ann", "e2e_s=3.5:3.0:4.2")
    reckoner("record", "prediction", "run-7", "--by", "physics", "e2e_s=2.0", "tpot_s=0.02")
    reckoner("record", "observation", "run-7", "e2e_s=4.0")

    told = reckoner("score", "--json")

    assert [(row["predictor"], row["mean_ape"], row["coverage"]) for row in told["scores"]] == [
        ("ann", 0.125, 1.0),
        ("physics", 0.5, None),
    ]
    assert "12.5%" in reckoner("score")


def test_requests_are_learned_and_forecast_and_the_forecast_scored(reckoner, tmp_path):
    for i in range(30):
        reckoner("record", "request", "timmy:q4", "-p", str(100 * i), "-c", "100", "--ms", str(500 + 10 * i))
    made = reckoner("forecast", "timmy:q4", "-p", "1500", "-c", "100", "--commit", "--id", "next", "--json")
    assert made["sample_count"] == 30
    assert made["low_s"] <= made["e2e_s"] <= made["high_s"]
    assert made["e2e_s"] == pytest.approx(0.65, rel=0.1)
    reckoner("record", "request", "timmy:q4", "-p", "1500", "-c", "100", "--ms", "650", "--id", "next")
    (score,) = reckoner("score", "--json")["scores"]
    assert (score["predictor"], score["n"]) == ("calibrator", 1)

    first = reckoner("calibrate", "--json", "--plot", str(tmp_path / "drift.png"))
    again = reckoner("calibrate", "--json")

    assert (first["learned"], again["learned"]) == (31, 0)
    assert first["models"] == again["models"]
    assert first["scores"] == again["scores"]
    assert first["scores"][0]["n"] == 31
    for name in ("drift.png", "drift-coverage.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert reckoner("ledger", "verify", "--json")["ok"]


def test_forecasts_are_the_same_from_the_snapshot_as_from_the_whole_ledger(reckoner):
    for i in range(12):
        reckoner("record", "request", "m:q4", "-p", str(50 * i), "-c", "10", "--ms", str(300 + 9 * i))
    before = reckoner("forecast", "m:q4", "-p", "77", "-c", "10", "--json")
    reckoner("calibrate")
    reckoner("ledger", "seal", "--upto", "8")
    assert reckoner("forecast", "m:q4", "-p", "77", "-c", "10", "--json") == before


def test_a_log_of_another_tool_is_recorded_and_fitted(reckoner):
    log = str(SAMPLES / "vllm_bench_serve_0.32_detailed.json")
    assert reckoner("record", "log", log, "--json")[0]["recorded"] == 6
    assert reckoner("calibrate", "--json")["learned"] == 6
    with pytest.raises(InputError, match="in the ledger already"):
        reckoner("record", "log", log)
    (row,) = reckoner("fit", log, "--json")["models"]
    assert (row["model"], row["n"]) == ("fake", 6)
    assert "fake" in reckoner("fit", log)


def test_a_table_is_fitted_by_its_mapping_and_the_statement_can_be_seen(reckoner, tmp_path):
    (tmp_path / "log.csv").write_text("name,n_in,n_out,took\n" + "a,100,10,500\na,900,50,900\n" * 20)
    words = ("fit", str(tmp_path / "log.csv"), "--map", "model=name,prompt_tokens=n_in,completion_tokens=n_out")
    told = reckoner(*words, "--map", "e2e_ms=took", "--json")
    assert (told["rows"], told["refused"], told["passes"]) == (40, 0, 3)
    assert "GROUP BY model" in reckoner(*words, "--map", "e2e_ms=took", "--sql")
    with pytest.raises(InputError, match="write FIELD=COLUMN"):
        reckoner("fit", str(tmp_path / "log.csv"), "--map", "nonsense")


def test_a_sqlite_table_is_fitted(reckoner, tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "logs.db")
    connection.execute("CREATE TABLE calls (model TEXT, input_tokens INT, output_tokens INT, latency_ms REAL)")
    connection.executemany("INSERT INTO calls VALUES ('a', ?, ?, ?)", [(i, i, 100.0 + 3 * i) for i in range(50)])
    connection.commit()
    connection.close()
    told = reckoner("fit", str(tmp_path / "logs.db"), "--table", "calls", "--where", "latency_ms > 100", "--json")
    assert told["models"][0]["n"] == 49
    with pytest.raises(InputError, match="--table"):
        reckoner("fit", str(tmp_path / "logs.db"))


def test_a_ledger_goes_out_and_into_another(reckoner, tmp_path):
    made = reckoner("record", "observation", "run", "e2e_s=1", "--json")
    reckoner("record", "decision", "fleet", "two h100", "--because", "fits", "--based-on", made["id"])
    reckoner("ledger", "export", "-o", str(tmp_path / "x.jsonl"))
    assert reckoner("ledger", "export") == (tmp_path / "x.jsonl").read_text()
    other = str(tmp_path / "other.db")
    assert reckoner("ledger", "import", str(tmp_path / "x.jsonl"), "--ledger", other, "--json")["added"] == 2
    assert reckoner("ledger", "show", "--ledger", other, "--json") == reckoner("ledger", "show", "--json")
    assert "two h100" in reckoner("ledger", "show")
    assert json.loads(reckoner("ledger", "show", "1"))["figures"] == {"e2e_s": 1.0}


def test_the_seeds_calibrator_is_the_start_of_learning(reckoner, tmp_path):
    state = {
        "version": 1,
        "saved_at": 1.0,
        "models": [
            {
                "model": "timmy:q4",
                "alpha": 0.15,
                "sample_count": 40,
                "last_updated": 1.0,
                "ms_per_prompt_token": 1.0,
                "ms_per_completion_token": 10.0,
                "base_overhead_ms": 500.0,
                "total_absolute_error_ms": 0.0,
                "total_predicted_ms": 0.0,
            }
        ],
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    reckoner("ledger", "import", str(tmp_path / "state.json"))
    made = reckoner("forecast", "timmy:q4", "-p", "1000", "-c", "100", "--json")
    assert made["e2e_s"] == pytest.approx(2.5, rel=1e-6)
    assert made["sample_count"] == 40


def test_verify_ends_with_1_and_names_the_entry(reckoner, tmp_path):
    import sqlite3

    for i in range(3):
        reckoner("record", "observation", f"run-{i}", "e2e_s=1")
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("DROP TRIGGER entries_no_update")
    connection.execute("UPDATE entries SET body = replace(body, 'run-1', 'run-9') WHERE seq = 2")
    connection.commit()
    connection.close()
    assert reckoner("ledger", "verify", code=1).startswith("entry 2 does not match its hash")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("score",), "no ledger at"),
        (("ledger", "seal"), "--before TIME or --upto"),
        (("record", "prediction", "r", "--by", "a", "e2e_s=nan"), "finite"),
        (("record", "prediction", "r", "--by", "a", "e2e_s"), "METRIC=VALUE"),
        (("record", "prediction", "r", "--by", "a", "e2e_s=1:2"), "both ends"),
        (("record", "observation", "r", "e2e_s=1:0:2"), "no interval"),
        (("record", "request", "m", "-p", "-3", "--ms", "1"), "prompt_tokens is -3"),
        (("record", "decision", "s", "c", "--details", "{"), "no JSON"),
        (("ledger", "verify", "--anchor", "7"), "NUMBER-HASH"),
        (("forecast", "m", "-p", "5", "--level", "2"), "level"),
    ],
)
def test_bad_input_is_refused_in_one_line(reckoner, words, message):
    with pytest.raises(InputError, match=message) as refused:
        reckoner(*words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "2:3:nan", "2:3:1"])
def test_a_figure_that_is_none_is_refused_by_its_name(reckoner, value):
    with pytest.raises(InputError, match=r"^e2e_s: "):
        reckoner("record", "prediction", "run-7", "--by", "ann", f"e2e_s={value}")
