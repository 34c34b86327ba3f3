"""Descriptors: which of them are ready, and how many may be open."""

from __future__ import annotations

import resource
import select
import selectors
import time
from typing import Protocol

from reckoner.errors import InputError

READABLE, WRITABLE, ODD = 1, 4, 8
"""Bits of readiness, as epoll numbers them. Odd: stamps of what was sent wait, or the connection is broken."""
EVENTS = 4096
SPARE_FILES = 32  # descriptors that everything else needs. Assumption.
HAS_EPOLL = hasattr(select, "epoll")


class Poller(Protocol):
    """Watches descriptors by number."""

    def add(self, number: int) -> None:
        """Begin to watch reads and writes."""

    def reads(self, number: int) -> None:
        """Watch reads alone from now on."""

    def both(self, number: int) -> None:
        """Watch reads and writes from now on."""

    def remove(self, number: int) -> None:
        """Watch no more; the descriptor may be closed already, or unknown."""

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait at most so long; say which are ready, each once, and for what."""

    def close(self) -> None:
        """Let go of the kernel's share."""


def new_poller(*, fallback: bool = False) -> Poller:
    """Poller of this machine: epoll, else what the standard library has (kqueue on macOS, else poll).

    Parameters
    ----------
    fallback : bool
        Whether to do without epoll even where there is one.
    """
    return Selecting() if fallback or not HAS_EPOLL else Epolling()


class Epolling:
    """epoll itself: one call a turn, however many are watched."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, number: int) -> None:
        """Begin to watch reads and writes."""
        self._epoll.register(number, select.EPOLLIN | select.EPOLLOUT)

    def reads(self, number: int) -> None:
        """Watch reads alone from now on."""
        self._epoll.modify(number, select.EPOLLIN)

    def both(self, number: int) -> None:
        """Watch reads and writes from now on."""
        self._epoll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def remove(self, number: int) -> None:
        """Watch no more; epoll itself forgets what is closed."""
        try:
            self._epoll.unregister(number)
        except OSError:  # closed already
            return

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait at most so long; say which are ready, each once, and for what."""
        return self._epoll.poll(seconds, EVENTS)

    def close(self) -> None:
        """Let go of the kernel's share."""
        self._epoll.close()


class Selecting:
    """kqueue or poll through ``selectors``: as many descriptors as the process may open, with more work a turn."""

    def __init__(self) -> None:
        kind = getattr(selectors, "KqueueSelector", None) or getattr(selectors, "PollSelector", None)
        self._selector: selectors.BaseSelector = (kind or selectors.SelectSelector)()

    def add(self, number: int) -> None:
        """Begin to watch reads and writes."""
        self._selector.register(number, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def reads(self, number: int) -> None:
        """Watch reads alone from now on."""
        self._selector.modify(number, selectors.EVENT_READ)

    def both(self, number: int) -> None:
        """Watch reads and writes from now on."""
        self._selector.modify(number, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def remove(self, number: int) -> None:
        """Watch no more."""
        if number in self._selector.get_map():
            self._selector.unregister(number)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Wait at most so long; say which are ready, each once, and for what.

        An odd state shows as readable here, so whoever can be read is called odd too.
        """
        if not self._selector.get_map():
            time.sleep(seconds)  # kqueue and select differ in what they do with nothing to watch
            return []
        found: dict[int, int] = {}
        for key, events in self._selector.select(seconds):  # kqueue tells reads and writes apart
            flags = (READABLE | ODD if events & selectors.EVENT_READ else 0) | (
                WRITABLE if events & selectors.EVENT_WRITE else 0
            )
            found[key.fd] = found.get(key.fd, 0) | flags
        return list(found.items())

    def close(self) -> None:
        """Let go of the kernel's share."""
        self._selector.close()


def allow_files(streams: int, *, least: int | None = None) -> None:
    """Raise this process's limit of open files as far as it may go.

    Parameters
    ----------
    streams : int
        Sockets that may be open at once.
    least : int, optional
        So many must be; by default all.

    Raises
    ------
    InputError
        This process may not open so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # macOS says "unlimited" and means kern.maxfilesperproc
        most = soft
    needed = (streams if least is None else least) + SPARE_FILES
    if most < needed:
        raise InputError(
            f"{needed - SPARE_FILES} streams need {needed} open files and this process may open {most}; "
            "raise `ulimit -Hn`, or measure with fewer streams"
        )
