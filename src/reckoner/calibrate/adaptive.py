"""The request calibrator: forecasts what a request will take, and learns from what it took."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reckoner.calibrate import checks
from reckoner.calibrate.checks import MOST_TOKENS
from reckoner.calibrate.drift import Drift
from reckoner.calibrate.journal import Journal
from reckoner.calibrate.load import Load
from reckoner.calibrate.model import UNKNOWN, YOUNG, ModelCalibration
from reckoner.calibrate.outcome import Forecast, Outcome
from reckoner.calibrate.prediction import CostPrediction
from reckoner.calibrate.waiting import MOST_IN_FLIGHT, Waiting
from reckoner.errors import InputError

__all__ = ["DEFAULT_ALPHA", "DEFAULT_STATE_PATH", "AdaptiveCalibrator", "CostPrediction"]

DEFAULT_STATE_PATH = Path.home() / ".nexus" / "calibrator_state.json"
DEFAULT_ALPHA = 0.15


class AdaptiveCalibrator:
    """Learns what requests take, model by model, and forecasts the next one with an interval.

    Parameters
    ----------
    state_path : Path, optional
        Where the state lives between sessions; ``~/.nexus/calibrator_state.json`` by default. A state of version 1 is
        taken over without loss.
    alpha : float
        Accepted so that old code runs; the memory of each expert is learned now, not set.
    autosave : bool
        Whether each outcome is on disk before :meth:`record` returns. It survives the death of the process; against
        the loss of power it is as safe as the system's own write-back.
    provider : str or mapping of str to str, optional
        Whose prior a model starts from, ``local`` or ``cloud``: of all models, or by model. Where none is given the
        name decides, as it did in version 1 (:func:`~reckoner.calibrate.priors.guess_provider`).

    Notes
    -----
    Five forecasters per model, three of them least squares of the time and two of its logarithm, each with its own
    memory and robust weights, are mixed by how well each has forecast. The interval comes from past misses.
    :meth:`predict` remembers what it forecast until :meth:`record` brings the outcome: the number of requests in
    flight is a regressor, and a forecast is judged by what it said before its neighbours were known. Whoever asks
    without recording passes ``in_flight``, and is not counted.

    Several processes may share one state path. One instance belongs to one thread.

    Examples
    --------
    >>> calibrator = AdaptiveCalibrator(autosave=False, state_path="none.json")
    >>> round(calibrator.predict("timmy:v0.1-q4", prompt_tokens=512).predicted_ms)
    556
    >>> for _ in range(20):
    ...     _ = calibrator.record(model="timmy:v0.1-q4", prompt_tokens=512, completion_tokens=128, actual_ms=3400)
    >>> after = calibrator.predict("timmy:v0.1-q4", 512, 128)
    >>> after.low_ms < 3400 < after.high_ms
    True
    """

    def __init__(
        self,
        state_path: str | Path | None = None,
        alpha: float = DEFAULT_ALPHA,
        autosave: bool = True,
        *,
        provider: str | Mapping[str, str] | None = None,
    ) -> None:
        self.state_path = Path(state_path) if state_path is not None else DEFAULT_STATE_PATH
        self.alpha = alpha
        self.autosave = autosave
        self._provider = provider
        self._models: dict[str, ModelCalibration] = {}
        self._waiting: dict[str, Waiting] = {}
        self._journal = Journal(self.state_path)
        self._load()

    def predict(
        self,
        model: str,
        prompt_tokens: int,
        completion_tokens: int | None = 0,
        *,
        level: float = 0.9,
        in_flight: float | None = None,
        at: float | None = None,
        load: Load | None = None,
    ) -> CostPrediction:
        """Forecast one request.

        Parameters
        ----------
        model : str
            Any name; a model never seen is forecast from the prior, with ``confidence`` 0.
        prompt_tokens : int
            Tokens of the prompt.
        completion_tokens : int, optional
            Tokens to be generated. 0, the default, means none, as in version 1; None means unknown: the model's usual
            length is assumed, and the interval is that of forecasts made so.
        level : float
            Probability of the interval.
        in_flight : float, optional
            Requests of this model under way; by default those forecast here and not yet recorded.
        at : float, optional
            Time of asking, where logs are replayed; now by default. [s] Requests under way that have outlived the upper
            end of their interval raise this forecast.
        load : Load, optional
            What the engine says of itself: waiting, running, share of the cache. Give it always or never.

        Raises
        ------
        InputError
            A value is not a number, not finite, negative or absurd; the message names the field.
        """
        known = self._models.get(model) if type(model) is str else None
        if known is None:
            checks.name("model", model)
        # Whole numbers in range, which nearly all are, are spared the call.
        if type(prompt_tokens) is int and 0 <= prompt_tokens <= MOST_TOKENS:
            prompt = float(prompt_tokens)
        else:
            prompt = checks.tokens("prompt_tokens", prompt_tokens)
        completion: float | None
        if type(completion_tokens) is int and 0 <= completion_tokens <= MOST_TOKENS:
            completion = float(completion_tokens)
        else:
            completion = None if completion_tokens is None else checks.tokens("completion_tokens", completion_tokens)
        if level != 0.9:
            level = checks.level(level)
        now = time.time() if at is None else checks.number("at", at, 1e12, "seconds")
        waiting, late = None, 0.0
        if in_flight is None:
            waiting = self._waiting.get(model)
            if waiting is None:
                waiting = self._waiting[model] = Waiting()
            others = waiting.count()
            if others:
                late = waiting.overdue(now, known or self._new(model))
        elif type(in_flight) is int and 0 <= in_flight <= MOST_IN_FLIGHT:
            others = float(in_flight)
        else:
            others = checks.number("in_flight", in_flight, 1e6, "requests")
        if load is not None:
            load = load.checked()
        calibration = known if known is not None else self._new(model)
        window = int(others + 1.0).bit_length() - 1 if others else 0
        if completion is None:
            window = UNKNOWN - window
            logs, log = calibration.say(prompt, calibration.usual_completion_tokens, others, load)[3:]
        else:
            _, _, _, logs, log = calibration.say(prompt, completion, others, load)
        low, high, centre = calibration.around(window, others)
        if waiting is not None:
            waiting.add((prompt, completion), Forecast(others, logs, log, low, high, window, load), now)
        if level != 0.9:
            low, high = calibration.ends(window, others, 1.0 - level)
        if late:  # an experienced calibration keeps its centre: the queue may have drained for this one
            if calibration.sample_count < YOUNG:
                log += late
            else:
                high += late
        predicted = math.exp(log + centre)
        answer = CostPrediction()
        answer.model = model
        answer.prompt_tokens = prompt_tokens
        answer.predicted_ms = predicted
        answer._ends = log + low, log + high
        answer.level = level
        answer.sample_count = calibration.sample_count
        answer.in_flight = others
        answer.predicted_at = now
        return answer

    def record(
        self,
        model: str,
        prompt_tokens: int,
        actual_ms: float,
        completion_tokens: int | None = 0,
        *,
        in_flight: float | None = None,
        at: float | None = None,
        load: Load | None = None,
    ) -> float:
        """Learn what a request took.

        Parameters
        ----------
        model : str
            As in :meth:`predict`.
        prompt_tokens : int
            Tokens of the prompt.
        actual_ms : float
            Time it took. [ms]
        completion_tokens : int, optional
            Tokens generated; None where that is unknown.
        in_flight : float, optional
            Requests of this model that were under way when this one began; by default what its forecast saw.
        at : float, optional
            When it ended, where logs are replayed; now by default. [s]
        load : Load, optional
            As when it began; by default what its forecast was given.

        Returns
        -------
        float
            Actual minus predicted, at the time of recording. [ms]

        Raises
        ------
        InputError
            A value is not a number, not finite, negative or absurd; the message names the field, nothing was learned.
        ReckonerError
            The outcome could not be written; nothing was learned.
        """
        checks.name("model", model)
        prompt = checks.tokens("prompt_tokens", prompt_tokens)
        actual = checks.milliseconds("actual_ms", actual_ms)
        completion = None if completion_tokens is None else checks.tokens("completion_tokens", completion_tokens)
        others = 0.0 if in_flight is None else checks.number("in_flight", in_flight, 1e6, "requests")
        if load is not None:
            load = load.checked()
        now = time.time() if at is None else checks.number("at", at, 1e12, "seconds")
        made = None
        waiting = self._waiting.get(model)
        if in_flight is None and waiting is not None:
            made, same = waiting.take(prompt, completion)
            if made is not None:
                others = made.in_flight
                load = made.load if load is None else load
                if not same:
                    made = None  # forecast for another length: it says nothing about how good forecasts are
        outcome = Outcome(prompt, completion, actual, others, made, now, load)
        fold = self.autosave and self._append(["outcome", model, *outcome])
        error = self._get_or_create(model).learn(outcome)
        if fold:
            self._fold()
        return error

    def get_stats(self, model: str) -> dict[str, Any]:
        """Return what is known about a model.

        The fields of version 1 under their names (``status`` is ``uncalibrated (prior only)``, ``warming up`` below 10
        outcomes, or ``calibrated``), and: ``provider``, ``ms_per_request_in_flight``, ``total_ratio`` (actual over
        predicted on average), ``usual_completion_tokens``, ``unknown_length_count`` and ``unknown_length_mape``
        (forecasts made without a completion length are scored apart), ``drifts``.
        """
        known = self._models.get(checks.name("model", model))
        if known is None or known.sample_count == 0:
            return {"model": model, "sample_count": 0, "confidence": 0.0, "status": "uncalibrated (prior only)"}
        overhead, prompt, completion, in_flight = known.coefficients()
        unknown = known.unknown_count
        return {
            "model": model,
            "sample_count": known.sample_count,
            "confidence": round(known.confidence, 3),
            "ms_per_prompt_token": round(prompt, 4),
            "ms_per_completion_token": round(completion, 4),
            "base_overhead_ms": round(overhead, 1),
            "mean_absolute_error_ms": round(known.total_absolute_error_ms / known.sample_count, 1),
            "last_updated": known.last_updated,
            "status": "calibrated" if known.sample_count >= 10 else "warming up",
            "provider": known.provider,
            "ms_per_request_in_flight": round(in_flight, 3),
            "total_ratio": round(known.mean_ratio, 4),
            "usual_completion_tokens": round(known.usual_completion_tokens, 1),
            "unknown_length_count": unknown,
            "unknown_length_mape": round(known.unknown_error / unknown, 4) if unknown else None,
            "drifts": [drift._asdict() for drift in known.drifts],
        }

    def all_stats(self) -> list[dict[str, Any]]:
        """Return :meth:`get_stats` of every model with outcomes, by name."""
        return [self.get_stats(name) for name, known in sorted(self._models.items()) if known.sample_count]

    def drifts(self, model: str) -> tuple[Drift, ...]:
        """Return the latest changes of level of a model, oldest first (16 at most)."""
        known = self._models.get(checks.name("model", model))
        return () if known is None else tuple(known.drifts)

    def total(self, model: str, requests: list[tuple[float, float]]) -> float:
        """Forecast the sum of the times of many requests.

        A point forecast lies below the mean, for times are skewed; a sum must not.

        Parameters
        ----------
        model : str
            Name.
        requests : list of (prompt tokens, completion tokens)
            Each on its own, with none in flight.

        Returns
        -------
        float
            Expected sum. [ms]
        """
        calibration = self._models.get(checks.name("model", model)) or self._new(model)
        points = (
            calibration.predict(checks.tokens("prompt_tokens", p), checks.tokens("completion_tokens", c))
            for p, c in requests
        )
        return calibration.mean_ratio * math.fsum(points)

    def reset(self, model: str | None = None) -> None:
        """Forget one model, or all of them."""
        if model is not None:
            checks.name("model", model)
        fold = self.autosave and self._append(["reset", model])
        self._forget(model)
        if fold:
            self._fold()

    def merge(self, other: AdaptiveCalibrator | str | Path) -> None:
        """Add what another calibrator, or the state file of one, has learned elsewhere.

        Processes that share a state path need no merge. Merging the same outcomes twice counts them twice.

        Raises
        ------
        InputError
            The file does not exist, it is this calibrator's own, or a model has another provider there.
        """
        if not isinstance(other, AdaptiveCalibrator):
            if not Path(other).exists():
                raise InputError(f"no file {other}; check the path")
            other = AdaptiveCalibrator(other, autosave=False, provider=self._provider)
        if other is self or other.state_path.resolve() == self.state_path.resolve():
            raise InputError(f"{other.state_path} is this calibrator's own state; it is shared already")
        for name, theirs in sorted(other._models.items()):
            mine = self._models.get(name)
            if mine is not None:
                mine.check_mergeable(theirs)
        copies = [ModelCalibration.from_dict(theirs.to_dict()) for _, theirs in sorted(other._models.items())]
        if self.autosave:
            self._fold(copies)
        else:
            self._absorb(copies)

    def save(self) -> None:
        """Write the whole state now; with ``autosave`` also take in what other processes recorded meanwhile.

        Without ``autosave`` this process's state replaces the file's.
        """
        self._fold()

    def _new(self, model: str) -> ModelCalibration:
        return ModelCalibration(model, self._provider_of(model))

    def _get_or_create(self, model: str) -> ModelCalibration:
        known = self._models.get(model)
        if known is None:
            known = self._models[model] = self._new(model)
        return known

    def _forget(self, model: str | None) -> None:
        if model is None:
            self._models.clear()
            self._waiting.clear()
        else:
            self._models.pop(model, None)
            self._waiting.pop(model, None)

    def _absorb(self, others: list[ModelCalibration]) -> None:
        for theirs in others:
            if theirs.model in self._models:
                self._models[theirs.model].absorb(theirs)
            else:
                self._models[theirs.model] = theirs

    def _append(self, event: list[Any]) -> bool:
        journal = self._journal
        with journal.held():
            try:
                return journal.append(event)
            except FileNotFoundError:  # the first time, or the file was deleted
                journal.replace([known.to_dict() for known in self._models.values()])
                return journal.append(event)

    def _load(self) -> None:
        journal = self._journal
        if not journal.exists():
            return
        with journal.held():
            damage = self._read()
            if self.autosave and damage:
                journal.replace([known.to_dict() for known in self._models.values()])

    def _read(self) -> bool:
        """Replace the models in memory by those on disk; return whether anything was damaged."""
        contents = self._journal.read(self._usable)
        self._models = {}
        for values in contents.models:
            known = ModelCalibration.from_dict(values, self._provider_of(str(values["model"])))
            self._models[known.model] = known
        for event in contents.events:
            if event[0] == "outcome":
                _, model, prompt, completion, actual, others, made, at, said = event
                forecast = None
                if made is not None:
                    a, b, c, d, e = made[1]
                    forecast = Forecast(made[0], (a, b, c, d, e), *made[2:6])
                load = None if said is None else Load(*said)
                self._get_or_create(model).learn(Outcome(prompt, completion, actual, others, forecast, at, load))
            elif event[0] == "reset":
                self._forget(event[1])
        return bool(contents.found)

    def _provider_of(self, model: str) -> str | None:
        return self._provider.get(model) if isinstance(self._provider, Mapping) else self._provider

    def _usable(self, values: dict[str, Any]) -> bool:
        try:
            ModelCalibration.from_dict(values)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return False
        return True

    def _fold(self, others: list[ModelCalibration] | None = None) -> None:
        """Write all models to the state file and begin an empty journal."""
        journal = self._journal
        with journal.held():
            if self.autosave and journal.exists() and not journal.alone():
                self._read()
            self._absorb(others or [])
            journal.replace([known.to_dict() for known in self._models.values()])
