"""A forecast as it was made, and what became of the request."""

from __future__ import annotations

from typing import NamedTuple

from reckoner.calibrate.load import Load


class Forecast(NamedTuple):
    """A forecast as it was made, for its outcome to be held against.

    Parameters
    ----------
    in_flight : float
        Requests of this model that were under way.
    logs : tuple of float
        What each expert said. [log ms]
    log : float
        The mixture. [log ms]
    low, high : float
        Ends of the 90 % interval, as distances from ``log``.
    window : int
        The window that the interval came from.
    load : Load, optional
        What the engine said of itself.
    """

    in_flight: float
    logs: tuple[float, float, float, float, float]
    log: float
    low: float
    high: float
    window: int
    load: Load | None = None


class Outcome(NamedTuple):
    """What became of a request: everything that learning from it needs.

    Parameters
    ----------
    prompt, completion : float
        Tokens; completion None where it stayed unknown.
    actual : float
        Time it took. [ms]
    in_flight : float
        Requests of this model that were under way when it began.
    made : Forecast, optional
        What was forecast then.
    at : float
        When the outcome was known. [s since 1970]
    load : Load, optional
        What the engine said of itself when the request began.
    """

    prompt: float
    completion: float | None
    actual: float
    in_flight: float = 0.0
    made: Forecast | None = None
    at: float = 0.0
    load: Load | None = None
