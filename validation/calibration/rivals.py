# ruff: noqa: ARG002  (one signature for all, whatever each looks at)
"""Forecasters to stand beside ours; each sees a request at launch and its outcome when it has finished."""

from __future__ import annotations

import math
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reckoner.calibrate.adaptive import AdaptiveCalibrator
from reckoner.calibrate.priors import PRIORS, guess_provider


class Answer(NamedTuple):
    """A forecast in milliseconds; the ends are None where the forecaster gives none."""

    value: float
    low: float | None = None
    high: float | None = None


class Rival(Protocol):
    """A forecaster of one stream."""

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Forecast a request at launch; ``at`` is the stream's clock in seconds."""

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Learn a request that has finished."""


class Ours:
    """The request calibrator through its plain path: predict at launch, record at the end."""

    timed = False

    def __init__(self, model: str) -> None:
        self.model = model
        self.calibrator = AdaptiveCalibrator(Path(tempfile.gettempdir()) / "reckoner-unwritten.json", autosave=False)

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Forecast; it counts what is in flight itself."""
        made = self.calibrator.predict(self.model, prompt, completion, at=at if self.timed else 0.0)
        return Answer(made.predicted_ms, made.low_ms, made.high_ms)

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Record."""
        self.calibrator.record(self.model, prompt, actual_ms, completion, at=at if self.timed else 0.0)


class OursTimed(Ours):
    """The same with the clock of the stream, as when it runs live: requests overdue are evidence."""

    timed = True


class OursBlind(Ours):
    """The same, asked before the length of the answer is known; the others are told it."""

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Forecast from the usual length."""
        made = self.calibrator.predict(self.model, prompt, None, at=0.0)
        return Answer(made.predicted_ms, made.low_ms, made.high_ms)


class Seed:
    """The first AdaptiveCalibrator's rule, written anew from its description: both token prices share one increment."""

    alpha = 0.15

    def __init__(self, model: str) -> None:
        self.overhead, self.prompt, self.completion, _ = PRIORS[guess_provider(model)]

    def predict(self, prompt: int, completion: int, in_flight: int = 0, at: float | None = None) -> Answer:
        """Forecast: a line."""
        return Answer(self.overhead + self.prompt * prompt + self.completion * completion)

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Give each part its share of the error, times alpha."""
        step = self.alpha * (actual_ms - self.predict(prompt, completion).value)
        whole = prompt + completion or 1
        self.prompt = max(0.001, self.prompt + step * (prompt / whole) / max(prompt, 1))
        self.completion = max(0.001, self.completion + step * (completion / whole) / max(completion, 1))
        self.overhead = max(0.0, self.overhead + step * (1.0 - 0.5 * ((prompt + completion) / whole)))


class LiteLlm:
    """What LiteLLM's latency routing keeps: the mean of the last ten latencies per completion token."""

    def __init__(self, model: str) -> None:
        self.last: deque[float] = deque(maxlen=10)
        self.seed = Seed(model)

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Mean latency per completion token, times the tokens; before any, the seed's prior."""
        if not self.last:
            return self.seed.predict(prompt, completion, in_flight)
        return Answer(sum(self.last) / len(self.last) * max(completion, 1))

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Keep the ratio."""
        self.last.append(actual_ms / max(completion, 1))


class River:
    """river's adaptive random forest on logs, with what is in flight as a feature.

    Its leaves are lines, so that a forecast can leave all bounds; it is held within the outcomes seen.
    """

    def __init__(self, model: str) -> None:
        from river import forest

        self.seed = Seed(model)
        self.forest = forest.ARFRegressor(n_models=10, seed=1)
        self.n = 0
        self.least, self.most = math.inf, -math.inf

    @staticmethod
    def features(prompt: int, completion: int, in_flight: int) -> dict[str, float]:
        """Logs of all three."""
        return {"p": math.log1p(prompt), "c": math.log1p(completion), "k": math.log1p(in_flight)}

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Forecast; before any outcome, the seed's prior."""
        if not self.n:
            return self.seed.predict(prompt, completion)
        said: Any = self.forest.predict_one(self.features(prompt, completion, in_flight))
        return Answer(math.exp(min(max(float(said), self.least), self.most)))

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Learn the log."""
        self.n += 1
        seen = math.log(actual_ms)
        self.least, self.most = min(self.least, seen), max(self.most, seen)
        self.forest.learn_one(self.features(prompt, completion, in_flight), seen)


class LightGbm:
    """Boosted trees on logs, trained anew on the last 2,000 outcomes after every 50; until 50, the seed's rule."""

    every, memory = 50, 2000

    def __init__(self, model: str) -> None:
        import lightgbm

        self.library = lightgbm
        self.seed = Seed(model)
        self.rows: deque[tuple[list[float], float]] = deque(maxlen=self.memory)
        self.n = 0
        self.trees: Any = None

    def predict(self, prompt: int, completion: int, in_flight: int, at: float | None = None) -> Answer:
        """Forecast with the latest trees."""
        import numpy as np

        if self.trees is None:
            return self.seed.predict(prompt, completion)
        return Answer(math.exp(float(self.trees.predict(np.array([[prompt, completion, in_flight]], float))[0])))

    def learn(self, prompt: int, completion: int, in_flight: int, actual_ms: float, at: float | None = None) -> None:
        """Keep the outcome; train when it is time."""
        import numpy as np

        self.seed.learn(prompt, completion, in_flight, actual_ms)
        self.rows.append(([prompt, completion, in_flight], math.log(actual_ms)))
        self.n += 1
        if self.n % self.every == 0:
            settings = {
                "objective": "l1", "num_leaves": 15, "min_data_in_leaf": 10, "learning_rate": 0.1, "verbose": -1,
                "num_threads": 1, "deterministic": True, "seed": 1,
            }  # fmt: skip
            x, y = np.array([r[0] for r in self.rows], float), np.array([r[1] for r in self.rows])
            self.trees = self.library.train(settings, self.library.Dataset(x, y), num_boost_round=60)


RIVALS: dict[str, tuple[str, type[Any], str | None]] = {
    "ours": ("reckoner", Ours, None),
    "ours_timed": ("reckoner, with its clock", OursTimed, None),
    "ours_blind": ("reckoner, length unknown", OursBlind, None),
    "seed": ("version 1", Seed, None),
    "litellm": ("LiteLLM's statistic", LiteLlm, None),
    "river": ("river, adaptive random forest", River, "river"),
    "lightgbm": ("LightGBM, retrained", LightGbm, "lightgbm"),
}
"""By key: title, class, and the library that it needs."""
