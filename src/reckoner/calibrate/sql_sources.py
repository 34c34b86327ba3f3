"""Where request logs lie: files through DuckDB, tables in SQLite, PostgreSQL and Spark, and rows in memory."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reckoner.calibrate.sql import FIELDS
from reckoner.errors import InputError, MissingExtraError, ReckonerError, complaint, redacted

# Names under which other programs keep the four fields, tried in this order; the factor makes seconds.
KNOWN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "model": (("model", "{}"), ("model_id", "{}"), ("model_name", "{}"), ("modelId", "{}")),
    "prompt_tokens": tuple(
        (name, "{}")
        for name in (
            "prompt_tokens",
            "input_tokens",
            "promptTokens",
            "inputTokens",
            "number_input_tokens",
            "n_in",
            "isl",
        )
    ),
    "completion_tokens": tuple(
        (name, "{}")
        for name in (
            "completion_tokens",
            "output_tokens",
            "completionTokens",
            "outputTokens",
            "number_output_tokens",
            "n_out",
            "osl",
        )
    ),
    "e2e_s": (
        *((name, "{}") for name in ("e2e_s", "latency_s", "duration_s", "end_to_end_latency_s")),
        *(
            (name, "({} / 1000e0)")
            for name in ("e2e_ms", "actual_ms", "latency_ms", "duration_ms", "request_duration_ms")
        ),
    ),
}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE = re.compile(r'[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*|"[^"]+"(\."[^"]+")*')


def mapped(
    columns: Sequence[str], told: Mapping[str, str], *, model: str | None = None, quote: str = '"'
) -> dict[str, str]:
    """SQL expression of each field: what the user told, else a column under a known name.

    Parameters
    ----------
    columns : sequence of str
        What the table has.
    told : mapping of str to str
        Field to column or SQL expression; ``e2e_ms`` may stand for ``e2e_s``.
    model : str, optional
        Model of all rows, for tables that name none.

    Raises
    ------
    InputError
        A field is not known, or nothing fits it.

    >>> mapped(["model", "isl", "osl", "latency_ms"], {})["e2e_s"]
    '(latency_ms / 1000e0)'
    """
    from reckoner.calibrate.sql import text

    for name in told:
        if name not in (*FIELDS, "e2e_ms"):
            raise InputError(f"--map names {name!r}; map {', '.join((*FIELDS, 'e2e_ms'))}")
    found: dict[str, str] = {}
    for name in FIELDS:
        if name == "model" and model is not None:
            found[name] = text(model)
        elif name in told:
            found[name] = _expression(told[name], columns, quote)
        elif name == "e2e_s" and "e2e_ms" in told:
            found[name] = f"({_expression(told['e2e_ms'], columns, quote)} / 1000e0)"
        else:
            fits = [(column, form) for column, form in KNOWN[name] if column in columns]
            if not fits:
                raise InputError(
                    f"no column for {name}; the table has {', '.join(columns)}: say --map {name}=COLUMN"
                    + (" or --model NAME" if name == "model" else "")
                )
            column, form = fits[0]
            found[name] = form.format(_name(column, quote))
    return found


def _expression(value: str, columns: Sequence[str], quote: str) -> str:
    return _name(value, quote) if value in columns else f"({value})"


def _name(column: str, quote: str) -> str:
    """Quote a column only where it must be, for engines disagree about the sign."""
    plain = _PLAIN.fullmatch(column) and column == column.lower()
    return column if plain else f"{quote}{column.replace(quote, quote * 2)}{quote}"


@dataclass(slots=True)
class TableSource:
    """A table that a connection answers for."""

    connection: Any
    errors: type[Exception]
    relation: str
    told: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    where: str | None = None
    quote: str = '"'
    expressions: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the columns and map them."""
        cursor = self._execute(f"SELECT * FROM {self.relation} LIMIT 0")
        columns = [entry[0] for entry in cursor.description]
        self.expressions = mapped(columns, self.told, model=self.model, quote=self.quote)

    def _execute(self, sql: str) -> Any:
        """Run a statement; what a database says about it becomes one line."""
        try:
            return self.connection.execute(sql)
        except self.errors as error:
            said = str(error).strip().splitlines()[0]
            raise InputError(f"{self.relation}: {said}; check the table, --map and --where") from error

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Answer a query."""
        rows: Sequence[Sequence[Any]] = self._execute(sql).fetchall()
        return rows


@dataclass(slots=True)
class SparkSource:
    """A table or view of a Spark session."""

    session: Any
    relation: str
    told: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    where: str | None = None
    expressions: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the columns and map them."""
        columns = self.session.table(self.relation).columns
        self.expressions = mapped(columns, self.told, model=self.model, quote="`")

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Answer a query."""
        return [tuple(row) for row in self.session.sql(sql).collect()]


def open_source(
    url: str,
    *,
    table: str | None = None,
    told: Mapping[str, str] | None = None,
    model: str | None = None,
    where: str | None = None,
    threads: int | None = None,
) -> TableSource:
    """Open request logs: a Parquet, CSV or JSONL file or glob, a SQLite file, or a ``postgresql://`` database.

    Parameters
    ----------
    table : str, optional
        Table of a database; needed there.
    told : mapping of str to str, optional
        Field to column or SQL expression, where names are not among the known ones.
    model : str, optional
        Model of all rows.
    where : str, optional
        SQL condition that rows must meet, such as ``status = 'success'``.
    threads : int, optional
        Threads that DuckDB may use; by default all cores.
    """
    told = told or {}
    if url.startswith(("postgresql://", "postgres://")):
        return TableSource(*_postgres(url), _table(table), told, model, where)
    if url.startswith("sqlite:///") or Path(url).suffix in (".db", ".sqlite", ".sqlite3"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.is_file():
            raise InputError(f"no database {path}; check the path")
        return TableSource(_sqlite(path), sqlite3.Error, _table(table), told, model, where)
    return TableSource(*_duckdb(threads), _files(url), told, model, where)


def memory_source(rows: Iterable[tuple[str, int, int, float]]) -> TableSource:
    """Rows of (model, prompt tokens, completion tokens, seconds) as a source of their own."""
    connection = _sqlite(None)
    connection.execute(
        "CREATE TABLE requests (model TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, e2e_s REAL)"
    )
    connection.executemany("INSERT INTO requests VALUES (?, ?, ?, ?)", rows)
    return TableSource(connection, sqlite3.Error, "requests")


def spark_source(session: Any, relation: str, **options: Any) -> SparkSource:
    """Table, view or path of a Spark session (extra ``spark``)."""
    return SparkSource(session, relation, **options)


def _table(table: str | None) -> str:
    if table is None or not _TABLE.fullmatch(table):
        raise InputError(f"table is {table!r}; name the table that holds the requests with --table")
    return table


def _files(url: str) -> str:
    if not any(mark in url for mark in "*?["):
        path = Path(url)
        if not path.exists():
            raise InputError(f"no file {path}; check the path")
        if path.is_dir():
            url = f"{url.rstrip('/')}/*.parquet"
    name = url.removesuffix(".gz").removesuffix(".zst")
    literal = "'" + url.replace("'", "''") + "'"
    for suffix, function in ((".parquet", "read_parquet"), (".csv", "read_csv"), (".tsv", "read_csv")):
        if name.endswith(suffix):
            return f"{function}({literal})"
    if name.endswith((".jsonl", ".ndjson")):
        return f"read_json({literal}, format = 'newline_delimited')"
    if name.endswith(".json"):
        return f"read_json({literal})"
    raise InputError(f"{url} is no Parquet, CSV, JSON or JSONL file and no database; convert it to one of these")


def _duckdb(threads: int | None) -> tuple[Any, type[Exception]]:
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError.of("duckdb", "logs") from error
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET enable_progress_bar = false")  # its bar goes to stdout, where our data go
    if threads is not None:
        connection.execute(f"SET threads = {int(threads)}")
    return connection, duckdb.Error


def _postgres(url: str) -> tuple[Any, type[Exception]]:
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtraError.of("psycopg", "postgres") from error
    try:
        connection = psycopg.connect(url, autocommit=True)
        connection.execute("SET default_transaction_read_only = on")
    except psycopg.Error as error:
        # the driver's own words may hold a piece of the password
        raise ReckonerError(f"{redacted(url)}: {complaint(url, error)}; check the address") from None
    return connection, psycopg.Error


def _sqlite(path: Path | None) -> sqlite3.Connection:
    if path is None:
        connection = sqlite3.connect(":memory:")
    else:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        connection.execute("SELECT EXP(0), LN(1)")
    except sqlite3.OperationalError:  # a SQLite built without its mathematical functions
        connection.create_function("EXP", 1, math.exp, deterministic=True)
        connection.create_function("LN", 1, math.log, deterministic=True)
    connection.create_function("CHR", 1, chr, deterministic=True)  # SQLite calls it CHAR, which is a type elsewhere
    return connection
