"""Terms and efficiencies become seconds: the one place where resources are added up."""

from __future__ import annotations

from typing import NamedTuple

from reckoner.physics.arrays import Floats, asfloats, maximum
from reckoner.physics.roofline import smooth_maximum
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.terms import Terms

ORDER = 4.0
"""Order of the smooth maximum of memory and arithmetic. Assumption: scores the same between 3 and 8."""

WAIT_SHARE = 0.1
BURST_SHARE = 0.01
"""Nominal shares of the other clients' prefills that a newcomer waits for, when the prefill queue is busy and from the
start-up burst of a closed loop. Assumption: the units of a fitted effect (:attr:`Efficiency.queue`)."""


class Parts(NamedTuple):
    """Seconds of a pass by cause, with efficiencies applied; ``total_s`` is what the pass takes."""

    weights_s: Floats
    kv_s: Floats
    compute_s: Floats
    layers_s: Floats
    link_s: Floats
    total_s: Floats


def decode_parts(terms: Terms, efficiency: Efficiency) -> Parts:
    """Seconds of one decode step; the shapes of ``terms`` and ``efficiency`` broadcast.

    Examples
    --------
    >>> from reckoner.predict.efficiency import IDEAL
    >>> step = Terms(weights_s=0.004, kv_s=0.001, compute_s=0.0, layers_s=0.0, link_s=0.0)
    >>> round(decode_parts(step, IDEAL).total_s, 6)
    0.005
    """
    return _parts(terms, efficiency, efficiency.mfu_decode, efficiency.layer)


def prefill_parts(terms: Terms, efficiency: Efficiency) -> Parts:
    """Seconds of one prefill pass; the shapes of ``terms`` and ``efficiency`` broadcast."""
    return _parts(terms, efficiency, efficiency.mfu, efficiency.layer_prefill)


def _parts(terms: Terms, efficiency: Efficiency, mfu: Floats, layer: Floats) -> Parts:
    weights_s, kv_s = terms.weights_s / efficiency.mbu, terms.kv_s / efficiency.mbu_kv
    compute_s = terms.compute_s / mfu
    layers_s, link_s = terms.layers_s * layer, terms.link_s / efficiency.link
    total_s = smooth_maximum(weights_s + kv_s, compute_s, ORDER) + layers_s + link_s
    return Parts(weights_s, kv_s, compute_s, layers_s, link_s, total_s)


def beyond(limit_s: Floats, seconds: Floats, factor: Floats) -> Floats:
    """Apply a learned factor to what exceeds the printed limits, so that none is ever beaten.

    Parameters
    ----------
    limit_s, seconds : (...) float
        At the printed limits, and by the terms with their efficiencies. [s]
    factor : (...) float
        Learned, positive.

    Returns
    -------
    (...) float
        Shapes broadcast. [s]

    Examples
    --------
    >>> beyond(4.0, 6.0, 0.5)
    5.0
    """
    return limit_s + maximum(seconds - limit_s, 0.0) * factor


def closed_loop_ttft_s(
    prefill_s: Floats, step_s: Floats, foreign_s: Floats, output_tokens: Floats, queue: Floats
) -> Floats:
    r"""Time to first token where a fixed number of clients send again as soon as they are answered.

    .. math:: t_p + \tfrac12 t_d + q \, (0.1 \rho + 0.01) \, t_f, \quad \rho = \frac{t_f}{t_f + n \, t_d}

    Parameters
    ----------
    prefill_s : (...) float
        Own prefill, alone. [s]
    step_s : (...) float
        Decode step that a newcomer finds running: half of it is left on average. [s]
    foreign_s : (...) float
        Prefills of all clients' prompts, one after the other. [s]
    output_tokens : (...) float
        Tokens of an answer.
    queue : (...) float
        Fitted size of the queue, 1 for the nominal shares.

    Returns
    -------
    (...) float
        Time to first token. [s]
    """
    foreign = asfloats(foreign_s)
    busy = foreign / (foreign + asfloats(output_tokens) * step_s)
    return prefill_s + 0.5 * step_s + queue * (WAIT_SHARE * busy + BURST_SHARE) * foreign
