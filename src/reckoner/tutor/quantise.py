"""Float32 weights to INT8 blocks, the numbers of ggml's Q8_0."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reckoner.engines.decoder import INT8_BLOCK
from reckoner.errors import InputError


def quantise(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Quantise a matrix in blocks of 32 along its input axis.

    With ``d = max|x| / 127`` over a block in float32, ``q = round(x * (1 / d))`` with halves away from zero, and ``d``
    is stored as float16 after ``q`` was made with the unrounded one.

    Parameters
    ----------
    weight : (out, in) float32
        ``in`` is a multiple of 32.

    Returns
    -------
    (out, in) int8, (out, in / 32) float16
        Values and scales; ``q * scale`` is the weight again, within half a scale plus the scale's own rounding.

    Raises
    ------
    InputError
        ``in`` is no multiple of 32, or a weight is NaN or infinite.

    References
    ----------
    ``quantize_row_q8_0_ref`` in ggml-quants.c of llama.cpp, read 2026-11-20.

    Examples
    --------
    >>> q, scale = quantise(np.linspace(-1, 1, 32, dtype=np.float32)[None])
    >>> int(q.min()), int(q.max()), scale.shape
    (-127, 127, (1, 1))
    """
    outputs, inputs = weight.shape
    if inputs % INT8_BLOCK:
        raise InputError(f"weight has {inputs} inputs, not a multiple of {INT8_BLOCK}; keep this tensor in float32")
    if not np.isfinite(weight).all():
        raise InputError("weight holds NaN or infinity; a quantised model holds finite numbers only, retrain it")
    blocks = weight.astype(np.float32).reshape(outputs, inputs // INT8_BLOCK, INT8_BLOCK)
    d = np.abs(blocks).max(axis=-1) / np.float32(127)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d > 0)
    scaled = (blocks * inverse[..., None]).astype(np.float64)  # float64 from here: x + 0.5 would round in float32
    q = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    return q.astype(np.int8).reshape(outputs, inputs), d.astype(np.float16)


def dequantise(q: NDArray[np.int8], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the weights that the blocks stand for, (out, in) float32."""
    blocks = q.reshape(*scale.shape, INT8_BLOCK).astype(np.float32) * scale.astype(np.float32)[..., None]
    return blocks.reshape(q.shape)


def quantise_all(tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
    """Quantise every matrix of a model, embeddings included; vectors (norms) stay float32."""
    out: dict[str, NDArray[np.generic]] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            out[name], out[name + "_scale"] = quantise(tensor)
        else:
            out[name] = tensor
    return out


def dequantise_all(tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    """Return float32 tensors of what :func:`quantise_all` made."""
    return {
        name: dequantise(tensor.astype(np.int8), tensors[name + "_scale"].astype(np.float16))
        if name + "_scale" in tensors
        else tensor.astype(np.float32)
        for name, tensor in tensors.items()
        if not name.endswith("_scale")
    }
