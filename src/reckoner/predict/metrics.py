"""What an outcome means: its metrics by name, whether it fits, what binds it, what it costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reckoner.design import Design, Num, check_rent
from reckoner.physics.arrays import Floats
from reckoner.predict.numbers import Memory, Numbers, Outcome

BOUNDS = ("memory bandwidth", "compute", "communication", "overhead")

UNITS = {
    "ttft_s": "s",
    "tpot_s": "s",
    "e2e_s": "s",
    "output_tokens_per_s": "tok/s",
    "requests_per_s": "req/s",
    "memory_bytes": "B",
    "j_per_token": "J",
    "usd_per_m_output_tokens": "USD",
}
"""Every metric that has a value and an interval, with its unit."""


def price(design: Design, usd_per_hour: float, tokens_per_s: Num) -> Num:
    """Rent of all devices of a design while it puts out a million tokens, in USD.

    Raises
    ------
    InputError
        The rent is negative or no number.
    """
    check_rent(usd_per_hour)
    return design.n_devices * usd_per_hour / 3600.0 * 1e6 / tokens_per_s


def metrics_of(outcome: Outcome, numbers: Numbers) -> dict[str, Floats]:
    """Metrics by name, in the order of :data:`UNITS`; without energy where the power limit is unknown."""
    found = {
        "ttft_s": outcome.times.ttft_s,
        "tpot_s": outcome.times.tpot_s,
        "e2e_s": outcome.times.e2e_s,
        "output_tokens_per_s": outcome.requests_per_s * numbers.output_tokens,
        "requests_per_s": outcome.requests_per_s,
        "memory_bytes": outcome.memory.total,
    }
    if outcome.j_per_token is not None:
        found["j_per_token"] = outcome.j_per_token
    return found


def fits(design: Design, memory: Memory) -> bool | NDArray[np.bool_]:
    """Whether each device has the memory, and the flash where weights live there."""
    enough = memory.total <= design.device.memory_bytes
    if design.device.flash_bytes is None:
        return enough
    return enough & (memory.flash <= design.device.flash_bytes)


def shares_of(outcome: Outcome, output_tokens: Num) -> tuple[Floats, Floats, Floats, Floats]:
    """Seconds of a request that each of :data:`BOUNDS` takes: its own prefill and its decode steps."""
    own, step, steps = outcome.own, outcome.step, (output_tokens - 1.0) / outcome.progress
    return (
        own.weights_s + own.kv_s + steps * (step.weights_s + step.kv_s),
        own.compute_s + steps * step.compute_s,
        own.link_s + outcome.transfer_s + steps * step.link_s,
        own.layers_s + steps * step.layers_s,
    )


def bound_of(outcome: Outcome, output_tokens: Num) -> str | NDArray[np.str_]:
    """Name the largest of :func:`shares_of`."""
    shares = shares_of(outcome, output_tokens)
    if all(isinstance(share, float) for share in shares):
        return BOUNDS[shares.index(max(shares))]
    names: NDArray[np.str_] = np.asarray(BOUNDS)[np.argmax(np.stack(np.broadcast_arrays(*shares)), axis=0)]
    return names
