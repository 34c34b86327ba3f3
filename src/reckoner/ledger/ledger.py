"""The ledger: every prediction committed before its outcome, every outcome beside it, nothing ever changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reckoner.errors import InputError, UnknownNameError
from reckoner.ledger.entries import (
    GENESIS,
    DecisionEntry,
    Entry,
    Figure,
    Id,
    ObservationEntry,
    PredictionEntry,
    RawEntry,
    canonical,
    chain_hash,
    restore,
)
from reckoner.ledger.migrations import is_current, migrate
from reckoner.ledger.scores import Key, Score, Sums, Tally, hour_of, read_rows, scores
from reckoner.ledger.stores import Execute, SqliteStore, Store, open_store

INSERT = "INSERT INTO entries (seq, kind, subject, predictor, at, prev, hash, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "seq, kind, subject, predictor, at, prev, hash, body"
# For each outcome, the last word of each predictor before it. A prediction that comes after its outcome never pairs.
_PAIRS = """
SELECT o.seq, o.hash, o.at, o.body, p.seq, p.hash, p.body
FROM entries o JOIN entries p ON p.subject = o.subject AND p.kind = 'prediction' AND p.seq < o.seq
WHERE o.kind = 'observation' AND o.seq BETWEEN ? AND ?
AND NOT EXISTS (SELECT 1 FROM entries q WHERE q.subject = p.subject AND q.kind = 'prediction'
                AND q.predictor = p.predictor AND q.seq > p.seq AND q.seq < o.seq)
ORDER BY o.seq, p.seq
"""
_FOREVER = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An entry as it lies in the chain."""

    id: Id
    at: str
    prev: str
    body: Mapping[str, Any]

    @property
    def entry(self) -> Entry:
        """The entry that was recorded."""
        return restore(self.body)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"id": str(self.id), "hash": self.id.hash, "prev": self.prev, **self.body}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One predictor's figure and the outcome of the same metric."""

    subject: str
    predictor: str
    metric: str
    predicted: Figure
    level: float
    observed: float
    inputs: Mapping[str, Any]
    prediction: Id
    observation: Id
    at: str

    @property
    def model(self) -> str:
        """Model of the prediction or, failing that, of the outcome; ``"-"`` where neither names one."""
        found = self.inputs.get("model")
        return found if isinstance(found, str) else "-"


def utc_now() -> datetime:
    """Wall-clock time in UTC."""
    return datetime.now(UTC)


class Ledger:
    """Append-only memory of predictions, observations and decisions.

    Made by :meth:`open`; a context manager. Threads may share one, processes open their own.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], datetime] = utc_now, segments: str | Path | None = None
    ) -> None:
        self.store = store
        self._clock = clock
        self._segments = None if segments is None else Path(segments)

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        create: bool = True,
        sync: bool = True,
        segments: str | Path | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> Ledger:
        """Open a ledger, making or upgrading its tables where needed.

        Parameters
        ----------
        url : str or Path
            A path or ``sqlite:///path``; or ``postgresql://user@host/database`` (extra ``postgres``).
        create : bool
            Make the file when there is none.
        sync : bool
            Wait for the disk at each commit, so that what was acknowledged survives a power cut. Without it, it
            survives ``kill -9`` but perhaps not a power cut, and a commit is many times faster.
        segments : str or Path, optional
            Folder of sealed segments; by default beside a SQLite file.
        clock : callable
            Where time stamps come from; order never depends on them.

        Raises
        ------
        InputError
            No such ledger, or one of a newer reckoner.
        DamagedError
            The file is no ledger or cannot be read; it is left as it is.
        """
        store = open_store(url, create=create, sync=sync)
        try:
            if not is_current(store):
                migrate(store)
        except BaseException:
            store.close()
            raise
        return cls(store, clock=clock, segments=segments)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.store.close()

    # writing

    def record(self, entry: Entry) -> Id:
        """Append one entry; when this returns, it is on the disk.

        Raises
        ------
        ReckonerError
            The disk is full or the database is not to be had; nothing of the entry was kept then.
        """
        return self.record_many([entry])[0]

    def record_many(self, entries: Iterable[Entry]) -> list[Id]:
        """Append entries in one transaction: all of them, or none."""
        contents = [entry.content() for entry in entries]
        if not contents:
            return []
        with self.store.write() as execute:
            return self.append(execute, contents)

    def append(
        self, execute: Execute, contents: Iterable[dict[str, Any]], *, head: tuple[int, str] | None = None
    ) -> list[Id]:
        """Continue the chain, by default after its newest entry, in a transaction that holds the writer's right."""
        seq, prev = head or _head(execute)
        ids = []
        for content in contents:
            seq += 1
            at = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            body = canonical({**content, "seq": seq, "at": at})
            found = chain_hash(prev, body)
            row = (seq, content["kind"], content["subject"], content.get("predictor"), at, prev, found, body)
            execute(INSERT, row)
            ids.append(Id(seq, found))
            prev = found
        return ids

    def predict(
        self,
        subject: str,
        predictor: str,
        figures: Mapping[str, Figure | float],
        *,
        level: float = 0.9,
        inputs: Mapping[str, Any] | None = None,
    ) -> Id:
        """Commit a prediction."""
        kept = {k: v if isinstance(v, Figure) else Figure(value=v) for k, v in figures.items()}
        return self.record(
            PredictionEntry(subject=subject, predictor=predictor, figures=kept, level=level, inputs=inputs or {})
        )

    def observe(self, subject: str, figures: Mapping[str, float], *, inputs: Mapping[str, Any] | None = None) -> Id:
        """Commit an outcome."""
        return self.record(ObservationEntry(subject=subject, figures=figures, inputs=inputs or {}))

    def decide(
        self,
        subject: str,
        choice: str,
        *,
        because: str = "",
        based_on: Iterable[Id | str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> Id:
        """Commit a decision; each entry that it rests on must exist."""
        grounds = tuple(str(self.find(str(ground)).id) for ground in based_on)
        return self.record(
            DecisionEntry(subject=subject, choice=choice, because=because, based_on=grounds, details=details or {})
        )

    def tally(self, tally: Tally, *, subject: str = "requests") -> Id | None:
        """Commit what was scored in aggregate as one entry; None when nothing was."""
        if not len(tally):
            return None
        return self.record(RawEntry(kind="tally", subject=subject, body={"scores": tally.rows()}))

    # reading

    def head(self) -> Id:
        """Newest entry: write its id down elsewhere, and no rewriting of the whole chain goes unseen."""
        for seq, found in self.store.rows("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1"):
            return Id(seq, found)
        return Id(0, GENESIS)

    def __len__(self) -> int:
        """Entries ever committed, sealed ones included."""
        return self.head().seq

    def entries(
        self, *, kind: str | None = None, subject: str | None = None, after: int = 0, newest: int | None = None
    ) -> Iterator[Kept]:
        """Stream entries that are not sealed away, oldest first.

        Parameters
        ----------
        after : int
            Only entries with a higher number.
        newest : int, optional
            Only the last so many.
        """
        wanted, parameters = ["seq > ?"], [after]
        where: list[Any] = parameters
        if kind is not None:
            # the second term lets the index of the rare kinds be used
            wanted.append("kind = ?" if kind == "observation" else "kind = ? AND kind <> 'observation'")
            where.append(kind)
        if subject is not None:
            wanted.append("subject = ?")
            where.append(subject)
        sql = f"SELECT {_COLUMNS} FROM entries WHERE {' AND '.join(wanted)} ORDER BY seq"
        if newest is not None:
            sql = f"SELECT * FROM ({sql} DESC LIMIT {int(newest)}) AS last ORDER BY seq"
        for row in self.store.rows(sql, where):
            yield Kept(id=Id(row[0], row[6]), at=row[4], prev=row[5], body=json.loads(row[7]))

    def find(self, text: str) -> Kept:
        """Find an entry by its number, its id (``17-ab12...``) or at least six digits of its hash.

        Raises
        ------
        UnknownNameError
            There is none, or it is sealed away.
        """
        number, _, digits = text.partition("-")
        if number.isdigit() and (len(number) < 6 or digits):
            sql, parameters = "seq = ?", [int(number)]
        else:
            sql, parameters = "hash LIKE ?", [text + "%"]  # type: ignore[list-item]
        found = list(self.store.rows(f"SELECT {_COLUMNS} FROM entries WHERE {sql} ORDER BY seq LIMIT 2", parameters))
        if len(found) == 1 and found[0][6].startswith(digits):
            row = found[0]
            return Kept(id=Id(row[0], row[6]), at=row[4], prev=row[5], body=json.loads(row[7]))
        if len(found) > 1:
            raise InputError(f"entry {text!r} fits more than one; give more digits")
        raise UnknownNameError.of("entry", text, [str(kept.id) for kept in self.entries(newest=100)])

    def pairs(
        self,
        *,
        metric: str | None = None,
        predictor: str | None = None,
        after: int = 0,
        upto: int = _FOREVER,
    ) -> Iterator[Pair]:
        """Stream predictions with their outcomes, in the order in which the outcomes came.

        Each outcome meets the last prediction that each predictor committed before it; what was committed after the
        outcome is no prediction and meets nothing.
        """
        for seq, found, at, told, before, its_hash, foretold in self.store.rows(_PAIRS, (after + 1, upto)):
            outcome, prediction = json.loads(told), json.loads(foretold)
            if predictor is not None and prediction["predictor"] != predictor:
                continue
            for name, observed in sorted(outcome["figures"].items()):
                figure = prediction["figures"].get(name)
                if figure is None or metric not in (None, name):
                    continue
                yield Pair(
                    subject=outcome["subject"],
                    predictor=prediction["predictor"],
                    metric=name,
                    predicted=Figure(**figure),
                    level=prediction["level"],
                    observed=observed,
                    inputs={**outcome["inputs"], **prediction["inputs"]},
                    prediction=Id(before, its_hash),
                    observation=Id(seq, found),
                    at=at,
                )

    def sums(self, *, metric: str | None = None, predictor: str | None = None) -> dict[Key, Sums]:
        """Additive statistics by predictor, metric, model and hour: pairs, tallies and sealed segments together."""
        found = score_pairs(self.pairs(metric=metric, predictor=predictor)).sums
        for kind in ("tally", "seal"):
            for kept in self.entries(kind=kind):
                for key, part in read_rows(kept.body["body"]["scores"]):
                    if metric in (None, key.metric) and predictor in (None, key.predictor):
                        found[key] = found[key].merge(part) if key in found else part
        return found

    def score(
        self, *, metric: str | None = None, predictor: str | None = None, by_model: bool = False
    ) -> tuple[Score, ...]:
        """How good each predictor was: median, mean and P90 APE, bias, coverage and width."""
        return scores(self.sums(metric=metric, predictor=predictor), by_model=by_model)

    def waiting(self) -> int:
        """Predictions without an outcome so far."""
        sql = (
            "SELECT count(*) FROM entries p WHERE p.kind = 'prediction' AND NOT EXISTS (SELECT 1 FROM entries o "
            "WHERE o.subject = p.subject AND o.kind = 'observation' AND o.seq > p.seq)"
        )
        return int(next(iter(self.store.rows(sql)))[0])

    # what was learned

    def snapshot(self, name: str) -> tuple[int, Any] | None:
        """What was saved under a name, and the number of the last entry that it knows; None when there is nothing."""
        for seq, body in self.store.rows("SELECT seq, body FROM snapshots WHERE name = ?", (name,)):
            return int(seq), json.loads(body)
        return None

    def save_snapshot(self, name: str, seq: int, body: Any, *, tally: Tally | None = None) -> bool:
        """Save what was learned up to an entry, and how good its forecasts were on the way, in one transaction.

        Returns
        -------
        bool
            False when another process has saved as much or more meanwhile: then nothing is kept, so that no outcome
            is scored twice.
        """
        text = canonical(body)
        with self.store.write() as execute:
            found = execute("SELECT seq FROM snapshots WHERE name = ?", (name,))
            if found and int(found[0][0]) >= seq:
                return False
            execute("DELETE FROM snapshots WHERE name = ?", (name,))
            execute("INSERT INTO snapshots (name, seq, body) VALUES (?, ?, ?)", (name, seq, text))
            if tally is not None and len(tally):
                entry = RawEntry(kind="tally", subject=name, body={"scores": tally.rows()})
                self.append(execute, [entry.content()])
        return True

    @property
    def segments(self) -> Path:
        """Folder of sealed segments.

        Raises
        ------
        InputError
            The ledger is on a server and no folder was named.
        """
        if self._segments is not None:
            return self._segments
        if isinstance(self.store, SqliteStore):
            return self.store.path.with_name(self.store.path.name + ".segments")
        raise InputError(f"ledger {self.store.shown} needs a folder for its sealed segments; give --segments DIR")


def score_pairs(pairs: Iterable[Pair]) -> Tally:
    """Count pairs into sums by predictor, metric, model and hour of the outcome."""
    tally = Tally()
    for pair in pairs:
        tally.add(
            pair.predictor,
            pair.model,
            metric=pair.metric,
            predicted=pair.predicted.value,
            observed=pair.observed,
            low=pair.predicted.low,
            high=pair.predicted.high,
            level=pair.level,
            hour=hour_of(pair.at),
        )
    return tally


def _head(execute: Execute) -> tuple[int, str]:
    found = execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")
    return (int(found[0][0]), str(found[0][1])) if found else (0, GENESIS)
