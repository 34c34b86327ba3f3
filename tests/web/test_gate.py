"""The gate: identity by cookie, nobody from outside, nobody in another's session."""

import asyncio
import re

import pytest

from reckoner.web.gate import COOKIE, Gate
from reckoner.web.visit import Sources, Visit, person_of

SOURCES = Sources(ledger="l.db", curves="c", prices="p")


class Inner:
    """An application that remembers what reached it."""

    def __init__(self, content_type=b"text/html; charset=utf-8"):
        self.scopes = []
        self.content_type = content_type

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        headers = [(b"content-type", self.content_type), (b"access-control-allow-origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})


def ask(gate, *, path="/audit/", kind="http", query=b"", **headers):
    """Send one request through a gate; returns the messages that came back."""
    told = {"host": "localhost:8763", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": kind,
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in told.items() if value is not None],
    }
    sent = []

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return sent


def header(messages, name):
    return [value.decode() for key, value in messages[0]["headers"] if key == name.encode()]


def test_a_first_page_gives_a_cookie_that_scripts_cannot_read_and_other_sites_cannot_send():
    inner = Inner()
    (cookie,) = header(ask(Gate(inner, SOURCES)), "set-cookie")
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{32}}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict", cookie)
    token = cookie.split("=")[1].split(";")[0]
    assert inner.scopes[0]["meta"]["person"] == person_of(token)


def test_who_comes_back_with_the_cookie_is_the_same_person_on_requests_and_websockets_and_gets_no_new_one():
    inner = Inner()
    gate = Gate(inner, SOURCES)
    cookie = f"other=1; {COOKIE}={'a' * 32}"
    assert header(ask(gate, cookie=cookie), "set-cookie") == []
    ask(gate, cookie=cookie, kind="websocket", path="/audit/ws", query=b"session_id=s_1")
    assert [scope["meta"]["person"] for scope in inner.scopes] == [person_of("a" * 32)] * 2


def test_two_browsers_are_two_people():
    inner = Inner()
    gate = Gate(inner, SOURCES)
    ask(gate)
    ask(gate)
    first, second = (scope["meta"]["person"] for scope in inner.scopes)
    assert first != second


@pytest.mark.parametrize("value", ["", "short", "x" * 65, "semi;colon" * 4, "../" * 10, "é" * 24])
def test_a_cookie_that_was_not_given_here_is_replaced(value):
    inner = Inner()
    assert header(ask(Gate(inner, SOURCES), cookie=f"{COOKIE}={value}"), "set-cookie")


def test_only_pages_give_cookies():
    assert header(ask(Gate(Inner(b"text/javascript"), SOURCES)), "set-cookie") == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8763", "localhost.evil.example", "", "192.168.1.7:8763"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_name_that_is_not_this_machine_s_is_refused(host, kind):
    inner = Inner()
    sent = ask(Gate(inner, SOURCES), kind=kind, host=host)
    assert inner.scopes == []
    assert sent[0].get("status", sent[0].get("code")) in (403, 4403)


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8763", "[::1]:8763", "LOCALHOST:80"])
def test_this_machine_s_own_names_are_served(host):
    assert ask(Gate(Inner(), SOURCES), host=host)[0]["status"] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null", "https://localhost.evil"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_another_origin_is_refused_for_requests_and_websockets(origin, kind):
    inner = Inner()
    ask(Gate(inner, SOURCES), kind=kind, origin=origin)
    assert inner.scopes == []


def test_the_page_s_own_origin_passes():
    assert ask(Gate(Inner(), SOURCES), origin="http://localhost:8763")[0]["status"] == 200


@pytest.mark.parametrize(
    "call", ["kernel/run", "kernel/execute", "files/list_files", "kernel/scratchpad/run", "ai/chat"]
)
def test_calls_that_run_code_or_read_files_are_refused(call):
    inner = Inner()
    assert ask(Gate(inner, SOURCES), path=f"/audit/api/{call}")[0]["status"] == 403
    assert inner.scopes == []


def test_nobody_speaks_in_another_person_s_session():
    inner = Inner()
    gate = Gate(inner, SOURCES)
    mine, theirs = (f"{COOKIE}={letter * 32}" for letter in "ab")
    call = "/audit/api/kernel/set_ui_element_value"
    ask(gate, kind="websocket", path="/audit/ws", query=b"session_id=s_1", cookie=mine)
    assert ask(gate, path=call, cookie=theirs, marimo_session_id="s_1")[0]["status"] == 403
    assert ask(gate, kind="websocket", path="/audit/ws", query=b"session_id=s_1", cookie=theirs)[0]["code"] == 4403
    assert ask(gate, path="/audit/sse", query=b"session_id=s_1", cookie=theirs)[0]["status"] == 403
    assert ask(gate, path=call, cookie=mine, marimo_session_id="s_1")[0]["status"] == 200
    assert len(inner.scopes) == 2


def test_without_its_packages_the_app_says_which_extra_brings_them(monkeypatch):
    import sys

    from reckoner.errors import MissingExtraError
    from reckoner.web.serve import serve
    from reckoner.web.site import site

    monkeypatch.setitem(sys.modules, "marimo", None)
    with pytest.raises(MissingExtraError, match="web"):
        site(SOURCES)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match="web"):
        serve(SOURCES, port=0, ready=print)


def test_every_answer_forbids_the_browser_to_load_from_elsewhere_and_no_other_origin_may_read_it():
    sent = ask(Gate(Inner(), SOURCES))
    (policy,) = header(sent, "content-security-policy")
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert header(sent, "access-control-allow-origin") == []


def test_a_visit_travels_with_the_request_and_without_the_gate_there_is_none():
    visit = Visit(person="person-1", sources=SOURCES)
    assert str(Visit.of(visit.to_meta()).sources.prices) == "p"
    with pytest.raises(Exception, match="reckoner app"):
        Visit.of({})
