"""A state file and the journal beside it: one appended line per outcome, folded into the file now and then.

``calibrator_state.json`` holds whole models and a generation. ``calibrator_state.json.journal-7`` holds what came after
generation 7, one line each with its checksum. Renaming a new state file into place is the one step that counts: from
then on the older journal is history. Every write happens under ``calibrator_state.json.lock``, so several processes
share one state.
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reckoner.errors import ReckonerError
from reckoner.files import write_atomic

try:
    import fcntl
except ImportError:  # not on Windows: there one process at a time
    fcntl = None  # type: ignore[assignment]

_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)  # not on Windows

VERSION = 2
FOLD_BYTES = 1 << 20
"""Least size of a journal that is folded. Assumption: about 4,000 outcomes, read back in 0.1 s."""

_log = logging.getLogger(__name__)


class Contents(NamedTuple):
    """What was read.

    Parameters
    ----------
    models : list of dict
        Whole models of the state file.
    events : list of list
        What the journal adds, in order.
    found : str
        One line about damage; empty where there was none.
    """

    models: list[dict[str, Any]]
    events: list[list[Any]]
    found: str


class Journal:
    """The files behind one state path.

    Parameters
    ----------
    path : Path
        State file; journals and the lock stand beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock = self._file = self._state = -1  # the state is kept open: its inode cannot come back as another file
        self._inode = -1
        self._pid = 0
        self._own_bytes = 0
        self._limit = FOLD_BYTES
        self._original = b""
        self.generation = 0

    @property
    def journal(self) -> Path:
        """The journal of the present generation."""
        return self.path.with_name(f"{self.path.name}.journal-{self.generation}")

    def exists(self) -> bool:
        """Whether anything was ever written here."""
        return self.path.exists() or bool(self._journals())

    def _journals(self) -> list[int]:
        """Generations of the journals present, rising."""
        start = self.path.name + ".journal-"
        if not self.path.parent.is_dir():
            return []
        found = (entry.name[len(start) :] for entry in self.path.parent.iterdir() if entry.name.startswith(start))
        return sorted(int(tail) for tail in found if tail.isdigit())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; the system frees it when its holder dies."""
        if self._pid != os.getpid():  # a forked child would share its parent's lock
            self._reopen()
        if fcntl is None:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _reopen(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | _CLOSE_ON_EXEC, 0o644)
        except OSError as error:
            raise ReckonerError(
                f"cannot write beside {self.path}: {error.strerror or error}; choose another state_path"
            ) from error
        self._file = self._state = self._inode = -1
        self._pid = os.getpid()

    def read(self, usable: Callable[[dict[str, Any]], bool]) -> Contents:
        """Read state file and journal; put what is damaged aside and keep what is whole.

        Parameters
        ----------
        usable : callable
            Whether a model's plain values can be read.
        """
        models, generation, trouble = self._read_state(usable)
        self.generation = max(self._journals(), default=0) if generation is None else generation
        events, damaged = self._read_journal()
        found = ""
        if trouble is not None:
            aside = _aside(self.path)
            found = f"{self.path} {trouble}; it is kept as {aside.name}, {len(models)} whole models were recovered"
        if damaged:
            aside = _aside(self.journal)
            found += "; " if found else ""
            found += f"{self.journal} has {damaged} damaged lines; it is kept as {aside.name}, "
            found += f"{len(events)} whole records were recovered"
        if found:
            _log.warning("%s", found)
        return Contents(models, events, found)

    def _read_state(
        self, usable: Callable[[dict[str, Any]], bool]
    ) -> tuple[list[dict[str, Any]], int | None, str | None]:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return [], None, None
        except OSError as error:
            raise ReckonerError(f"cannot read {self.path}: {error.strerror or error}; check the path") from error
        text = raw.decode("utf-8", errors="replace")
        try:
            data = json.loads(raw)
            version = data["version"]
            found = [model for model in data["models"] if usable(model)]
            whole = len(found) == len(data["models"])
            generation = int(data.get("generation", 0))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _salvage(text, usable), None, "is damaged"
        if version == 1:
            self._original = raw
        if version not in (1, VERSION):
            return found, generation, f"is of version {version!r} and this reckoner reads 1 and {VERSION}"
        return found, generation, None if whole else "holds models that cannot be read"

    def _read_journal(self) -> tuple[list[list[Any]], int]:
        try:
            raw = self.journal.read_bytes()
        except FileNotFoundError:
            return [], 0
        events: list[list[Any]] = []
        damaged = 0
        for line in raw.split(b"\n"):
            if not line:
                continue
            checksum, _, payload = line.partition(b" ")
            try:
                if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(payload):
                    raise ValueError("checksum")
                events.append(json.loads(payload))
            except ValueError:
                damaged += 1
        return events, damaged

    def append(self, event: list[Any]) -> bool:
        """Add one event under :meth:`held`; return whether it is time to fold.

        Raises
        ------
        FileNotFoundError
            There is no state file yet, or no more.
        ReckonerError
            The disk is full or the file cannot be written; nothing was added.
        """
        # A Path would cost as much as the call. The state changes at first use, and when another process folded.
        if os.stat(self._name).st_ino != self._inode:  # noqa: PTH116
            self._open()
        line = _line(event)
        try:
            written = os.write(self._file, line)
            size = os.fstat(self._file).st_size
            if written != len(line):
                os.ftruncate(self._file, size - written)
                raise ReckonerError(f"cannot write {self.journal}: the disk is full; nothing was recorded")
        except OSError as error:
            raise ReckonerError(
                f"cannot write {self.journal}: {error.strerror or error}; nothing was recorded, free some space"
            ) from error
        self._own_bytes += written
        return size > self._limit

    def _open(self) -> None:
        """Open the state file that stands there now, and its journal."""
        self._shut()
        self._state = os.open(self.path, os.O_RDONLY | _CLOSE_ON_EXEC)
        status = os.fstat(self._state)
        self._inode = status.st_ino
        head = re.search(rb'"generation": (\d+)', os.read(self._state, 200))
        self.generation = int(head[1]) if head else 0
        self._file = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOSE_ON_EXEC, 0o644)
        self._own_bytes = 0
        self._limit = max(FOLD_BYTES, 2 * status.st_size)

    def _shut(self) -> None:
        for handle in (self._state, self._file):
            if handle >= 0:
                os.close(handle)
        self._state = self._file = self._inode = -1

    def alone(self) -> bool:
        """Whether all of the journal is this process's own, so that memory already holds it."""
        return (
            self._file >= 0
            and self.path.exists()
            and self.path.stat().st_ino == self._inode
            and os.fstat(self._file).st_size == self._own_bytes
        )

    def replace(self, models: list[dict[str, Any]]) -> None:
        """Write the state file under :meth:`held`; its journal is empty."""
        past = self._journals()
        self.generation = max([self.generation, *past]) + 1
        head = {"version": VERSION, "generation": self.generation, "saved_at": time.time()}
        text = json.dumps(head, allow_nan=False)[:-1] + ', "models": [\n'
        text += ",\n".join(json.dumps(model, allow_nan=False) for model in models) + "\n]}\n"
        if self._original:  # of version 1: kept, for whoever goes back
            write_atomic(self.path.with_name(self.path.name + ".v1"), self._original)
            self._original = b""
        write_atomic(self.path, text)
        self._shut()
        # what a killed writer left half written; whoever holds the lock is the only writer
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.part"):
            left.unlink(missing_ok=True)
        for generation in past:
            self.path.with_name(f"{self.path.name}.journal-{generation}").unlink(missing_ok=True)


def _line(event: list[Any]) -> bytes:
    """A line begins with its newline, so that one torn by a crash cannot spoil the next."""
    payload = _encode(event).encode()
    return b"\n%08x %s" % (zlib.crc32(payload), payload)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _salvage(text: str, usable: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Models that are whole in a text that is not."""
    decoder = json.JSONDecoder()
    models: list[dict[str, Any]] = []
    start = text.find("{", 1)
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if isinstance(value, dict) and usable(value):
                models.append(value)
        start = text.find("{", end)
    return models


def _aside(path: Path) -> Path:
    """Copy a damaged file beside itself and return the copy; one that is there already is not made again."""
    content, count = path.read_bytes(), 1
    while True:
        aside = path.with_name(f"{path.name}.damaged-{count}")
        if not aside.exists():
            return write_atomic(aside, content)
        if aside.read_bytes() == content:
            return aside
        count += 1
