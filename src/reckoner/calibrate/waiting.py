"""Forecasts whose outcome has not come: what is in flight, and what has been in flight for too long."""

from __future__ import annotations

import math
from collections import deque

from reckoner.calibrate.model import ModelCalibration
from reckoner.calibrate.outcome import Forecast

MOST_IN_FLIGHT = 1024
"""Forecasts of one model that may wait for their outcome. Assumption: more than one engine takes; whoever asks more
often than that without an answer does not record, and is no longer counted."""


WITNESSES = 3
"""Requests that must be overdue together before the next forecast is raised. Assumption."""


class Waiting:
    """Forecasts of one model whose outcome has not come, by what was asked; first come, first answered."""

    __slots__ = ("last", "latest", "made", "queues")

    def __init__(self) -> None:
        self.made: dict[int, tuple[Forecast, float, tuple[float, float | None]]] | None = {}
        self.queues: dict[tuple[float, float | None], deque[int]] = {}
        self.last = 0  # number given last
        self.latest = 0  # highest number whose outcome has come

    def count(self) -> float:
        """How many wait; 0 for a caller who does not record what it asks."""
        return float(len(self.made)) if self.made is not None else 0.0

    def add(self, key: tuple[float, float | None], made: Forecast, at: float) -> None:
        """Let a forecast wait."""
        if self.made is None:
            return
        if len(self.made) >= MOST_IN_FLIGHT:
            self.made = None
            self.queues.clear()
            return
        self.last = number = self.last + 1
        self.made[number] = made, at, key
        queue = self.queues.get(key)
        if queue is None:
            self.queues[key] = deque((number,))
        else:
            queue.append(number)

    def take(self, prompt: float, completion: float | None) -> tuple[Forecast | None, bool]:
        """Return the oldest forecast for these tokens, and whether it was for this very completion length."""
        if not self.made:
            return None, False
        for length in (completion, None, 0.0):
            queue = self.queues.get((prompt, length))
            if queue:
                number = queue.popleft()
                if not queue:
                    del self.queues[prompt, length]
                self.latest = max(self.latest, number)
                made, _, _ = self.made.pop(number)
                return made, length == completion or length is None
        return None, False

    def overdue(self, at: float, calibration: ModelCalibration) -> float:
        """How far, in logs, requests under way have outlived the upper end of their interval; 0 where they have not.

        Only requests that no later one has overtaken say anything, and it takes :data:`WITNESSES` of them: one that
        was never recorded, or is stuck alone, proves nothing about the next.
        """
        if self.made is None or self.last < self.latest + WITNESSES:
            return 0.0
        witness = self.made.get(self.latest + WITNESSES)
        if witness is None:
            return 0.0
        made, since, (prompt, completion) = witness
        age_ms = 1e3 * (at - since)
        if age_ms <= 1.0 or math.log(age_ms) <= made.log + made.high:
            return 0.0
        today = calibration.forecast(prompt, completion, made.in_flight)  # what was learned since may explain it
        return max(math.log(age_ms) - today.log, 0.0)
