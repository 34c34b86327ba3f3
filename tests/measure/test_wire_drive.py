"""The client against a server that misbehaves on purpose, over real sockets."""

from __future__ import annotations

import socket
import subprocess
import time

import numpy as np
import pytest

from reckoner.errors import EngineError, InputError
from reckoner.measure.fake_server import fake_server
from reckoner.measure.metrics import latency_s
from reckoner.measure.selftest import ClientError, selftest
from reckoner.measure.wire.address import address_of, request_bytes
from reckoner.measure.wire.drive import drive
from reckoner.measure.wire.load import Ask, Load, Patience
from reckoner.measure.wire.record import records_of

QUICK = Patience(connect_s=2.0, stall_s=0.4, total_s=5.0)


@pytest.fixture(scope="module")
def url():
    with fake_server() as address:
        yield address


def ask(url, models, *, api="chat", tokens=6, patience=QUICK, **load):
    address = address_of(url, api=api)
    asks = [Ask(content=request_bytes(address, m, "hello", tokens, index=i)) for i, m in enumerate(models)]
    run = drive(address, Load(asks=asks, **load), patience=patience)
    return records_of(run, [(1, tokens)] * len(asks), keep_text=True), run


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_whole_answer_is_seen_token_by_token(url, api):
    (found,), run = ask(url, ["ttft=0.03,itl=0.01"], api=api)
    assert found.whole
    assert found.output_tokens == 6
    assert found.text == " word" * 6
    assert len(found.token_stamp_s) == 6
    assert len(found.stamp_s) == (7 if api == "chat" else 6)
    assert 0.029 < latency_s([found], "ttft")[0] < 1.0
    assert found.headers_s < found.stamp_s[-1] <= found.done_s <= found.closed_s
    assert run.most_in_flight == 1


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        ("closes", "closed", "ended before its end"),
        ("stalls", "stalled", "nothing came for 0.4 s"),
        ("garbage", "garbage", "hold no JSON"),
        ("nohttp", "garbage", "no HTTP reply: it begins with b'220 mail"),
        ("gzip", "packed", "no event has a time"),
        ("http500", "http 500", "no, thank you"),
        ("http429", "http 429", "no, thank you"),
        ("error", "error", "out of memory"),
        ("empty", "empty", "no text"),
        ("silent", "closed", "hung up before it answered"),
    ],
)
def test_every_fault_has_a_name_and_never_a_latency(url, fault, state, words):
    records, _ = ask(url, [f"ttft=0.01,fault={fault}", "ttft=0.01"])
    assert (records[0].state, records[1].state) == (state, "done")
    assert words in records[0].why
    assert len(latency_s(records, "ttft")) == 1


def test_a_refusal_says_when_to_come_again(url):
    (found,), _ = ask(url, ["fault=http429"])
    assert found.retry_after_s == 7.0


def test_slow_headers_and_a_long_line_are_no_faults(url):
    records, _ = ask(url, ["fault=slowhead", "ttft=0.01,fault=long"], patience=Patience(stall_s=20.0))
    assert all(r.whole for r in records)
    assert records[1].size > 10_000_000


def test_tokens_of_one_packet_are_counted_as_coalesced(url):
    (found,), _ = ask(url, ["ttft=0.01,itl=0.01,fault=bundles"])
    assert (len(found.token_stamp_s), found.coalesced) == (6, 3)


def test_reasoning_is_a_token_and_a_wrong_count_is_kept_as_told(url):
    records, _ = ask(url, ["ttft=0.01,fault=reasons", "ttft=0.01,fault=usage", "ttft=0.01,fault=nousage"])
    assert len(records[0].token_stamp_s) == 6
    assert (records[1].output_tokens, records[2].output_tokens) == (18, None)


def test_a_closed_loop_keeps_so_many_in_flight_and_reuses_its_connections(url):
    records, run = ask(url, ["ttft=0.01,itl=0.001"] * 12, concurrency=3)
    assert all(r.whole for r in records)
    assert run.most_in_flight == 3
    assert sum(r.connected_s is not None for r in records) == 3
    starts = sorted(r.sent_s for r in records)
    assert starts[3] > 0.01  # the fourth waits for an answer


def test_an_open_loop_is_sent_on_time(url):
    address = address_of(url)
    content = request_bytes(address, "ttft=0.2,n=1", "x", 1)
    load = Load(asks=[Ask(content=content, scheduled_s=0.02 * i) for i in range(10)])
    run = drive(address, load)
    records = records_of(run, [(1, 1)] * 10)
    assert [r.scheduled_s for r in records] == pytest.approx([0.02 * i for i in range(10)])
    assert np.all(latency_s(records, "late") >= 0.0)
    assert run.most_in_flight > 3


def test_a_follow_up_waits_for_its_answer(url):
    address = address_of(url)
    content = request_bytes(address, "ttft=0.05,n=1", "x", 1)
    asks = [Ask(content=content), Ask(content=content, scheduled_s=0.03, follows=0)]
    first, second = records_of(drive(address, Load(asks=asks)), [(1, 1)] * 2)
    assert second.sent_s >= first.closed_s + 0.03


def test_a_stopped_run_keeps_what_has_ended(url):
    address = address_of(url)
    asks = [Ask(content=request_bytes(address, "ttft=0.01,n=1", "x", 1), scheduled_s=0.02 * i) for i in range(100)]
    began = time.monotonic()
    run = drive(address, Load(asks=asks), stop=lambda: time.monotonic() - began > 0.5)
    assert 0 < len(run.seen) < 100
    assert run.unsent == 100 - len(run.seen)


def test_ipv6_works():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("IPV6 NOT TESTED: this machine has none")
    with fake_server(host="::1") as address:
        assert "[::1]" in address
        (found,), _ = ask(address, ["ttft=0.01"])
    assert found.whole


def test_tls_checks_the_certificate_and_stamps_what_it_unseals(tmp_path):
    pem = tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out",
         str(tmp_path / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text((tmp_path / "key").read_text() + (tmp_path / "cert").read_text())
    with fake_server(certificate=str(pem)) as url:
        (refused,), _ = ask(url, ["ttft=0.01"])
        assert refused.state == "connect"
        assert "certificate of 127.0.0.1" in refused.why
        address = address_of(url, ca_file=str(tmp_path / "cert"))
        asks = [Ask(content=request_bytes(address, "ttft=0.02,itl=0.01", "x", 5, index=i)) for i in range(4)]
        run = drive(address, Load(asks=asks, concurrency=2), patience=QUICK)
        records = records_of(run, [(1, 5)] * 4)
    assert all(r.whole for r in records)
    assert all(0.015 < gap < 0.5 for gap in latency_s(records, "ttft"))


def test_nobody_listening_and_an_unknown_host_are_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (found,), _ = ask(f"http://127.0.0.1:{port}", ["x"])
    assert (found.state, found.why) == ("connect", "cannot connect: Connection refused")
    with pytest.raises(EngineError, match=r"host 'no\.such\.host\.invalid' is unknown"):
        ask("http://no.such.host.invalid", ["x"])


def test_credentials_are_sent_and_never_shown():
    address = address_of("http://ann:secret@localhost:1/v1", key="sk-hidden")
    assert b"Bearer sk-hidden" in request_bytes(address, "m", "p", 1)
    for shown in (repr(address), address.shown):
        assert "secret" not in shown
        assert "hidden" not in shown
    with pytest.raises(InputError) as error:
        address_of("ftp://ann:secret@localhost")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "http://", "http://x:99999", "http://[::1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="http://localhost:8000"):
        address_of(url)


@pytest.mark.parametrize("load", [{"asks": []}, {"asks": [Ask(content=b"")], "concurrency": 0}])
def test_a_load_without_requests_or_streams_is_refused(load):
    with pytest.raises(InputError):
        Load(**load)


def test_the_selftest_states_the_clients_error():
    (found,) = selftest((8,))
    assert isinstance(found, ClientError)
    assert found.failed == 0
    assert 1 <= found.n <= 32  # without those that the server does not know the time of
    assert 0.0 <= found.ttft_error_ms_mean <= found.ttft_error_ms_p99 < 1000.0
