"""A state file and the journal beside it: one appended line per outcome, folded into the file now and then.

``calibrator_state.json`` holds whole models. ``calibrator_state.json.journal`` holds what came after, one line each
with its checksum. Both carry a generation; a journal older than the state file was folded into it already. Every write
happens under ``calibrator_state.json.lock``, so several processes share one state.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
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
        State file; the journal and the lock stand beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path.with_name(path.name + ".journal")
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock = self._file = -1
        self._inode = -1
        self._pid = 0
        self._own_bytes = 0
        self._limit = FOLD_BYTES
        self._original = b""
        self.generation = 0

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
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise ReckonerError(
                f"cannot write beside {self.path}: {error.strerror or error}; choose another state_path"
            ) from error
        self._file = -1
        self._pid = os.getpid()

    def close(self) -> None:
        """Close both files."""
        for handle in (self._lock, self._file):
            if handle >= 0 and self._pid == os.getpid():
                os.close(handle)
        self._lock = self._file = -1
        self._pid = 0

    def read(self, usable: Callable[[dict[str, Any]], bool]) -> Contents:
        """Read state file and journal; put what is damaged aside and keep what is whole.

        Parameters
        ----------
        usable : callable
            Whether a model's plain values can be read.
        """
        models, generation, trouble = self._read_state(usable)
        events, damaged, journal_generation = self._read_journal()
        if trouble is None and journal_generation < generation:
            events, damaged = [], 0  # already folded into the state file
        self.generation = max(generation, journal_generation)
        found = ""
        if trouble is not None:
            aside = _aside(self.path)
            self.path.replace(aside)
            found = f"{self.path} {trouble}; it is kept as {aside.name}, {len(models)} whole models were recovered"
        if damaged:
            aside = _aside(self.journal)
            aside.write_bytes(self.journal.read_bytes())
            found += "; " if found else ""
            found += f"{self.journal} has {damaged} damaged lines; it is kept as {aside.name}, "
            found += f"{len(events)} whole records were recovered"
        if found:
            _log.warning("%s", found)
        return Contents(models, events, found)

    def _read_state(self, usable: Callable[[dict[str, Any]], bool]) -> tuple[list[dict[str, Any]], int, str | None]:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return [], 0, None
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
            return _salvage(text, usable), 0, "is damaged"
        if version == 1:
            self._original = raw
        if version not in (1, VERSION):
            return found, generation, f"is of version {version!r} and this reckoner reads 1 and {VERSION}"
        return found, generation, None if whole else "holds models that cannot be read"

    def _read_journal(self) -> tuple[list[list[Any]], int, int]:
        try:
            raw = self.journal.read_bytes()
        except FileNotFoundError:
            return [], 0, 0
        events: list[list[Any]] = []
        damaged = generation = 0
        for line in raw.split(b"\n"):
            if not line:
                continue
            checksum, _, payload = line.partition(b" ")
            try:
                if int(checksum, 16) != zlib.crc32(payload) or len(checksum) != 8:
                    raise ValueError("checksum")
                event = json.loads(payload)
            except ValueError:
                damaged += 1
                continue
            if event[0] == "journal":
                generation = int(event[1])
            else:
                events.append(event)
        return events, damaged, generation

    def append(self, event: list[Any]) -> bool:
        """Add one event under :meth:`held`; return whether it is time to fold.

        Raises
        ------
        ReckonerError
            The disk is full or the file cannot be written; nothing was added.
        """
        try:
            status = self.journal.stat()
        except FileNotFoundError:
            raise ReckonerError(f"{self.journal} was deleted while in use; make a new calibrator") from None
        if self._file < 0 or status.st_ino != self._inode:  # first use, or folded by another process
            if self._file >= 0:
                os.close(self._file)
            self._file = os.open(self.journal, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
            self._inode = status.st_ino
            self._own_bytes = 0
        line = _line(event)
        try:
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, status.st_size)
                raise ReckonerError(f"cannot write {self.journal}: the disk is full; nothing was recorded")
        except OSError as error:
            raise ReckonerError(
                f"cannot write {self.journal}: {error.strerror or error}; nothing was recorded, free some space"
            ) from error
        self._own_bytes += written
        return status.st_size + written > self._limit

    def alone(self) -> bool:
        """Whether all of the journal is this process's own, so that memory already holds it."""
        return self._file >= 0 and self.journal.stat().st_size == self._own_bytes + self._header_bytes

    @property
    def _header_bytes(self) -> int:
        return len(_line(["journal", self.generation]))

    def replace(self, models: list[dict[str, Any]]) -> None:
        """Write the state file, then an empty journal, under :meth:`held`."""
        self.generation += 1
        head = {"version": VERSION, "generation": self.generation, "saved_at": time.time()}
        text = json.dumps(head, allow_nan=False)[:-1] + ', "models": [\n'
        text += ",\n".join(json.dumps(model, allow_nan=False) for model in models) + "\n]}\n"
        if self._original:  # of version 1: kept, for whoever goes back
            write_atomic(self.path.with_name(self.path.name + ".v1"), self._original)
            self._original = b""
        write_atomic(self.path, text)
        write_atomic(self.journal, _line(["journal", self.generation]))
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self.journal, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        self._inode = os.fstat(self._file).st_ino
        self._own_bytes = 0
        self._limit = max(FOLD_BYTES, 2 * len(text))


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
    """A name beside ``path`` that is free."""
    count = 1
    while True:
        aside = path.with_name(f"{path.name}.damaged-{count}")
        if not aside.exists():
            return aside
        count += 1
