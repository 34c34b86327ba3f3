"""reckoner: what it costs to serve a language model, known before you pay for it.

Public names are resolved on first use, so ``import reckoner`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from reckoner._version import __version__

_HOME: dict[str, str] = {
    "AdaptiveCalibrator": "reckoner.calibrate.adaptive",
    "Design": "reckoner.design",
    "Ledger": "reckoner.ledger",
    "ReckonerError": "reckoner.errors",
    "Serving": "reckoner.design",
    "Slo": "reckoner.design",
    "Workload": "reckoner.design",
    "advise": "reckoner.audit.advise",
    "audit": "reckoner.audit.run",
    "capacity": "reckoner.simulate.sizing",
    "device": "reckoner.catalogue.find",
    "model": "reckoner.catalogue.find",
    "predict": "reckoner.predict.prediction",
    "rate": "reckoner.catalogue.find",
    "simulate": "reckoner.simulate.run",
    "sweep": "reckoner.predict.sweep",
}

__all__ = [
    "AdaptiveCalibrator",
    "Design",
    "Ledger",
    "ReckonerError",
    "Serving",
    "Slo",
    "Workload",
    "__version__",
    "advise",
    "audit",
    "capacity",
    "device",
    "model",
    "predict",
    "rate",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'reckoner' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
