"""The calibrator's memory is the ledger: forecasts from what was recorded, learning from what came after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reckoner.calibrate.adaptive import AdaptiveCalibrator
from reckoner.errors import InputError
from reckoner.files import read_json, write_json
from reckoner.ledger import Figure, Id, Ledger, Tally
from reckoner.ledger.exchange import SEED_CALIBRATOR, imported
from reckoner.ledger.scores import hour_of
from reckoner.ledger.segments import history

NAME = "calibrator"
REPLAYED = "calibrator (replayed)"  # forecasts made again from the entries before each outcome, and scored then


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForecast:
    """What one request is expected to take."""

    model: str
    prompt_tokens: int
    completion_tokens: int | None
    e2e_s: float
    low_s: float
    high_s: float
    level: float
    sample_count: int
    status: str
    subject: str | None = None
    id: Id | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        told = {part: getattr(self, part) for part in self.__slots__ if part != "id"}
        return {**told, "id": None if self.id is None else str(self.id)}


class Memory:
    """A calibrator that has learned every request in a ledger; a context manager."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.seq = 0
        self.tally = Tally()
        self._folder = tempfile.TemporaryDirectory(prefix="reckoner-")
        self._state = Path(self._folder.name) / "state.json"
        self._scored = 0
        saved = ledger.snapshot(NAME)
        if saved is not None:
            self._scored, document = saved
            if self._read(document):
                self.seq = self._scored
                return
        # a snapshot of another version, or none: learn everything again, score nothing twice
        seeds = imported(ledger, SEED_CALIBRATOR)
        self._state = Path(self._folder.name) / "fresh.json"
        self._read(seeds[-1] if seeds else None)

    def _read(self, document: Any) -> bool:
        """Start from a saved state; False where its models cannot all be read."""
        if document is not None:
            write_json(self._state, document)
        self.calibrator = AdaptiveCalibrator(self._state, autosave=False)
        saved = document["models"] if document is not None else []
        counted = [model for model in saved if isinstance(model, dict) and model.get("sample_count") not in (0, None)]
        return len(self.calibrator.all_stats()) == len(counted)

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def catch_up(self, done: Callable[[int], None] | None = None) -> int:
        """Forecast, then learn, each request recorded since; returns how many.

        Parameters
        ----------
        done : callable, optional
            Called with the number of each entry passed.
        """
        count = 0
        for kept in history(self.ledger, after=self.seq):
            if kept.body["kind"] == "observation":
                count += self._learn(kept.body)
            self.seq = kept.id.seq
            if done is not None:
                done(self.seq)
        return count

    def _learn(self, body: Any) -> bool:
        told, seconds = body["inputs"], body["figures"].get("e2e_s")
        if not seconds or "model" not in told or "prompt_tokens" not in told:
            return False
        request = {
            "model": told["model"],
            "prompt_tokens": told["prompt_tokens"],
            "completion_tokens": told.get("completion_tokens"),
            "in_flight": told.get("in_flight", 0),
        }
        try:
            hour = hour_of(told.get("finished_at", body["at"]))
            made = self.calibrator.predict(**request)
            self.calibrator.record(actual_ms=seconds * 1e3, **request)
        except InputError:
            return False  # recorded as something else than a request: its names mean other things
        if body["seq"] > self._scored:
            self.tally.add(
                REPLAYED,
                told["model"],
                predicted=made.predicted_ms / 1e3,
                observed=seconds,
                low=made.low_ms / 1e3,
                high=made.high_ms / 1e3,
                level=made.level,
                hour=hour,
            )
        return True

    def save(self) -> bool:
        """Keep what was learned and how good the forecasts were; False when another process was first."""
        self.calibrator.save()
        return self.ledger.save_snapshot(NAME, self.seq, read_json(self._state), tally=self.tally)

    def forecast(
        self,
        model: str,
        prompt_tokens: int,
        completion_tokens: int | None = None,
        *,
        level: float = 0.9,
        commit: str | None = None,
    ) -> RequestForecast:
        """Forecast one request, and commit the forecast to the ledger under the subject ``commit``."""
        made = self.calibrator.predict(model, prompt_tokens, completion_tokens, level=level, in_flight=0)
        seconds, low, high = made.predicted_ms / 1e3, made.low_ms / 1e3, made.high_ms / 1e3
        number = None
        if commit is not None:
            inputs = {"model": model, "prompt_tokens": prompt_tokens}
            if completion_tokens is not None:
                inputs["completion_tokens"] = completion_tokens
            figures = {"e2e_s": Figure(value=seconds, low=low, high=high)}
            number = self.ledger.predict(commit, NAME, figures, level=level, inputs=inputs)
        return RequestForecast(
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            e2e_s=seconds,
            low_s=low,
            high_s=high,
            level=level,
            sample_count=made.sample_count,
            status=str(self.calibrator.get_stats(model)["status"]),
            subject=commit,
            id=number,
        )


def check_not_empty(ledger: Ledger) -> None:
    """Refuse to score or draw a ledger without entries."""
    if not len(ledger):
        raise InputError(f"ledger {ledger.store.shown} is empty; record something with: reckoner record request ...")
