"""The gate before every page: who is there, and nobody from outside.

Pure ASGI, because it must hold for websockets as for requests. It refuses names and origins that are not this
machine's (a foreign page could otherwise post to it, or rebind its name to 127.0.0.1), gives each browser a random
identity in a cookie, lets nobody speak in another's session, and tells the browser to load nothing from elsewhere.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from reckoner.web.visit import Sources, Visit, person_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE: Final = "reckoner_person"
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
# What the pages' own scripts call: nothing that edits, runs or reads files.
CALLS: Final = frozenset(
    f"/api/{name}"
    for name in (
        "kernel/instantiate",
        "kernel/set_ui_element_value",
        "kernel/set_model_value",
        "kernel/function_call",
        "status",
        "status/connections",
        "version",
        "usage",
    )
)
# marimo's front end needs inline styles, evaluated templates and blobs; addresses of other machines are never needed.
POLICY: Final = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
_OURS: Final = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
_CROSS: Final = b"access-control-"  # marimo allows every origin; these pages allow none but their own
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")
_YEAR_S: Final = 365 * 24 * 3600
_SESSIONS: Final = 4096


class Gate:
    """Wraps an ASGI application; pages read the :class:`~reckoner.web.visit.Visit` from the request's ``meta``.

    Parameters
    ----------
    app : ASGI application
    sources : Sources
        Told to every page.
    hosts : iterable of str
        Names under which this machine may be addressed.
    """

    def __init__(self, app: App, sources: Sources, *, hosts: Iterable[str] = LOCAL) -> None:
        self.app, self.sources, self.hosts = app, sources, frozenset(hosts)
        self._sessions: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request or websocket through, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        token = _token(headers.get("cookie", ""))
        person = person_of(token or (fresh := secrets.token_urlsafe(24)))
        refusal = self._refusal(scope, headers, person)
        if refusal:
            await _refuse(scope, receive, send, refusal)
            return
        scope["meta"] = Visit(person=person, sources=self.sources).to_meta()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", [])
                kept = [(name, value) for name, value in given if name not in _OURS and not name.startswith(_CROSS)]
                if token is None and any(name == b"content-type" and b"text/html" in value for name, value in kept):
                    cookie = f"{COOKIE}={fresh}; Path=/; Max-Age={_YEAR_S}; HttpOnly; SameSite=Strict"
                    kept.append((b"set-cookie", cookie.encode()))
                message["headers"] = [*kept, *_OURS.items()]
            await send(message)

        await self.app(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: dict[str, str], person: str) -> str:
        """Why this may not pass; empty where it may."""
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name not in self.hosts:
            return f"host {name[:80]!r} is not served here; open http://localhost"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "another site's page may not speak to this one"
        path = scope["path"]
        if "/api/" in path and path[path.index("/api/") :] not in CALLS:
            return "the pages do not offer this call"
        session = headers.get("marimo-session-id") or _session(scope)
        if session:
            owner = self._sessions.setdefault(session, person)
            self._sessions.move_to_end(session)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
            if owner != person:
                return "this session is another person's"
        return ""


def _token(cookies: str) -> str | None:
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and _TOKEN.fullmatch(found.value) else None


def _session(scope: Scope) -> str:
    """Session that an address names: websockets do, and so do streams of events."""
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("session_id", [""])[0]


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": why[:120]})
        return
    body = f"reckoner: {why}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
