"""A load over several processes is one load: every row once, one start, one run."""

from __future__ import annotations

import json
import signal
import time

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from reckoner.cli.measure import command
from reckoner.errors import EngineError, InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.keep import read_records
from reckoner.measure.selftest import truth_of
from reckoner.measure.wire import many
from reckoner.measure.wire.address import address_of, request_bytes
from reckoner.measure.wire.load import Ask, Load, Patience, Seen
from reckoner.measure.wire.many import drive_many, most_at_once, shares
from reckoner.measure.wire.record import records_of
from reckoner.measure.wire.worker import DONE, ENDED, Frames, frame


@pytest.fixture(scope="module")
def url():
    with fake_server() as address:
        yield address


def asks_of(address, model, n, spacing_s=0.0):
    """Request i has i + 1 words, so that the server's count of prompt tokens names it."""
    return [
        Ask(content=request_bytes(address, model, "w " * (i + 1), 3, index=i), scheduled_s=spacing_s * i)
        for i in range(n)
    ]


@st.composite
def loads(draw):
    n = draw(st.integers(1, 30))
    follows = [draw(st.one_of(st.none(), st.integers(0, row - 1))) if row else None for row in range(n)]
    asks = [Ask(content=bytes([row]), scheduled_s=float(row), follows=before) for row, before in enumerate(follows)]
    return Load(asks=asks, concurrency=draw(st.one_of(st.none(), st.integers(1, 40))), think_s=0.5)


@given(loads(), st.integers(1, 6))
def test_every_row_is_dealt_out_once_and_keeps_its_turn(load, processes):
    parts = shares(load, processes)
    assert 1 <= len(parts) <= processes
    assert sorted(row for _, rows in parts for row in rows) == list(range(len(load.asks)))
    for part, rows in parts:
        assert rows == sorted(rows)
        assert [ask.content for ask in part.asks] == [load.asks[row].content for row in rows]
        assert [ask.scheduled_s for ask in part.asks] == [load.asks[row].scheduled_s for row in rows]
        assert part.think_s == load.think_s
        if load.concurrency is None:
            befores = [None if ask.follows is None else rows[ask.follows] for ask in part.asks]
            assert befores == [load.asks[row].follows for row in rows]
    if load.concurrency is not None:
        assert sum(part.concurrency for part, _ in parts) == min(load.concurrency, len(load.asks))
        assert max(p.concurrency for p, _ in parts) - min(p.concurrency for p, _ in parts) <= 1


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(1, 7))
def test_messages_come_out_as_they_went_in_however_they_are_cut(bodies, step):
    whole = b"".join(frame(ENDED if i % 2 else DONE, body) for i, body in enumerate(bodies))
    frames = Frames()
    found = [one for at in range(0, len(whole), step) for one in frames.fed(whole[at : at + step])]
    assert found == [(ENDED if i % 2 else DONE, body) for i, body in enumerate(bodies)]


def test_an_open_loop_over_two_processes_keeps_rows_and_one_start(url):
    address = address_of(url)
    truth_of(url)
    told = []
    load = Load(asks=asks_of(address, "ttft=0.1,itl=0.005", 20, spacing_s=0.01))
    run = drive_many(address, load, processes=2, watch=lambda seen, in_flight: told.append((seen.index, in_flight)))
    records = records_of(run, [(i + 1, 3) for i in range(20)])
    assert [r.state for r in records] == ["done"] * 20
    assert [r.prompt_tokens for r in records] == [i + 4 for i in range(20)]  # and three of the template
    assert [r.scheduled_s for r in records] == pytest.approx([0.01 * i for i in range(20)], abs=1e-9)
    assert all(r.sent_s >= r.scheduled_s for r in records)
    assert sorted(truth_of(url)) == list(range(20))
    assert sorted(index for index, _ in told) == list(range(20))
    assert [one.closed_ns for one in run.seen] == sorted(one.closed_ns for one in run.seen)
    assert 2 < run.most_in_flight <= 20
    assert run.unsent == 0
    assert 0.0 < run.cpu_s < 2.0 * (run.end_ns - run.start_ns) * 1e-9 + 5.0


def test_a_closed_loop_over_two_processes_keeps_so_many_in_flight_in_all(url):
    address = address_of(url)
    run = drive_many(address, Load(asks=asks_of(address, "ttft=0.05", 15), concurrency=5), processes=2)
    records = records_of(run, [(i + 1, 3) for i in range(15)])
    assert [r.state for r in records] == ["done"] * 15
    assert [r.prompt_tokens for r in records] == [i + 4 for i in range(15)]
    assert run.most_in_flight == 5
    assert sum(r.connected_s is not None for r in records) == 5


def test_a_follow_up_waits_for_its_answer_in_its_own_process(url):
    address = address_of(url)
    content = request_bytes(address, "ttft=0.05,n=1", "x", 1)
    asks = [Ask(content=content, scheduled_s=0.02, follows=None if row < 3 else row - 3) for row in range(9)]
    records = records_of(drive_many(address, Load(asks=asks), processes=2), [(1, 1)] * 9)
    for row in range(3, 9):
        assert records[row].sent_s >= records[row - 3].closed_s + 0.02


def test_what_was_stopped_keeps_what_has_ended(url):
    address = address_of(url)
    load = Load(asks=asks_of(address, "ttft=0.01,n=1", 200, spacing_s=0.02))
    seen = []
    run = drive_many(address, load, processes=2, watch=lambda *_: seen.append(1), stop=lambda: len(seen) > 5)
    assert 5 < len(run.seen) < 200
    assert run.unsent == 200 - len(run.seen)


def test_an_interrupt_keeps_what_has_ended_and_the_handler_is_given_back(url):
    address = address_of(url)
    load = Load(asks=asks_of(address, "ttft=0.01,n=1", 200, spacing_s=0.02))
    before = signal.getsignal(signal.SIGINT)
    run = drive_many(address, load, processes=2, watch=lambda *_: signal.raise_signal(signal.SIGINT))
    assert 0 < len(run.seen) < 200
    assert signal.getsignal(signal.SIGINT) is before


def test_requests_of_a_process_that_died_are_failures_with_a_name(url, monkeypatch):
    workers = []

    class Watched(many._Worker):
        def __init__(self):
            super().__init__()
            workers.append(self)

    monkeypatch.setattr(many, "_Worker", Watched)
    address = address_of(url)
    load = Load(asks=asks_of(address, "ttft=0.01,n=1", 40, spacing_s=0.02))
    run = drive_many(address, load, processes=2, watch=lambda *_: workers[0].process.kill())
    records = records_of(run, [(1, 1)] * 40)
    states = [r.state for r in records]
    assert states[1::2] == ["done"] * 20
    assert "client" in states[0::2]
    assert run.unsent == 0
    lost = next(r for r in records if r.state == "client")
    assert "ended early, with status -9" in lost.why
    assert lost.sent_s is None


def test_what_a_process_refuses_is_refused_in_its_words(tmp_path):
    address = address_of("https://127.0.0.1:9", ca_file=str(tmp_path / "none.pem"))
    load = Load(asks=asks_of(address, "m", 4), concurrency=4)
    with pytest.raises(InputError, match="no certificate can be read"):
        drive_many(address, load, processes=2)
    with pytest.raises(EngineError, match="is unknown"):
        drive_many(address_of("http://no.such.host.invalid"), load, processes=2)
    with pytest.raises(InputError, match="processes is 0"):
        drive_many(address, load, processes=0)


def test_nobody_listening_is_a_failure_of_every_request():
    address = address_of("http://127.0.0.1:9")
    began = time.monotonic()
    run = drive_many(address, Load(asks=asks_of(address, "m", 6)), processes=3, patience=Patience(connect_s=2.0))
    assert [one.state for one in run.seen] == ["connect"] * 6
    assert time.monotonic() - began < 60.0


def test_most_at_once_counts_what_overlaps():
    def one(sent, closed):
        return Seen(0, 0, 0, sent, 0, closed, "", "", None, True, [], [], [])

    assert most_at_once([one(1, 5), one(2, 3), one(3, 9), one(4, 5), one(0, 7)]) == 3
    assert most_at_once([]) == 0


def test_the_command_measures_over_two_processes(url, tmp_path):
    found = CliRunner().invoke(
        command,
        [url, "--served", "ttft=0.01,itl=0.002", "-c", "4", "-n", "24", "--output", "4", "--processes", "2", "--save",
         str(tmp_path / "run"), "--no-check-client", "--json"],
        catch_exceptions=False, standalone_mode=False,
    )  # fmt: skip
    document = json.loads(found.stdout.strip().splitlines()[-1])
    assert (document["answered"], document["client"]["most_in_flight"]) == (24, 4)
    assert [r.index for r in read_records(tmp_path / "run")] == list(range(24))
