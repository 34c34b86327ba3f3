"""Small JSON records that notice a changed byte: canonical text, sealed by a digest of its own body."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError
from reckoner.files import canonical_json, read_json, sha256, write_json


def write_record(path: Path, body: Mapping[str, Any]) -> None:
    """Write ``body`` with its seal, whole or not at all."""
    write_json(path, {**body, "seal": sha256(canonical_json(dict(body)))})


def read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Read a record back without its seal.

    Raises
    ------
    InputError
        There is no such file.
    DamagedError
        Any byte differs from what was written; the message names the file and ends with ``remedy``.
    """
    try:
        record = read_json(path)
    except DamagedError as error:
        raise DamagedError(f"{error}; {remedy}") from error
    if not isinstance(record, dict) or "seal" not in record:
        raise DamagedError(f"{path}: it has no seal, so it is not a registry record; {remedy}")
    body = {key: value for key, value in record.items() if key != "seal"}
    seal = sha256(canonical_json(body))
    if record["seal"] != seal:
        raise DamagedError(
            f"{path}: its content has digest {seal[:12]}, its seal says {str(record['seal'])[:12]}; {remedy}"
        )
    if path.read_bytes() != canonical_json(record).encode():  # a byte of white space, or an escape, was changed
        raise DamagedError(f"{path}: its text is not as it was written, though its values are; {remedy}")
    return body
