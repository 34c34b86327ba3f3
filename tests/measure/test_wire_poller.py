"""Both pollers answer alike, and the one without epoll carries a run and a server of its own."""

from __future__ import annotations

import resource
import socket
import time

import pytest

from reckoner.errors import InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.selftest import selftest
from reckoner.measure.wire import drive as loop
from reckoner.measure.wire.address import address_of, request_bytes
from reckoner.measure.wire.load import Ask, Load, Patience
from reckoner.measure.wire.poller import READABLE, WRITABLE, Selecting, allow_files, new_poller
from reckoner.measure.wire.record import records_of


@pytest.fixture(params=[False, True], ids=["epoll", "fallback"])
def poller(request):
    found = new_poller(fallback=request.param)
    yield found
    found.close()


def test_a_poller_tells_who_can_be_read_and_who_can_be_written(poller):
    one, other = socket.socketpair()
    with one, other:
        poller.add(one.fileno())
        assert poller.wait(1.0) == [(one.fileno(), WRITABLE)]
        poller.reads(one.fileno())
        assert poller.wait(0.0) == []
        other.send(b"x")
        ((number, flags),) = poller.wait(1.0)
        assert (number, flags & READABLE, flags & WRITABLE) == (one.fileno(), READABLE, 0)
        poller.both(one.fileno())
        ((number, flags),) = poller.wait(1.0)  # each once, whatever it is ready for
        assert flags & (READABLE | WRITABLE) == READABLE | WRITABLE
        poller.remove(one.fileno())
        assert poller.wait(0.0) == []


def test_a_number_that_was_closed_can_be_removed_and_used_again(poller):
    one, other = socket.socketpair()
    number = one.fileno()
    poller.add(number)
    one.close()
    poller.remove(number)
    poller.remove(number)
    again, more = socket.socketpair()
    with other, again, more:
        poller.add(again.fileno())
        assert poller.wait(1.0) == [(again.fileno(), WRITABLE)]


def test_nothing_to_watch_is_waited_out(poller):
    began = time.monotonic()
    assert poller.wait(0.02) == []
    assert time.monotonic() - began >= 0.019


@pytest.fixture
def without_epoll(monkeypatch):
    monkeypatch.setattr(loop, "new_poller", Selecting)


def test_more_than_1024_streams_are_driven_without_epoll_on_either_side(without_epoll):
    streams = 1200
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < streams + 64:
        pytest.skip(f"1200 STREAMS NOT TESTED: this process may open {hard} files")
    with fake_server(fallback=True) as url:
        address = address_of(url)
        asks = [
            Ask(content=request_bytes(address, "ttft=2,n=1", "x", 1, index=i), scheduled_s=i / streams)
            for i in range(streams)
        ]
        run = loop.drive(address, Load(asks=asks), stamped=False)  # as on macOS
    records = records_of(run, [(1, 1)] * streams)
    assert [r.state for r in records] == ["done"] * streams
    assert run.most_in_flight > 1024


@pytest.mark.parametrize("fault", ["closes", "stalls", "silent", "long", "slowhead", "garbage"])
def test_faults_have_the_same_names_without_epoll(without_epoll, fault):
    states = {"closes": "closed", "stalls": "stalled", "silent": "closed", "garbage": "garbage"}
    with fake_server(fallback=True) as url:
        address = address_of(url)
        asks = [
            Ask(content=request_bytes(address, model, "x", 4, index=i))
            for i, model in enumerate([f"ttft=0.01,fault={fault}", "ttft=0.01"])
        ]
        patience = Patience(stall_s=0.5 if fault == "stalls" else 10.0)
        found = records_of(loop.drive(address, Load(asks=asks), patience=patience), [(1, 4)] * 2)
    assert [r.state for r in found] == [states.get(fault, "done"), "done"]


def test_a_request_larger_than_the_kernels_buffer_goes_without_epoll(without_epoll):
    with fake_server(fallback=True) as url:
        address = address_of(url)
        asks = [Ask(content=request_bytes(address, "ttft=0.01,n=2", "word " * 400_000, 2))]
        (found,) = records_of(loop.drive(address, Load(asks=asks)), [(1, 2)])
    assert found.whole
    assert found.prompt_tokens == 400_003


def test_the_selftest_runs_without_epoll(without_epoll, monkeypatch):
    monkeypatch.setattr("reckoner.measure.selftest.fake_server", lambda: fake_server(fallback=True))
    (found,) = selftest((8,))
    assert found.failed == 0


def test_too_many_streams_are_refused_before_anything_is_sent():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(InputError, match="open files and this process may open"):
        allow_files(hard + 1)
