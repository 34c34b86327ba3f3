"""What rests on theory alone: gains that no fitted measurement holds apart, and how much wider they make intervals."""

from __future__ import annotations

from reckoner.physics.arrays import Floats, where
from reckoner.predict.numbers import Numbers

SIGMA: dict[str, dict[str, float]] = {
    "disaggregation": {"ttft": 1.3, "tpot": 0.2, "rate": 0.3, "energy": 0.3},
    "speculation": {"ttft": 0.1, "tpot": 0.2, "rate": 0.2, "energy": 0.2},
    "chunked prefill": {"ttft": 0.3, "tpot": 0.1, "rate": 0.1, "energy": 0.1},
}
"""Log standard deviations added, by gain and quantity. Disaggregation: makes intervals hold nine in ten of 159 public
runs that state all their servers (validation/silicon.csv.gz; median error 20 % of TPOT, 83 % of TTFT; 2026-11-21): near
saturation of the prefill servers a small misjudgement of their speed is a long wait. The others: assumptions."""


def gains(n: Numbers) -> dict[str, Floats]:
    """1 where a gain is in use, 0 elsewhere, by name."""
    return {
        "disaggregation": where(n.prefill_replicas > 0.0, 1.0, 0.0),
        "speculation": where(n.draft_tokens > 0.0, 1.0, 0.0),
        "chunked prefill": where(n.token_budget > 0.0, 1.0, 0.0),
    }


def variance(n: Numbers, quantity: str) -> Floats:
    """Variance of a quantity's logarithm that the gains in use add."""
    total: Floats = 0.0
    for name, used in gains(n).items():
        total = total + used * SIGMA[name][quantity] ** 2
    return total
