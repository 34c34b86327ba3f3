"""The terms of a pass through a model: what each resource would take at its printed limit, before any efficiency."""

from __future__ import annotations

from typing import NamedTuple

from reckoner.physics.arrays import Floats, log2, maximum, where

LAYER_S = 12e-6
"""Nominal fixed cost of a layer in one pass (launches, host work). Assumption: the unit of a fitted effect. [s]"""

KERNELS = {"dense": 1.0, "moe": 1.5, "mla": 2.25}
"""Kernels that a layer launches, in units of a dense one's: 12 where norms, projections, rotation, cache, attention,
activation and all-reduces are one each; routing, sorting, two grouped products and the way back make 18; low-rank
projections, their norms, the absorbed products and a shared expert make 27. Assumption: counted from the published
layers of Llama, Mixtral and DeepSeek-V3 (arXiv:2412.19437); fusions differ between engines."""

HOP_S = 5e-6
"""Nominal latency of one message between devices. Assumption: the unit of a fitted effect. [s]"""

COLLECTIVES_PER_LAYER = 2.0
"""All-reduces of a tensor-parallel layer: after attention and after the MLP (Shoeybi et al. 2019, arXiv:1909.08053)."""

ACTIVATION_BYTES = 2.0
"""Bytes of an activation on the link: 16-bit in the engines that published measurements (2025-11)."""


class Work(NamedTuple):
    """What one pass moves and computes, over all the devices that share it.

    Parameters
    ----------
    weight_bytes, kv_bytes : (...) float
        Weights and cache entries read from memory. [byte]
    flops : (...) float
        Operations, those of attention included. [FLOP]
    n_layers : (...) float
        Layers passed one after the other.
    tokens : (...) float
        Tokens in the pass: batch of a decode step, prompt tokens of a prefill.
    hidden : (...) float
        Width of the activations that devices exchange.
    kernels : (...) float
        Kernels that a layer launches, in units of a dense one's (:data:`KERNELS`).
    """

    weight_bytes: Floats
    kv_bytes: Floats
    flops: Floats
    n_layers: Floats
    tokens: Floats
    hidden: Floats
    kernels: Floats = 1.0


class Limits(NamedTuple):
    """Printed limits of the group of devices that works on one pass.

    Parameters
    ----------
    bandwidth_bytes_per_s, peak_flop_per_s : (...) float
        Of one device.
    link_bytes_per_s : (...) float
        Of one device to its peers, one direction.
    sharers : (...) float
        Devices that read and compute at the same time; 1 for layers split over devices that take turns.
    tp, ep : (...) float
        Ranks that share each layer, and ranks that share the experts.
    """

    bandwidth_bytes_per_s: Floats
    peak_flop_per_s: Floats
    link_bytes_per_s: Floats
    sharers: Floats = 1.0
    tp: Floats = 1.0
    ep: Floats = 1.0


class Terms(NamedTuple):
    """Seconds that each resource takes alone, at its printed limit or nominal unit."""

    weights_s: Floats
    kv_s: Floats
    compute_s: Floats
    layers_s: Floats
    link_s: Floats


def terms(work: Work, limits: Limits) -> Terms:
    r"""Seconds of each resource.

    .. math::

        t_w = \frac{W}{n \beta}, \quad t_{kv} = \frac{Q}{n \beta}, \quad t_c = \frac{F}{n P}, \quad t_o = L k \tau_o,
        \quad t_l = 2 L \left(\alpha \left(\log_2 \mathrm{tp} + \tfrac12 \log_2 \mathrm{ep}\right)
        + 2 \frac{r - 1}{r} \frac{2 h T}{d \, \lambda}\right)

    Parameters
    ----------
    work : Work
        Bytes, operations, layers and tokens of the pass.
    limits : Limits
        What the devices can do.

    Returns
    -------
    Terms
        Each of shape (...). [s]

    Notes
    -----
    ``r`` is the larger of tp and ep and ``d = n / tp`` the data-parallel groups that split the tokens. Sums and maxima,
    and the efficiency of each term, belong to :mod:`reckoner.predict.combine`.

    Examples
    --------
    Llama 3.1 8B in bf16 on one H100 SXM, one token: 16 GB at 3.35 TB/s.

    >>> work = Work(weight_bytes=16.06e9, kv_bytes=0.0, flops=16.06e9, n_layers=32.0, tokens=1.0, hidden=4096.0)
    >>> limits = Limits(bandwidth_bytes_per_s=3.35e12, peak_flop_per_s=989.4e12, link_bytes_per_s=450e9)
    >>> round(terms(work, limits).weights_s * 1e3, 3)
    4.794
    """
    n, tp, ep = limits.sharers, limits.tp, limits.ep
    bandwidth = n * limits.bandwidth_bytes_per_s
    weights_s, kv_s = work.weight_bytes / bandwidth, work.kv_bytes / bandwidth
    compute_s = work.flops / (n * limits.peak_flop_per_s)
    layers_s = work.n_layers * work.kernels * LAYER_S
    if isinstance(tp, float) and isinstance(ep, float) and tp == ep == 1.0:  # nobody to exchange anything with
        return Terms(weights_s, kv_s, compute_s, layers_s, 0.0)
    collectives = COLLECTIVES_PER_LAYER * work.n_layers
    hops = collectives * HOP_S * (log2(tp) + 0.5 * log2(ep))
    ranks = maximum(tp, ep)
    crossing = 2.0 * (ranks - 1.0) / ranks
    payload = ACTIVATION_BYTES * work.hidden * work.tokens / maximum(n / tp, 1.0)
    wire = where(ranks > 1.0, collectives * crossing * payload / limits.link_bytes_per_s, 0.0 * payload)
    return Terms(weights_s, kv_s, compute_s, layers_s, hops + wire)
