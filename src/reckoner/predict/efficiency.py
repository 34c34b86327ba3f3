"""Efficiency: how much of each printed limit a deployment gets, with its uncertainty and the evidence behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reckoner.physics.arrays import Floats

NAMES = ("mbu", "mbu_kv", "mfu", "mfu_decode", "layer", "layer_prefill", "link")
"""Order of the rows and columns of :attr:`Efficiency.covariance`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of the printed limits, and multiples of the nominal fixed costs.

    Parameters
    ----------
    mbu, mbu_kv : (...) float
        Share of the memory bandwidth that reading weights, and reading the cache, gets.
    mfu, mfu_decode : (...) float
        Share of the dense peak that a prefill, and a decode step, gets.
    layer, layer_prefill : (...) float
        Fixed cost of a layer in a decode step, and in a prefill pass, in units of
        :data:`reckoner.predict.terms.LAYER_S`; prefills run without captured graphs and cost more.
    link : (...) float
        Share of the nominal link speed that collectives get, their latency included.
    queue : (...) float
        Size of the prefill queue of a closed loop in units of the nominal shares.
    covariance : (7, 7) float
        Of the logarithms of :data:`NAMES`.
    sigma : float
        Log standard deviation of a predicted decode time that remains when the efficiency is known.
    source : str
        Where it was learned.
    n : int
        Measurements behind it that share device and engine with what is asked; 0 for a prior of the class.
    """

    mbu: Floats
    mbu_kv: Floats
    mfu: Floats
    mfu_decode: Floats
    layer: Floats
    layer_prefill: Floats
    link: Floats
    queue: Floats
    covariance: NDArray[np.float64]
    sigma: float
    source: str
    n: int


IDEAL = Efficiency(
    mbu=1.0,
    mbu_kv=1.0,
    mfu=1.0,
    mfu_decode=1.0,
    layer=1.0,
    layer_prefill=1.0,
    link=1.0,
    queue=1.0,
    covariance=np.zeros((7, 7)),
    sigma=0.0,
    source="printed limits",
    n=0,
)
"""Every limit reached: the bound that no deployment beats."""

PRIOR = Efficiency(
    mbu=0.75,
    mbu_kv=0.6,
    mfu=0.5,
    mfu_decode=0.4,
    layer=1.0,
    layer_prefill=5.0,
    link=0.5,
    queue=1.0,
    covariance=np.diag(np.square([0.35, 0.5, 0.45, 0.6, 0.7, 0.9, 0.7])),
    sigma=0.15,
    source="assumption: a recent engine on a data-centre GPU",
    n=0,
)
"""What is assumed where nothing else is known."""
