"""What an audit of a file finds: one line each, with the figures and what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reckoner.measure.importers.imported import Floats

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes
    ----------
    severity : str
        ``error``: a figure of the file is wrong or does not mean its name. ``warning``: it misleads. ``note``: what
        the file cannot tell.
    rule : str
        Short name of the law that was tried.
    says : str
        One line: figures, and what they mean.
    """

    severity: str
    rule: str
    says: str

    def __str__(self) -> str:
        return f"{self.severity} {self.rule}: {self.says}"

    def to_json(self) -> dict[str, str]:
        """JSON values."""
        return {"severity": self.severity, "rule": self.rule, "says": self.says}


def ms(seconds: float) -> str:
    """Milliseconds in three digits.

    >>> ms(0.0123456), ms(2.5), ms(0.0000047)
    ('12.3 ms', '2,500 ms', '0.0047 ms')
    """
    value = seconds * 1e3
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.3g} ms"


def plural(n: int, word: str) -> str:
    """Number and noun.

    >>> plural(1, "request"), plural(5531, "request")
    ('1 request', '5,531 requests')
    """
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def off(stated: float, true: float) -> float:
    """Relative distance; infinite from a zero.

    >>> off(1.1, 1.0), off(0.0, 0.0)
    (0.10000000000000009, 0.0)
    """
    if stated == true:
        return 0.0
    return abs(stated - true) / abs(true) if true else math.inf


def bracket(ordered: Floats, q: float) -> tuple[float, float]:
    """Order statistics between which every usual definition of the percentile ``q`` lies.

    >>> import numpy as np
    >>> bracket(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    (1.0, 3.0)
    """
    n = ordered.size
    low, high = math.floor(q * (n - 1)) - 1, math.ceil(q * n)
    return float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])
