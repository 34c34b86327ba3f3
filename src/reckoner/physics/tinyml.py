"""Microcontrollers: weights live in flash, activations in SRAM, and each must fit on its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats

TERNARY_BITS = 1.6  # five trits (3^5 = 243 states) in one byte; the entropy bound is log2(3) = 1.585


def weight_bytes(params: ArrayLike, bits: ArrayLike, scale_bytes: ArrayLike = 0.0) -> Floats:
    r"""Bytes that stored weights take.

    .. math:: P \, (b / 8 + s)

    Parameters
    ----------
    params : (...) float
        Weights :math:`P`.
    bits : (...) float
        Bits :math:`b` of a weight; :data:`TERNARY_BITS` for packed ternary ones.
    scale_bytes : (...) float
        Scales :math:`s`, spread over the weights that share them. [byte/weight]

    Returns
    -------
    (...) float
        Bytes; divide by 1024 for KiB.

    Notes
    -----
    A definition.

    Examples
    --------
    Ten million ternary weights need 2 MB, whatever the SRAM:

    >>> weight_bytes(10e6, TERNARY_BITS)
    2000000.0
    """
    return asfloats(params) * (asfloats(bits) / 8.0 + asfloats(scale_bytes))


def peak_activation_bytes(tensor_bytes: Sequence[float]) -> float:
    r"""Largest memory that a chain of layers needs when each frees its input once its output stands.

    .. math:: \max_i \, (a_{i} + a_{i+1})

    Parameters
    ----------
    tensor_bytes : sequence of float
        Sizes :math:`a_i` of the input, of every activation between layers and of the output, in order. [byte]

    Returns
    -------
    float
        Peak. [byte]

    References
    ----------
    .. [1] J. Lin et al., "MCUNet", NeurIPS 2020, sec. 3.2. arXiv:2007.10319

    Examples
    --------
    >>> peak_activation_bytes([9216, 36864, 18432, 10])
    55296.0
    """
    return float(max(a + b for a, b in pairwise(tensor_bytes)))


def flash_headroom_bytes(weights: ArrayLike, flash: ArrayLike, code: ArrayLike = 0.0) -> Floats:
    r"""Flash left beside weights and code; negative where they do not fit.

    .. math:: M_{flash} - W - C

    Parameters
    ----------
    weights : (...) float
        Weights :math:`W`. [byte]
    flash : (...) float
        Flash :math:`M_{flash}` of the device. [byte]
    code : (...) float
        Program :math:`C`, runtime included. [byte]

    Returns
    -------
    (...) float
        Headroom. [byte]

    References
    ----------
    .. [1] C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021 Datasets and Benchmarks, sec. 2. arXiv:2106.07597

    Examples
    --------
    >>> flash_headroom_bytes(300_000, 2 * 1024**2, 100_000)
    1697152.0
    """
    return asfloats(flash) - asfloats(weights) - asfloats(code)


def sram_headroom_bytes(activations: ArrayLike, sram: ArrayLike, runtime: ArrayLike = 0.0) -> Floats:
    r"""SRAM left beside activations and the runtime's own state; negative where they do not fit.

    .. math:: M_{SRAM} - A - R

    Parameters
    ----------
    activations : (...) float
        Peak :math:`A` of the activations (:func:`peak_activation_bytes`). [byte]
    sram : (...) float
        SRAM :math:`M_{SRAM}` of the device. [byte]
    runtime : (...) float
        Stack, buffers and interpreter :math:`R`. [byte]

    Returns
    -------
    (...) float
        Headroom. [byte]

    References
    ----------
    .. [1] C. Banbury et al., "MLPerf Tiny Benchmark", 2021, sec. 2. arXiv:2106.07597

    Examples
    --------
    >>> sram_headroom_bytes(55_296, 1024**2)
    993280.0
    """
    return asfloats(sram) - asfloats(activations) - asfloats(runtime)
