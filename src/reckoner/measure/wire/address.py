"""Where requests go: an OpenAI-compatible address, what it wants to be asked, and what must never be shown."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from reckoner.errors import EngineError, InputError, UnknownNameError, redacted

APIS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
DIALECTS: dict[str, dict[str, Any]] = {
    "openai": {},
    "vllm": {"ignore_eos": True},
    "sglang": {"ignore_eos": True},
    "llama.cpp": {"ignore_eos": True, "cache_prompt": False, "timings_per_token": False},
    "ollama": {},
    "tgi": {},
}
"""Fields that each engine's server takes besides OpenAI's own, so that answers have the length asked for: vLLM's
``ignore_eos``, llama.cpp's ``ignore_eos`` and ``cache_prompt``: both servers were asked and obeyed (2026-11-21).
Assumptions, no server of theirs was asked: SGLang takes vLLM's field, Ollama and TGI take none on this route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server and how to ask it.

    Parameters
    ----------
    host, port, tls
        Where it listens.
    path : str
        Of the requests.
    api, dialect : str
        One of :data:`APIS`, and of :data:`DIALECTS`.
    headers : mapping of str to str
        Sent with each request; never shown.
    ca_file : str
        Certificate to trust, where it is not one that the system trusts.
    """

    host: str
    port: int
    tls: bool
    path: str
    api: str = "chat"
    dialect: str = "openai"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""

    @property
    def shown(self) -> str:
        """Address without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    def resolve(self) -> tuple[int, tuple[Any, ...]]:
        """Family and socket address of the host.

        Raises
        ------
        EngineError
            Nobody knows such a host.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise EngineError(
                f"{self.shown}: host {self.host!r} is unknown ({error.args[-1]}); check the name"
            ) from error
        family, _, _, _, place = found[0]
        return family, place


def address_of(
    url: str, *, api: str = "chat", dialect: str = "openai", key: str = "", headers: Mapping[str, str] | None = None,
    ca_file: str = "",
) -> Address:  # fmt: skip
    """Take an address apart; a bare one, or one that ends in ``/v1``, gets the path of its API.

    Raises
    ------
    InputError
        It is no http or https address.

    Examples
    --------
    >>> address_of("http://localhost:8000").shown
    'http://localhost:8000/v1/chat/completions'
    >>> address_of("https://ann:secret@example.org/v1", api="completions").shown
    'https://example.org:443/v1/completions'
    """
    if api not in APIS:
        raise UnknownNameError.of("API", api, APIS)
    if dialect not in DIALECTS:
        raise UnknownNameError.of("dialect", dialect, DIALECTS)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"address {redacted(url)!r}: {error}; give one such as http://localhost:8000") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"address {redacted(url)!r} is no http or https address; give one such as http://localhost:8000"
        )
    path = parts.path.rstrip("/")
    if path in ("", "/v1"):
        path = APIS[api]
    elif path.endswith(tuple(APIS.values())):
        api = "chat" if path.endswith(APIS["chat"]) else "completions"
    given = dict(headers or {})
    for name, value in given.items():
        if "\r" in name + value or "\n" in name + value or not name:
            raise InputError(f"header {name!r} holds a line break; a header is one line")
    if key:
        given["Authorization"] = f"Bearer {key}"
    elif parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        given["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    tls = parts.scheme == "https"
    return Address(
        host=parts.hostname, port=port or (443 if tls else 80), tls=tls,
        path=path + (f"?{parts.query}" if parts.query else ""), api=api, dialect=dialect, headers=given,
        ca_file=ca_file,
    )  # fmt: skip


def request_bytes(
    address: Address,
    model: str,
    prompt: str,
    output_tokens: int,
    *,
    index: int = 0,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """One streaming request, ready to be sent.

    Parameters
    ----------
    address : Address
        Whom.
    model, prompt : str
        Asked of which model.
    output_tokens : int
        Length of the answer.
    index : int
        Travels in a header, so that a server's own records can be matched.
    more : mapping, optional
        Further fields of the body; they win.
    """
    body: dict[str, Any] = {"model": model, "max_tokens": output_tokens, "stream": True, "temperature": 0}
    body["stream_options"] = {"include_usage": True}
    if address.api == "chat":
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        body["prompt"] = prompt
    body |= DIALECTS[address.dialect] | dict(more or {})
    content = json.dumps(body, ensure_ascii=False).encode()
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {host}:{address.port}",
        "User-Agent: reckoner",
        "Accept: text/event-stream",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"X-Request-Index: {index}",
        *(f"{name}: {value}" for name, value in address.headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + content
