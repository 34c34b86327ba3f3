"""Streams of requests with a known law."""

from __future__ import annotations

import math
import random
from typing import NamedTuple


class Request(NamedTuple):
    prompt: int
    completion: int
    actual_ms: float
    law_ms: float


def stream(
    n: int,
    *,
    seed: int = 0,
    noise: float = 0.04,
    double_at: int | None = None,
    outliers: float = 0.0,
    coefficients: tuple[float, float, float] = (400.0, 0.12, 14.0),
) -> list[Request]:
    """Requests whose time is ``overhead + a prompt + b completion`` times a log-normal factor."""
    rng = random.Random(seed)
    overhead, a, b = coefficients
    requests = []
    for i in range(n):
        prompt, completion = int(math.exp(rng.uniform(3, 9))), int(math.exp(rng.uniform(2, 7)))
        law = (overhead + a * prompt + b * completion) * (2.0 if double_at is not None and i >= double_at else 1.0)
        actual = law * math.exp(rng.gauss(0.0, noise))
        requests.append(Request(prompt, completion, actual * (20.0 if rng.random() < outliers else 1.0), law))
    return requests
