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
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock at ``path`` for the length of a ``with`` block.

    With ``fcntl`` the system frees the lock when its holder dies. Without it the lock is the file's existence.

    Parameters
    ----------
    wait : bool
        Whether to wait for another holder, as a short write does, or to refuse at once, as a long job does.

    Raises
    ------
    ReckonerError
        The folder cannot be written; somebody holds the lock and ``wait`` is False, or (without ``fcntl``) holds it for
        longer than 30 s.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReckonerError(_cannot(path, error)) from error
    hold = _hold_by_existence if fcntl is None else _hold_by_flock
    with hold(path, wait):
        yield


@contextmanager
def _hold_by_flock(path: Path, wait: bool) -> Iterator[None]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ReckonerError(_cannot(path, error)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReckonerError(_busy(path)) from error
        yield
    finally:
        os.close(handle)  # closing frees the lock


@contextmanager
def _hold_by_existence(path: Path, wait: bool) -> Iterator[None]:
    held = path.with_name(path.name + ".held")
    for _ in range(_TRIES):
        try:
            os.close(os.open(held, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            break
        except FileExistsError as error:
            if not wait:
                raise ReckonerError(_busy(path)) from error
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


def _busy(path: Path) -> str:
    return f"another reckoner works in {path.parent}; wait until it is done or choose another folder"


def _cannot(path: Path, error: OSError) -> str:
    return f"cannot lock {path}: {error.strerror or error}; choose a folder that can be written"
