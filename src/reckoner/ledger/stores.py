"""Where entries lie: one SQLite file, or one PostgreSQL schema; both with one writer at a time and durable commits."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from reckoner.errors import DamagedError, InputError, MissingExtraError, ReckonerError, complaint, redacted

# Waiting writers give up after this long. Assumption: four busy processes wait milliseconds; a minute means stuck.
_PATIENCE_S = 60.0
APPLICATION_ID = 0x52636B6E  # "Rckn" in the SQLite header: tells our files from other programs' databases
_ADVISORY_LOCK = 0x52636B6E

Row = Sequence[Any]
Execute = Callable[..., list[Row]]


class Store(Protocol):
    """What the ledger needs of a database."""

    dialect: str
    shown: str

    def write(self) -> Any:
        """Context of one transaction with the only writer's right; yields ``execute(sql, parameters) -> rows``."""
        ...

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Stream the rows of a query."""
        ...

    def shrink(self) -> None:
        """Give the space of deleted rows back."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


def open_store(url: str | Path, *, create: bool = True, sync: bool = True) -> Store:
    """Open the store that a URL names: a path or ``sqlite:///path``, or ``postgresql://...``."""
    text = str(url)
    if text.startswith(("postgresql://", "postgres://")):
        return PostgresStore(text, sync=sync)
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif "://" in text:
        raise InputError(f"ledger is {redacted(text)}; give a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    return SqliteStore(Path(text).expanduser(), create=create, sync=sync)


class SqliteStore:
    """One file in write-ahead mode: readers never wait, writers queue, a commit is on the disk when it returns."""

    dialect = "sqlite"

    def __init__(self, path: Path, *, create: bool = True, sync: bool = True) -> None:
        self.path = path
        self._sync = sync
        self.shown = str(path)
        if not path.exists():
            if not create:
                raise InputError(f"no ledger at {path}; record something first, or give another with --ledger")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot make {path.parent}: {error.strerror}; choose another folder") from error
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        with self._said():
            connection = sqlite3.connect(
                self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            try:
                # tables first: our mark comes in one transaction with them, so a ledger is never seen without it
                tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                mark = connection.execute("PRAGMA application_id").fetchone()[0]
                if tables and mark != APPLICATION_ID:
                    raise InputError(f"{self.path} is another program's SQLite database; choose another path")
                if not tables:  # both are kept in the file; asking again would need room on the disk
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # sealing gives the space back
                    self._write_ahead(connection)
                # FULL: a commit waits for the disk, so that not even a power cut loses what was acknowledged;
                # NORMAL: the operating system has it, so that it survives a killed process but not a power cut
                connection.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
            except BaseException:
                connection.close()
                raise
        return connection

    @staticmethod
    def _write_ahead(connection: sqlite3.Connection) -> None:
        """Switch a new file to a write-ahead log; SQLite does not wait by itself for another process that does so.

        Its busy handler is not asked where waiting could end in a deadlock (sqlite.org/c3ref/busy_handler.html).
        """
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if (
                    error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                    or time.monotonic() > until
                ):
                    raise
                time.sleep(0.01)

    @property
    def connection(self) -> sqlite3.Connection:
        """The process's own connection: one that was inherited through a fork must not be used."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._lock = threading.RLock()
            self._connection = self._connect()
        return self._connection

    @contextmanager
    def write(self) -> Iterator[Execute]:
        """One transaction; the lock is taken before anything is read, so that the chain stays linear."""
        connection = self.connection
        with self._lock, self._said():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, parameters=(): connection.execute(sql, parameters).fetchall()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Stream rows; the reader sees one moment, blocks nobody, and is none of this object's own transactions."""
        with self._said(), closing(sqlite3.connect(self.path, timeout=_PATIENCE_S)) as connection:
            cursor = connection.execute(sql, tuple(parameters))
            while batch := cursor.fetchmany(1000):
                yield from batch

    def shrink(self) -> None:
        """Give the pages of deleted rows back to the file system."""
        with self._said():
            self.connection.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Close the connection; SQLite then folds the write-ahead file into the database."""
        if self._process == os.getpid():
            self._connection.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Say SQLite's errors in one line with the remedy."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
                hint = "the disk is full; nothing of this write was kept and all earlier entries stand; free some space"
            elif code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                hint = f"another process has kept it locked for {_PATIENCE_S:g} s; end that process or try again"
            elif code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
                hint = "the disk refused a read or a write; nothing of this write was kept; free space or check it"
            else:
                hint = "check the path and its permissions"
            raise ReckonerError(f"ledger {self.path}: {error}; {hint}") from error
        except sqlite3.IntegrityError as error:
            raise ReckonerError(f"ledger {self.path}: {error}; entries are never changed, append a new one") from error
        except sqlite3.DatabaseError as error:
            raise DamagedError(
                f"ledger {self.path}: {error}; nothing was changed. "
                "'reckoner ledger recover' moves it aside and keeps every whole entry"
            ) from error


class PostgresStore:
    """Tables in a PostgreSQL database, in the connection's default schema."""

    dialect = "postgresql"

    def __init__(self, url: str, *, sync: bool = True) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError.of("psycopg", "postgres") from error
        self._psycopg = psycopg
        self._url = url
        self._sync = sync
        self.shown = redacted(url)
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._connection: Any = self._connect()

    def _connect(self) -> Any:
        with self._said():
            connection = self._psycopg.connect(self._url, autocommit=True)
            if not self._sync:
                connection.execute("SET synchronous_commit = off")
            return connection

    @property
    def connection(self) -> Any:
        """The process's own connection, made anew after a fork or when the server has closed it."""
        if self._process != os.getpid() or self._connection.closed:
            self._process = os.getpid()
            self._lock = threading.RLock()
            self._connection = self._connect()
        return self._connection

    @contextmanager
    def write(self) -> Iterator[Execute]:
        """One transaction behind an advisory lock, so that the chain stays linear."""
        connection = self.connection

        def execute(sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
            cursor = connection.execute(sql.replace("?", "%s") if parameters else sql, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

        with self._lock, self._said(), connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{int(_PATIENCE_S * 1000)}ms'")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
            yield execute

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Stream rows through a server-side cursor on a connection of its own."""
        with (
            self._said(),
            self._psycopg.connect(self._url) as connection,
            connection.cursor(name="reckoner") as cursor,
        ):
            cursor.itersize = 1000
            cursor.execute(sql.replace("?", "%s") if parameters else sql, tuple(parameters) or None)
            yield from cursor

    def shrink(self) -> None:
        """Nothing to do: the server's autovacuum gives the space back."""

    def close(self) -> None:
        """Close the connection."""
        if self._process == os.getpid():
            self._connection.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.errors.LockNotAvailable as error:
            raise ReckonerError(
                f"ledger {self.shown}: another process has kept it locked for {_PATIENCE_S:g} s; try again"
            ) from error
        except self._psycopg.Error as error:
            raise ReckonerError(
                f"ledger {self.shown}: {complaint(self._url, error)}; "
                "check that the server is up, has space and lets this user write"
            ) from None  # the driver's own words may hold a piece of the password
