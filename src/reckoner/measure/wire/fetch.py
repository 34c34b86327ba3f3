"""One plain request beside a run: what a server lists, and what it counts."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request

from reckoner.errors import EngineError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.connection import context_of

MOST_BYTES = 1 << 22


def fetch(address: Address, path: str, *, patience_s: float = 10.0) -> bytes:
    """Get a page of a server, with the same headers and certificate as its requests, and through no proxy.

    Raises
    ------
    EngineError
        It cannot be reached, or answers an error or no HTTP.
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{'https' if address.tls else 'http'}://{host}:{address.port}{path}"
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if address.tls:
        handlers.append(urllib.request.HTTPSHandler(context=context_of(address.ca_file)))
    request = urllib.request.Request(url, headers=dict(address.headers))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=patience_s) as reply:
            content: bytes = reply.read(MOST_BYTES)
            return content
    except urllib.error.HTTPError as error:
        raise EngineError(f"{url} answers {error.code}") from error
    except urllib.error.URLError as error:
        why = error.reason.verify_message if isinstance(error.reason, ssl.SSLCertVerificationError) else error.reason
        raise EngineError(f"{url} cannot be reached: {why}; is the server up?") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EngineError(f"{url} answers nothing usable ({type(error).__name__})") from error
