"""A measured run against a server whose schedule is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from reckoner.errors import DamagedError, EngineError, InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.keep import Journal, read_journal, read_records, write_records
from reckoner.measure.metrics import latency_s
from reckoner.measure.prompts import counting_of
from reckoner.measure.session import Shape, load_of, measured
from reckoner.measure.wire.address import address_of


@pytest.fixture(scope="module")
def url():
    with fake_server() as address:
        yield address


def run(url, n=40, model="ttft=0.02,itl=0.004", tokens=5, **options):
    address = address_of(url)
    shape = Shape(concurrency=4)
    load = load_of(address, model, ["hello"] * n, [tokens] * n, shape)
    return measured(address, load, [(1, tokens)] * n, check_client=False, **options)


def test_figures_are_those_of_the_schedule(url):
    found = run(url)
    assert found.answered == 40
    assert found.failed == {}
    medians = {metric: found.latencies[metric].percentiles[0.5].value for metric in ("ttft", "tpot", "e2e")}
    assert medians["ttft"] == pytest.approx(0.02, abs=0.01)  # a busy machine moves single answers, not the middle one
    assert medians["tpot"] == pytest.approx(0.004, abs=0.003)
    assert medians["e2e"] == pytest.approx(medians["ttft"] + 4 * medians["tpot"], rel=0.2)
    assert found.counted_by == "usage"
    assert 0.99 not in found.latencies["ttft"].percentiles  # 40 requests bound no P99


def test_warm_up_counts_in_no_figure(url):
    assert run(url, warmup=30).latencies["e2e"].mean.n <= 10


def test_failed_requests_are_counted_apart(url):
    found = run(url, model="ttft=0.005,fault=http500")
    assert (found.answered, found.failed, found.latencies) == (0, {"http 500": 40}, {})
    assert found.to_dict()["failed"] == {"http 500": 40}


def test_a_run_whose_client_rivals_the_effect_is_refused(url):
    from dataclasses import replace

    from reckoner.measure.selftest import ClientError

    slow = ClientError(
        streams=4, n=9, stamps="user", ttft_error_ms_mean=5.0, ttft_error_ms_p99=9.0, itl_error_ms_mean=0.001,
        itl_error_ms_p99=0.01, late_ms_p99=0.1, cpu_us_per_token=9.0, tokens_per_s=1.0, failed=0,
    )  # fmt: skip
    found = replace(run(url), client=slow)
    assert "rivals the median" in found.refused("ttft")
    assert found.refused("tpot") == ""
    assert "ttft" not in found.to_dict()["latency_s"]


def test_the_clients_error_at_this_load_stands_beside_the_figures(url):
    address = address_of(url)
    load = load_of(address, "ttft=0.01", ["x"] * 8, [4] * 8, Shape(concurrency=4))
    found = measured(address, load, [(1, 4)] * 8)
    assert found.client is not None
    assert found.client.streams == 4


def test_records_give_every_figure_again(url, tmp_path):
    found = run(url)
    write_records(tmp_path, found.records, {"model": "fake"})
    again = read_records(tmp_path)
    for metric in ("ttft", "tpot", "itl", "e2e", "tail"):
        assert np.array_equal(latency_s(found.records, metric), latency_s(again, metric))
    (tmp_path / "records.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DamagedError, match="cannot be read"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="holds a run already"):
        Journal(tmp_path)


def test_a_journal_that_is_cut_off_keeps_what_was_whole(tmp_path):
    journal = Journal(tmp_path)
    for i in range(5):
        journal.add({"index": i})
    journal.close()
    path = tmp_path / "journal.msgpack"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        found = read_journal(tmp_path)
        assert [entry["index"] for entry in found] == list(range(len(found)))


def test_a_killed_run_keeps_its_journal(url, tmp_path):
    code = (
        "import sys\n"
        "from reckoner.measure.keep import Journal\n"
        "from reckoner.measure.session import Shape, load_of\n"
        "from reckoner.measure.wire.address import address_of\n"
        "from reckoner.measure.wire.drive import drive\n"
        "address = address_of(sys.argv[1])\n"
        "journal = Journal(sys.argv[2])\n"
        "load = load_of(address, 'ttft=0.02', ['x'] * 500, [2] * 500, Shape(concurrency=2))\n"
        "drive(address, load, watch=lambda seen, _: journal.add({'index': seen.index}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url, str(tmp_path / "run")])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if (tmp_path / "run" / "journal.msgpack").exists() and len(read_journal(tmp_path / "run")) > 5:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(read_journal(tmp_path / "run")) > 5


def test_a_server_that_is_no_such_server_is_said(url):
    with pytest.raises(EngineError, match="http 500"):
        counting_of(address_of(url), "fault=http500")


def test_a_load_is_open_or_closed():
    with pytest.raises(InputError, match="open or closed"):
        Shape()


def test_a_run_that_nobody_answers_is_told_in_plain_values():
    address = address_of("http://127.0.0.1:9")
    load = load_of(address, "m", ["x"] * 3, [2] * 3, Shape(concurrency=2))
    found = measured(address, load, [(1, 2)] * 3, check_client=False)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (document["answered"], document["failed"]) == (0, {"connect": 3})
    assert document["client"]["read_lag_p99_s"] is None


def test_a_check_of_the_client_that_fails_costs_no_measurement(url, monkeypatch):
    def fails(*_, **__):
        raise EngineError("the client cannot be judged; try again on a quieter machine")

    monkeypatch.setattr("reckoner.measure.session.paced_error", fails)
    address = address_of(url)
    load = load_of(address, "ttft=0.01", ["x"] * 4, [3] * 4, Shape(concurrency=2))
    found = measured(address, load, [(1, 3)] * 4)
    assert (found.answered, found.client) == (4, None)
    assert "cannot be judged" in found.to_dict()["client"]["error_unknown"]
