"""Models that a server says it has."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

from reckoner.errors import EngineError
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.connection import context_of


def models_of(address: Address, *, patience_s: float = 10.0) -> list[str]:
    """Names under which a server knows its models.

    Raises
    ------
    EngineError
        It does not answer, or lists none.
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    url = f"{'https' if address.tls else 'http'}://{host}:{address.port}/v1/models"
    request = urllib.request.Request(url, headers=dict(address.headers))
    context = context_of(address.ca_file) if address.tls else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    try:
        with opener.open(request, timeout=patience_s) as reply:
            found = json.loads(reply.read(1 << 22))
    except urllib.error.HTTPError as error:
        raise EngineError(f"{url} answers {error.code}; name the model with --served, or give the key") from error
    except urllib.error.URLError as error:
        why = error.reason.verify_message if isinstance(error.reason, ssl.SSLCertVerificationError) else error.reason
        raise EngineError(f"{url} cannot be reached: {why}; is the server up?") from error
    except (OSError, ValueError) as error:
        raise EngineError(f"{url} answers nothing usable ({error}); name the model with --served") from error
    entries = found.get("data") if isinstance(found, dict) else None
    names = [str(e["id"]) for e in entries or () if isinstance(e, dict) and e.get("id")]
    if not names:
        raise EngineError(f"{url} lists no model; name it with --served")
    return names
