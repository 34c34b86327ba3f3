"""Models that a server says it has."""

from __future__ import annotations

from reckoner.errors import EngineError
from reckoner.measure.events import parsed
from reckoner.measure.wire.address import Address
from reckoner.measure.wire.fetch import fetch


def models_of(address: Address) -> list[str]:
    """Names under which a server knows its models.

    Raises
    ------
    EngineError
        It does not answer, or lists none.
    """
    try:
        found = parsed(fetch(address, "/v1/models"))
    except EngineError as error:
        raise EngineError(f"{error}; name the model with --served, or check address and key") from error
    entries = found.get("data") if found is not None else None
    names = [str(e["id"]) for e in entries if isinstance(e, dict) and e.get("id")] if isinstance(entries, list) else []
    if not names:
        raise EngineError(f"{address.shown}: /v1/models lists no model; name it with --served")
    return names
