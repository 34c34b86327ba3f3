"""Replies taken apart: the same events, however the bytes were cut."""

from __future__ import annotations

import socket
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reckoner.measure.events import CONTENT, REASONING, ROLE, TOOL, RequestRecord, delta_kind, parsed
from reckoner.measure.metrics import DEFINITIONS, counted, identity_gap_s, latency_s
from reckoner.measure.wire.clock import SLEW, Offset, stepped_ns
from reckoner.measure.wire.connection import BUSY, Connection
from reckoner.measure.wire.reply import body_of, events_of, head_of, is_whole, stamp_at

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
lines = st.binary(max_size=30).filter(lambda b: b"\n" not in b and b"\r" not in b)


def chunked(pieces: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n\r\n"


@given(st.lists(lines, max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_events_do_not_depend_on_how_the_body_was_cut(texts, end, data):
    body = b"".join(b"data: " + text + end + end for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    raw = chunked(pieces)
    head = head_of(raw)
    assert is_whole(raw, head)
    found = body_of(raw, head, closed=False)
    assert found.whole
    assert found.content == body
    assert [text for text, _ in events_of(found.content)] == texts


@given(st.lists(lines, min_size=1, max_size=10), st.data())
def test_an_event_gets_the_stamp_of_the_read_that_brought_its_last_byte(texts, data):
    raw = chunked([b"data: " + text + b"\n\n" for text in texts])
    cuts = sorted({*data.draw(st.lists(st.integers(1, len(raw) - 1), max_size=8)), len(raw)})
    head = head_of(raw)
    body = body_of(raw, head, closed=False)
    for _, place in events_of(body.content):
        end = body.raw_end(place, len(raw))
        read = stamp_at(cuts, end)
        assert cuts[read] >= end
        assert read == 0 or cuts[read - 1] < end


@given(st.binary(max_size=200))
def test_no_bytes_bring_the_parser_down(content):
    events_of(content)
    try:
        head = head_of(content)
    except ValueError:
        return
    if head is not None:
        body_of(content, head, closed=True)


@given(st.integers(0, len(chunked([b"data: a\n\n"])) - 1))
def test_a_reply_that_is_cut_off_is_not_whole(size):
    raw = chunked([b"data: a\n\n"])[:size]
    head = head_of(raw)
    assert head is None or not is_whole(raw, head)


def test_packed_bytes_are_unpacked_and_lose_their_times():
    packer = zlib.compressobj(wbits=31)
    content = packer.compress(b"data: x\n\n") + packer.flush()
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    body = body_of(raw, head_of(raw), closed=False)
    assert (body.content, body.packed, body.raw_end(3, 99)) == (b"data: x\n\n", "gzip", 99)


@pytest.mark.parametrize(
    ("delta", "kind"),
    [
        ({"role": "assistant", "content": ""}, ROLE),
        ({"role": "assistant", "content": "x"}, CONTENT),
        ({"reasoning_content": "x"}, REASONING),
        ({"reasoning": "x"}, REASONING),
        ({"tool_calls": [{"index": 0}]}, TOOL),
        ({"content": ""}, None),
        ({}, None),
    ],
)
def test_what_an_event_carries(delta, kind):
    assert delta_kind({"choices": [{"delta": delta}]}) == kind


@pytest.mark.parametrize("event", [{}, {"choices": []}, {"choices": None}, {"choices": [None]}, {"choices": "x"}])
def test_an_event_of_no_known_form_carries_nothing(event):
    assert delta_kind(event) is None


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"1", b"[" * 100_000])
def test_what_is_no_json_object_is_none(data):
    assert parsed(data) is None


def record(stamps, **more):
    fields = {"index": 0, "scheduled_s": 0.0, "sent_s": 0.5, "stamp_s": np.array(stamps), "closed_s": 9.0}
    return RequestRecord(**(fields | {"kind": np.full(len(stamps), CONTENT, np.int8)} | more))


def test_the_role_is_never_the_first_token():
    kinds = np.array([ROLE, CONTENT, CONTENT], np.int8)
    one = record([0.6, 1.0, 2.0], kind=kinds, output_tokens=2)
    assert latency_s([one], "ttft").tolist() == [0.5]
    assert latency_s([one], "tpot").tolist() == [1.0]
    assert latency_s([one], "itl").tolist() == [1.0]


def test_what_failed_has_no_latency():
    good, bad = record([1.0, 2.0]), record([0.6], state="closed")
    for metric in DEFINITIONS:
        assert len(latency_s([bad], metric)) == 0
        assert len(latency_s([good, bad], metric)) == len(latency_s([good], metric))


@given(st.lists(st.floats(0.6, 100.0), min_size=2, max_size=50).map(sorted), st.integers(2, 500))
def test_ttft_and_tpot_make_e2e(stamps, n):
    assert identity_gap_s(record(stamps, output_tokens=n)) == pytest.approx(0.0, abs=1e-9)


def test_who_counted_the_tokens_is_said():
    assert (counted(record([1.0, 2.0], output_tokens=7)).n, counted(record([1.0])).by) == (7, "events")
    assert counted(record([1.0, 2.0]), 3).by == "tokenizer"


def test_coordinated_omission_is_visible():
    late = record([1.0], scheduled_s=0.1)
    assert latency_s([late], "e2e_scheduled")[0] - latency_s([late], "e2e")[0] == pytest.approx(0.4)


def test_a_stepped_clock_is_told_from_a_slewed_one():
    first = Offset(0, 10, 0)
    slewed = Offset(int(SLEW * 1e9 * 60), 10, 60 * 10**9)
    assert stepped_ns(first, slewed) == 0
    assert stepped_ns(first, Offset(5_000_000_000, 10, 10**9)) == 5_000_000_000


@given(st.lists(lines, min_size=1, max_size=4), st.sampled_from([b"", b"X-Took: 3\r\n"]), st.data())
def test_a_connection_sees_the_end_however_it_is_cut(texts, trailer, data):
    whole = chunked([b"data: " + text + b"\n\n" for text in texts])[:-2] + trailer + b"\r\n"
    cuts = sorted({*data.draw(st.lists(st.integers(1, len(whole) - 1), max_size=12)), len(whole)})
    ours, theirs = socket.socketpair()
    connection = Connection.__new__(Connection)
    connection.sock, connection.tls, connection.head, connection.error, connection.state = ours, None, None, "", BUSY
    connection.reads, connection.kernel_ns, connection.user_ns = [], [], []
    ours.setblocking(False)
    with ours, theirs:
        for begin, end in zip([0, *cuts[:-1]], cuts, strict=True):
            theirs.send(whole[begin:end])
            assert connection.receive() is (end == len(whole))
