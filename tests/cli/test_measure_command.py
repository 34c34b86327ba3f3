"""``reckoner measure`` on the fake server and on llama.cpp itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from reckoner.cli.measure import command
from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.random_decoder import random_gguf
from reckoner.ledger import Ledger
from reckoner.measure.fake_server import fake_server
from reckoner.measure.keep import read_journal, read_records

TINY = DecoderConfig(
    vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def url():
    with fake_server() as address:
        yield address


def run(*arguments, code=0):
    found = CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    assert found.return_value == code, found.output
    return found


def test_the_last_line_of_a_selftest_is_its_document():
    found = run("--selftest", "--streams", "1,8", "--json")
    last = json.loads(found.stdout.strip().splitlines()[-1])
    assert [entry["streams"] for entry in last["streams"]] == [1, 8]
    assert all(entry["ttft_error_ms_mean"] >= 0.0 for entry in last["streams"])


def test_prediction_and_outcome_meet_in_the_ledger_in_that_order(url, tmp_path):
    ledger = str(tmp_path / "ledger.db")
    found = run(
        url, "--served", "ttft=0.02,itl=0.004", "-c", "2", "-n", "12", "--output", "6", "-m", "llama-3.1-8b", "-d",
        "h100", "--ledger", ledger, "--next", "--no-check-client", "--json",
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    compared = {row["metric"]: row for row in document["compared"]}
    assert compared["ttft_s"]["measured"] == pytest.approx(0.02, abs=0.005)
    assert compared["tpot_s"]["ratio"] == pytest.approx(
        compared["tpot_s"]["measured"] / compared["tpot_s"]["predicted"]
    )
    assert document["next"][0]["after"] <= document["next"][0]["before"]
    with Ledger.open(ledger) as kept:
        pairs = list(kept.pairs())
    assert {pair.metric for pair in pairs} == {"ttft_s", "tpot_s", "e2e_s", "output_tokens_per_s"}
    assert all(pair.prediction.seq < pair.observation.seq for pair in pairs)


def test_an_open_loop_says_what_was_asked_and_what_was_reached(url, tmp_path):
    found = run(
        url, "--served", "ttft=0.005,itl=0.001", "--rate", "50", "--burst", "0", "-n", "30", "--output", "3", "--save",
        str(tmp_path / "run"), "--html", str(tmp_path / "run.html"), "--no-check-client",
    )  # fmt: skip
    assert "of 50 asked for" in found.stdout
    assert "30 of 30 answered" in found.stdout
    assert len(read_records(tmp_path / "run")) == 30
    assert "<h2" in (tmp_path / "run.html").read_text()
    assert not (tmp_path / "run" / "journal.msgpack").exists()


def test_failures_are_told_and_end_with_one(url):
    found = run(url, "--served", "fault=stalls", "-c", "2", "-n", "4", "--stall", "0.3", "--no-check-client", code=1)
    assert "failed: 4 x stalled" in found.stdout


def test_a_rate_is_searched_under_a_limit(url):
    found = run(
        url, "--served", "ttft=0.004,n=1", "--output", "1", "--rate", "2000", "-n", "600", "--find-rate", "--ttft-p99",
        "0.5", "--most-rate", "2000", "--json",
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert (document["low"], document["high"]) == (2000.0, None)
    assert document["runs"][0]["met"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one address"),
        (("ftp://x",), "no http or https address"),
        (("http://x", "--rate", "0"), "rates are above 0"),
        (("http://x", "--rate", "1", "-c", "2"), "give one of them"),
        (("http://x", "-m", "llama-3.1-8b"), "takes both -m MODEL and -d DEVICE"),
        (("http://x", "--next"), "--next takes -m MODEL and -d DEVICE"),
        (("http://x", "--find-rate"), "--find-rate needs a limit"),
        (("http://x", "--find-rate", "--ttft-p99", "1"), "at least 598 requests"),
        (("--selftest", "--streams", "x"), "give numbers such as"),
        (("http://x", "--header", "secret"), "--header is no header"),
    ],
)
def test_bad_options_say_what_to_do(arguments, said):
    from reckoner.errors import ReckonerError

    with pytest.raises(ReckonerError) as error:
        CliRunner().invoke(
            command, [*arguments, *(("--served", "m") if arguments and arguments[0] != "--selftest" else ())],
            catch_exceptions=False, standalone_mode=False,
        )  # fmt: skip
    assert said in str(error.value)


def test_the_real_engine_is_started_driven_and_asked_for_its_counters(tmp_path):
    gguf = random_gguf(tmp_path, TINY, english=True)
    found = run(
        "--gguf", str(gguf), "-c", "2", "-n", "20", "--prompt", "120", "--output", "8", "--no-check-client", "--json",
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert document["answered"] == 20
    assert document["failed"] == {}
    assert document["tokens_counted_by"] == "usage"
    assert document["prompt_tokens_counted_by"] == "usage"
    assert document["server"]["output_tokens"] == 160.0
    assert document["prompt_tokens"] == {"asked": 120.0, "counted": 120.0, "off_by_at_most": 0}
    assert document["server"]["prompt_tokens"] == 20 * 120
    assert document["latency_s"]["ttft"]["mean"]["value"] > 0.0


def test_an_interrupted_run_keeps_and_tells_what_was_measured(url, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "reckoner", "measure", url, "--served", "ttft=0.03,itl=0.005", "-c", "2", "-n", "2000",
         "--output", "4", "--save", str(tmp_path / "run"), "--no-check-client"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if (tmp_path / "run" / "journal.msgpack").exists() and len(read_journal(tmp_path / "run")) > 10:
            break
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert "of" in out
    assert "answered" in out
    assert len(read_records(tmp_path / "run")) > 10
