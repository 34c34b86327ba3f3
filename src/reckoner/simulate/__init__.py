"""Requests through time: arrivals, schedulers, the event-driven kernel, and what the tails turn out to be.

``reckoner.simulate`` is this room and the public function at once: importing a room makes it an attribute of the
package under the function's name, so the room itself can be called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOME = {
    "Arrivals": "arrivals",
    "Continuous": "schedulers",
    "Dynamic": "schedulers",
    "Percentile": "percentiles",
    "PrefillFirst": "schedulers",
    "Server": "server",
    "Simulation": "simulation",
    "Static": "schedulers",
    "StepCost": "cost",
    "capacity": "sizing",
    "closed_loop": "arrivals",
    "constant": "arrivals",
    "disaggregated": "pools",
    "empirical": "lengths",
    "fewest": "sizing",
    "fixed": "lengths",
    "gamma": "arrivals",
    "lognormal": "lengths",
    "poisson": "arrivals",
    "ramp": "arrivals",
    "replay": "traces",
    "search": "designs",
    "sessions": "arrivals",
    "simulate": "run",
    "speculative": "drafts",
    "Streamed": "stream",
    "chunks_of": "stream",
    "gamma_chunks": "stream",
    "streamed": "stream",
}


def __dir__() -> list[str]:
    return sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"reckoner.simulate.{_HOME[name]}"), name)
    raise AttributeError(f"module 'reckoner.simulate' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")


class _Room(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call :func:`reckoner.simulate.run.simulate`."""
        from reckoner.simulate.run import simulate

        return simulate(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
