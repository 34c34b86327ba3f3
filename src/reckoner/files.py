"""Files that are whole or absent: atomic writes, canonical JSON, digests.

A reader never sees half a file: content goes to a temporary sibling, is flushed to disk, then renamed over the target.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, InputError, ReckonerError


def write_atomic(path: str | Path, content: bytes | str) -> Path:
    """Write ``content`` to ``path`` whole or not at all; a device or a pipe is written to, never replaced.

    Raises
    ------
    ReckonerError
        The disk is full or the folder cannot be written; whatever stood at ``path`` before is unharmed.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("wb", buffering=0) as device:
                device.write(data)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
        temporary = None
    except OSError as error:
        raise ReckonerError(
            f"cannot write {target} ({len(data)} bytes): {error.strerror or error}; "
            "free some space or choose another folder; what stood there before is unharmed"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
    return target


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, two-space indent and a final newline: same value, same bytes.

    Raises
    ------
    InputError
        A number is NaN or infinite (the message gives its path), or a text holds half a surrogate pair.

    >>> print(canonical_json({"b": 1, "a": [1.5, None]}), end="")
    {
      "a": [
        1.5,
        null
      ],
      "b": 1
    }
    """
    try:
        _refuse_non_finite(value, "$")
    except RecursionError as error:
        raise InputError("the value is nested too deeply; flatten it") from error
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a text holds {text[error.start]!r}, half a surrogate pair, which no UTF-8 file can hold; "
            "write the character itself"
        ) from error
    return text


def _refuse_non_finite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path} is {value}; a result holds finite numbers only, use null where there is no figure")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_non_finite(item, f"{path}[{index}]")


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as canonical JSON, atomically."""
    return write_atomic(path, canonical_json(value))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        There is no such file.
    DamagedError
        The file is truncated or is not JSON; the message names the file and the line.
    """
    source = Path(path)
    try:
        return parse_json(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no file {source}; check the path") from error
    except json.JSONDecodeError as error:
        raise DamagedError(
            f"{source}, line {error.lineno}: {error.msg}; the file is truncated or is not JSON, restore it"
        ) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise DamagedError(f"{source}: {error}; the file is damaged or is not JSON, restore it") from error
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error


def parse_json(text: str) -> Any:
    """Parse JSON text.

    Raises
    ------
    ValueError
        It is not JSON, holds NaN or half a surrogate pair, or is nested deeper than Python can follow.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\ud" in text.lower():  # only an escape can bring half a pair in
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def sha256(content: bytes | str) -> str:
    """Hexadecimal SHA-256 of bytes (or of a text's UTF-8).

    >>> sha256("")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
