"""One writer at a time, between processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reckoner.errors import ReckonerError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_PAUSE_S = 0.02  # assumption: far below what a person notices, far above the cost of one attempt
_TRIES = 1500  # assumption: 30 s, longer than any writer holds the lock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock at ``path`` for the length of a ``with`` block.

    With ``fcntl`` the system frees the lock when its holder dies. Without it the lock is the file's existence.

    Raises
    ------
    ReckonerError
        The folder cannot be written, or (without ``fcntl``) somebody holds the lock for longer than 30 s.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReckonerError(_cannot(path, error)) from error
    hold = _hold_by_existence if fcntl is None else _hold_by_flock
    with hold(path):
        yield


@contextmanager
def _hold_by_flock(path: Path) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ReckonerError(_cannot(path, error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # closing frees the lock


@contextmanager
def _hold_by_existence(path: Path) -> Iterator[None]:
    held = path.with_name(path.name + ".held")
    for _ in range(_TRIES):
        try:
            os.close(os.open(held, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            break
        except FileExistsError:
            time.sleep(_PAUSE_S)
        except OSError as error:
            raise ReckonerError(_cannot(held, error)) from error
    else:
        raise ReckonerError(
            f"{held} has been held for {_TRIES * _PAUSE_S:.0f} s; "
            "if no other reckoner is writing there, delete that file"
        )
    try:
        yield
    finally:
        held.unlink(missing_ok=True)


def _cannot(path: Path, error: OSError) -> str:
    return f"cannot lock {path}: {error.strerror or error}; choose a registry folder that can be written"
