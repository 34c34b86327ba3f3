"""The client's own error: what is compared, and what is left out and said."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from reckoner.cli.measure import command
from reckoner.errors import EngineError, InputError
from reckoner.measure.events import CONTENT, ROLE, RequestRecord
from reckoner.measure.fake_server import fake_server
from reckoner.measure.selftest import compare, rate_of, selftest, tokens_at, truth_of
from reckoner.measure.wire.address import address_of, request_bytes
from reckoner.measure.wire.clock import Offset
from reckoner.measure.wire.drive import drive
from reckoner.measure.wire.load import Ask, Load, Run

RUN = Run(
    seen=[], start_ns=0, end_ns=10**9, clock=Offset(0, 0, 0), stepped_ns=0, stamped=True, cpu_s=0.001, unsent=0,
    most_in_flight=4,
)  # fmt: skip


def record(index, tokens, state="done", coalesced=0):
    stamps = np.array([0.02, *tokens])
    return RequestRecord(
        index=index, scheduled_s=0.0, connected_s=None, sent_s=0.01, asked_prompt_tokens=1, asked_output_tokens=2,
        stamp_s=stamps, kind=np.array([ROLE] + [CONTENT] * len(tokens), dtype=np.int8), state=state,
        coalesced=coalesced,
    )  # fmt: skip


def truth(index, sent_ms):
    return {index: {"index": index, "came_ns": 10_000_000, "sent_ns": [int(ms * 1e6) for ms in sent_ms]}}


def test_what_is_left_out_of_the_comparison_is_counted_by_its_reason():
    records = [
        record(0, [0.0600, 0.0800], coalesced=1),  # exact
        record(1, [0.0602, 0.0801]),  # 0.2 ms late, and its gap 0.1 ms short
        record(2, [0.0600, 0.0800]),  # the server was put aside at the first token
        record(3, [0.0600]),  # the server sent two
        record(4, [0.0600, 0.0800]),  # the server does not know it
        record(5, [0.0600], state="closed"),
    ]
    told = {}
    for index, sent in ((0, [60, 80]), (1, [60, 80]), (2, [0, 80]), (3, [60, 80]), (5, [60])):
        told |= truth(index, sent)
    found = compare(RUN, records, told, 4, "kernel")
    assert (found.n, found.unclear, found.unequal, found.failed) == (2, 1, 2, 1)
    assert found.n + found.unclear + found.unequal + found.failed == len(records)
    assert found.ttft_error_ms_mean == pytest.approx(0.1)
    assert found.itl_error_ms_mean == pytest.approx(0.05)
    assert found.coalesced == pytest.approx(1 / 9)
    assert found.to_dict()["unclear"] == 1


def test_nothing_to_compare_is_said():
    with pytest.raises(EngineError, match="no stamp of the server was clear"):
        compare(RUN, [record(0, [0.06, 0.08])], truth(0, [0, 0]), 1, "kernel")


def test_an_answer_takes_its_span_at_most_unless_gaps_are_long():
    for itl in (0.001, 0.005, 0.1, 0.25, 0.4, 1.0):
        assert tokens_at(itl) * itl <= 8.0 + 1e-9
        assert 8 <= tokens_at(itl) <= 32


def test_the_rate_is_that_of_the_middle():
    steady = np.arange(0, 10, 0.01)
    assert rate_of(np.concatenate([[-50.0], steady, [90.0]])) == pytest.approx(100.0, rel=0.01)
    assert rate_of(np.array([1.0, 1.0])) == 0.0


def test_a_token_that_does_not_fit_the_kernels_buffer_is_stamped_once_and_last():
    with fake_server() as url:
        address = address_of(url)
        drive(address, Load(asks=[Ask(content=request_bytes(address, "ttft=0.01,fault=long", "x", 6, index=7))]))
        entry = truth_of(url)[7]
    sent = [at for at in entry["sent_ns"] if at]
    assert len(entry["sent_ns"]) == 6
    assert sent == sorted(sent)


def test_a_server_does_not_outlive_the_client_that_was_killed():
    code = (
        "import time\n"
        "from reckoner.measure.fake_server import fake_server\n"
        "with fake_server() as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
        process.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the server still listens")


def test_a_self_test_beyond_the_files_that_may_be_open_is_refused_before_it_starts_and_runs_below_them():
    command = "ulimit -n 600 && exec {} -m reckoner measure --selftest --json --streams {}"
    beyond, below = (
        subprocess.run(["bash", "-c", command.format(sys.executable, n)], capture_output=True, text=True, check=False)
        for n in (700, 100)
    )
    assert beyond.returncode == 2
    assert "700 streams need 732 open files and this process may open 600" in beyond.stderr
    assert json.loads(below.stdout)["streams"][0]["failed"] == 0


@pytest.mark.parametrize("given", [{"streams": ()}, {"streams": (0,)}, {"rate_per_s": 0.0}, {"rate_per_s": np.nan}])
def test_a_self_test_of_no_streams_or_no_rate_is_refused(given):
    with pytest.raises(InputError):
        selftest(**{"streams": (1,), **given})


def test_the_rate_of_a_self_test_can_be_asked_for():
    found = CliRunner().invoke(
        command, ["--selftest", "--streams", "32", "--rate-tokens", "1600", "--json"], catch_exceptions=False,
        standalone_mode=False,
    )  # fmt: skip
    (entry,) = json.loads(found.stdout.strip().splitlines()[-1])["streams"]
    assert entry["asked_tokens_per_s"] == pytest.approx(1600.0)
    assert entry["tokens_per_s"] < 2400.0
    with pytest.raises(InputError, match="--rate-tokens is -1"):
        CliRunner().invoke(
            command, ["--selftest", "--rate-tokens", "-1"], catch_exceptions=False, standalone_mode=False
        )
