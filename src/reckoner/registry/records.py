"""Small JSON records that notice a changed byte: canonical text, sealed by a digest of its own body."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError
from reckoner.files import canonical_json, parse_json, sha256, write_json


def write_record(path: Path, body: Mapping[str, Any]) -> None:
    """Write ``body`` with its seal, whole or not at all."""
    write_json(path, {**body, "seal": sha256(canonical_json(dict(body)))})


def read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Read a record back without its seal.

    The bytes are read once: between two reads another process may have put a newer record in place.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedError
        Any byte differs from what was written; the message names the file and ends with ``remedy``.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}; {remedy}") from error
    try:
        record = parse_json(raw.decode())
    except ValueError as error:
        raise DamagedError(f"{path}: {error}; it is truncated or is not JSON, {remedy}") from error
    if not isinstance(record, dict) or "seal" not in record:
        raise DamagedError(f"{path}: it has no seal, so it is not a registry record; {remedy}")
    body = {key: value for key, value in record.items() if key != "seal"}
    try:
        seal, text = sha256(canonical_json(body)), canonical_json(record).encode()
    except ValueError as error:  # a number too large for a float, which json reads as infinite and no record holds
        raise DamagedError(f"{path}: {error}; {remedy}") from error
    if record["seal"] != seal:
        raise DamagedError(
            f"{path}: its content has digest {seal[:12]}, its seal says {str(record['seal'])[:12]}; {remedy}"
        )
    if raw != text:  # a byte of white space, or an escape, was changed
        raise DamagedError(f"{path}: its text is not as it was written, though its values are; {remedy}")
    return body
