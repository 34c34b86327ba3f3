"""How the tables came to be: small steps, each with its way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reckoner.errors import InputError
from reckoner.ledger.stores import APPLICATION_ID, Execute, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema, forward and back."""

    title: str
    up: Callable[[Execute, str], None]
    down: Callable[[Execute, str], None]


def _entries_up(execute: Execute, dialect: str) -> None:
    number = "BIGINT" if dialect == "postgresql" else "INTEGER"
    execute(
        f"CREATE TABLE entries (seq {number} PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, "
        "predictor TEXT, at TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL)"
    )


def _entries_down(execute: Execute, dialect: str) -> None:  # noqa: ARG001
    found = execute("SELECT count(*) FROM entries")[0][0]
    if found:
        raise InputError(f"the ledger holds {found} entries; export them before its tables are taken away")
    execute("DROP TABLE entries")


def _subjects_up(execute: Execute, dialect: str) -> None:  # noqa: ARG001
    # An outcome looks for the predictions of its subject; without this index pairing is quadratic.
    execute("CREATE INDEX entries_subject ON entries (subject, kind, seq)")
    # All else is rare among outcomes, and is read by kind.
    execute("CREATE INDEX entries_kind ON entries (kind, seq) WHERE kind <> 'observation'")


def _subjects_down(execute: Execute, dialect: str) -> None:  # noqa: ARG001
    execute("DROP INDEX entries_subject")
    execute("DROP INDEX entries_kind")


def _append_only_up(execute: Execute, dialect: str) -> None:
    """Refuse to change an entry, and to delete one that is not sealed in a segment."""
    execute("CREATE TABLE sealed (upto BIGINT NOT NULL)")
    execute("INSERT INTO sealed (upto) VALUES (0)")
    if dialect == "postgresql":
        execute(
            "CREATE FUNCTION entries_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN "
            "IF TG_OP = 'DELETE' AND OLD.seq <= (SELECT upto FROM sealed) THEN RETURN OLD; END IF; "
            "RAISE EXCEPTION 'entries are append-only'; END $body$"
        )
        execute(
            "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON entries "
            "FOR EACH ROW EXECUTE FUNCTION entries_are_append_only()"
        )
        return
    execute(
        "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
        "BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    )
    execute(
        "CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries WHEN OLD.seq > (SELECT upto FROM sealed) "
        "BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    )


def _append_only_down(execute: Execute, dialect: str) -> None:
    if execute("SELECT upto FROM sealed")[0][0]:
        raise InputError("the ledger has sealed segments; an older reckoner could not read them, stay with this one")
    if dialect == "postgresql":
        execute("DROP TRIGGER entries_append_only ON entries")
        execute("DROP FUNCTION entries_are_append_only()")
    else:
        execute("DROP TRIGGER entries_no_update")
        execute("DROP TRIGGER entries_no_delete")
    execute("DROP TABLE sealed")


def _snapshots_up(execute: Execute, dialect: str) -> None:  # noqa: ARG001
    """Keep what was learned up to an entry; a cache that replaying the ledger rebuilds, so it is not in the chain."""
    execute("CREATE TABLE snapshots (name TEXT PRIMARY KEY, seq BIGINT NOT NULL, body TEXT NOT NULL)")


def _snapshots_down(execute: Execute, dialect: str) -> None:  # noqa: ARG001
    execute("DROP TABLE snapshots")


MIGRATIONS: tuple[Migration, ...] = (
    Migration(title="entries in a chain", up=_entries_up, down=_entries_down),
    Migration(title="subjects and kinds are found fast", up=_subjects_up, down=_subjects_down),
    Migration(title="entries are append-only", up=_append_only_up, down=_append_only_down),
    Migration(title="snapshots of what was learned", up=_snapshots_up, down=_snapshots_down),
)
LATEST = len(MIGRATIONS)


def version(execute: Execute) -> int:
    """Schema version of a store; 0 when it is new."""
    return int(execute("SELECT version FROM reckoner_schema")[0][0])


def migrate(store: Store, to: int = LATEST) -> tuple[str, ...]:
    """Bring a store to a schema version, forward or back, in one transaction; returns the titles of the steps.

    Raises
    ------
    InputError
        The store was written by a newer reckoner, there is no such version, or a step back would lose entries;
        nothing is changed then.
    """
    if not 0 <= to <= LATEST:
        raise InputError(f"schema version is {to}; this reckoner knows 0 to {LATEST}")
    steps = []
    with store.write() as execute:
        if store.dialect == "sqlite":
            execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute("CREATE TABLE IF NOT EXISTS reckoner_schema (version INTEGER NOT NULL)")
        if not execute("SELECT version FROM reckoner_schema"):
            execute("INSERT INTO reckoner_schema (version) VALUES (0)")
        now = version(execute)
        if now > LATEST:
            raise InputError(
                f"ledger {store.shown} has schema version {now}, this reckoner knows up to {LATEST}; "
                "it was written by a newer one: upgrade. Nothing was changed"
            )
        for step in MIGRATIONS[now:to]:
            step.up(execute, store.dialect)
            steps.append(step.title)
        for step in reversed(MIGRATIONS[to:now]):
            step.down(execute, store.dialect)
            steps.append(step.title)
        if steps:
            execute("UPDATE reckoner_schema SET version = ?", (to,))
    return tuple(steps)


def is_current(store: Store) -> bool:
    """Whether a store has exactly this version's tables, found without taking the writer's right."""
    if store.dialect == "sqlite":
        found = list(store.rows("SELECT name FROM sqlite_master WHERE name = 'reckoner_schema'"))
    else:
        found = list(store.rows("SELECT 1 WHERE to_regclass('reckoner_schema') IS NOT NULL"))
    return bool(found) and [tuple(row) for row in store.rows("SELECT version FROM reckoner_schema")] == [(LATEST,)]
