"""From a model's shape to the work of a pass: bytes that a step or a prefill moves and operations that it does."""

from __future__ import annotations

from dataclasses import dataclass

from reckoner.catalogue.model import Attention, Model
from reckoner.physics.arrays import Floats, asfloats, maximum
from reckoner.physics.kvcache import kept_tokens
from reckoner.physics.transformer import attended_pairs, distinct_experts
from reckoner.predict.terms import KERNELS, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the work of a pass follows from: one model in given number formats, or arrays of many.

    Parameters
    ----------
    weight_bytes : (...) float
        All weights. [byte]
    active_params : (...) float
        Weights that a token meets.
    n_layers, hidden : (...) float
        Layers, and width of the activations between them.
    kv_bytes_per_token, windowed_kv_bytes_per_token : (...) float
        Cache growth in layers that see everything, and in layers that see a window. [byte/token]
    pair_flops, windowed_pair_flops : (...) float
        Operations of all such layers for one pair of query and key, in a decode step. [FLOP]
    prefill_pair_flops : (...) float
        As ``pair_flops`` in a prefill; it differs for latent attention, which expands its keys there. [FLOP]
    window : (...) float, optional
        Tokens that windowed layers see; None where there are none.
    state_bytes : (...) float
        Recurrent state of one sequence, read and written by each step. [byte]
    expert_bytes : (...) float
        Part of ``weight_bytes`` in routed experts. [byte]
    n_experts, n_active : (...) float
        Routed experts of a layer and how many a token visits; 1 and 1 without.
    kernels : (...) float
        Kernels that a layer launches, in units of a dense one's (:data:`reckoner.predict.terms.KERNELS`).
    kv_heads : (...) float
        Key-value heads that tensor-parallel ranks can share out before they replicate; 1 for a latent cache.
    """

    weight_bytes: Floats
    active_params: Floats
    n_layers: Floats
    hidden: Floats
    kv_bytes_per_token: Floats
    pair_flops: Floats
    prefill_pair_flops: Floats
    windowed_kv_bytes_per_token: Floats = 0.0
    windowed_pair_flops: Floats = 0.0
    window: Floats | None = None
    state_bytes: Floats = 0.0
    expert_bytes: Floats = 0.0
    n_experts: Floats = 1.0
    n_active: Floats = 1.0
    kernels: Floats = 1.0
    kv_heads: Floats = 1.0


def shape_of(model: Model, weight_bytes_each: float, kv_bytes_each: float) -> Shape:
    """Shape of a model whose weights and cache entries take so many bytes each, scales included.

    Parameters
    ----------
    model : Model
        From the catalogue or a ``config.json``.
    weight_bytes_each, kv_bytes_each : float
        :attr:`~reckoner.catalogue.precision.Precision.bytes_per_element` of both formats. [byte]

    Returns
    -------
    Shape
        Scalars.
    """
    full = [group for group in model.attention if group.window is None]
    windowed = [group for group in model.attention if group.window is not None]
    experts = model.experts
    return Shape(
        weight_bytes=model.params * weight_bytes_each,
        active_params=float(model.active_params),
        n_layers=float(model.n_layers),
        hidden=float(model.hidden),
        kv_bytes_per_token=model.full_kv_elements_per_token * kv_bytes_each,
        windowed_kv_bytes_per_token=model.windowed_kv_elements_per_token * kv_bytes_each,
        window=None if model.window is None else float(model.window),
        pair_flops=sum(_pair_flops(group, model, absorbed=True) for group in full),
        prefill_pair_flops=sum(_pair_flops(group, model, absorbed=False) for group in full),
        windowed_pair_flops=sum(_pair_flops(group, model, absorbed=False) for group in windowed),
        state_bytes=model.state_elements * kv_bytes_each,
        expert_bytes=0.0
        if experts is None
        else experts.n_layers * experts.n_experts * experts.params_each * weight_bytes_each,
        n_experts=float(max(model.n_experts, 1)),
        n_active=float(max(model.n_active, 1)),
        kernels=KERNELS["dense" if experts is None else "moe" if model.latent is None else "mla"],
        kv_heads=float(min((1 if g.latent_dim else g.n_kv_heads for g in model.attention), default=1)),
    )


def _pair_flops(group: Attention, model: Model, *, absorbed: bool) -> float:
    """Scores and weighted values: 2 L H (d_k + d_v), or 2 L H (2 r + d_r) in the compressed space of MLA."""
    sizes = group.head_dim + group.value_dim
    if absorbed and group.latent_dim and model.latent is not None:
        sizes = 2 * model.latent.kv_rank + model.latent.rope_dim
    return 2.0 * group.n_layers * group.n_heads * sizes


def kv_copies(kv_heads: Floats, tp: Floats) -> Floats:
    """Times that the cache is held and read: with more ranks than key-value heads, heads are replicated."""
    if isinstance(tp, float) and tp == 1.0:
        return 1.0
    return maximum(asfloats(tp) / kv_heads, 1.0)


def read_weight_bytes(shape: Shape, tokens: Floats) -> Floats:
    """Bytes of weights that a pass with ``tokens`` tokens reads: dense ones, and each expert that a token wakes."""
    if isinstance(shape.expert_bytes, float) and shape.expert_bytes == 0.0:
        return shape.weight_bytes + 0.0 * tokens
    idle = 1.0 - distinct_experts(shape.n_experts, shape.n_active, tokens) / shape.n_experts
    return shape.weight_bytes - shape.expert_bytes * idle


def decode_work(shape: Shape, batch: Floats, context: Floats, drafted: Floats = 0.0, copies: Floats = 1.0) -> Work:
    """Work of one decode step of ``batch`` sequences, each with ``context`` tokens behind it.

    With ``drafted`` tokens the step verifies them besides the next one; it reads the cache once for all of them, but
    each of its ``copies`` (:func:`kv_copies`).

    Returns
    -------
    Work
        Shapes broadcast.
    """
    kv = shape.kv_bytes_per_token * context
    pairs = shape.pair_flops * context
    if shape.window is not None:
        near = kept_tokens(context, shape.window)
        kv = kv + shape.windowed_kv_bytes_per_token * near
        pairs = pairs + shape.windowed_pair_flops * near
    kv_bytes = batch * (kv * copies + 2.0 * shape.state_bytes)
    tokens = batch * (1.0 + drafted)
    flops = tokens * (2.0 * shape.active_params + pairs)
    weights = read_weight_bytes(shape, tokens)
    return Work(weights, kv_bytes, flops, shape.n_layers, tokens, shape.hidden, shape.kernels)


def prefill_work(
    shape: Shape,
    prompts: Floats,
    tokens: Floats,
    prefix: Floats = 0.0,
    passes: Floats | None = None,
    copies: Floats = 1.0,
) -> Work:
    """Work of reading ``prompts`` prompts of ``tokens`` new tokens each, after ``prefix`` cached ones.

    In several ``passes`` each one reads the weights anew, and what the earlier ones left in the cache; layers are then
    those of all passes, tokens those of one.

    Returns
    -------
    Work
        Shapes broadcast.

    References
    ----------
    .. [1] A. Agrawal et al., "Sarathi-Serve", OSDI 2024, sec. 4.3 (the overhead of chunks). arXiv:2403.02310
    """
    pairs = shape.prefill_pair_flops * attended_pairs(tokens, prefix)
    total = prompts * tokens
    times: Floats = 1.0
    behind = prefix  # tokens in the cache before a pass, on average
    if passes is not None:
        times, behind = passes, prefix + tokens * (0.5 - 0.5 / passes)
    cached = shape.kv_bytes_per_token * behind
    if shape.window is not None:
        pairs = pairs + shape.windowed_pair_flops * attended_pairs(tokens, prefix, shape.window)
        cached = cached + shape.windowed_kv_bytes_per_token * kept_tokens(behind, shape.window)
    cached = cached * copies
    flops = 2.0 * shape.active_params * total + prompts * pairs
    kind = shape.hidden, shape.kernels
    if passes is None:
        return Work(read_weight_bytes(shape, total), prompts * cached, flops, shape.n_layers, total, *kind)
    weights = times * read_weight_bytes(shape, total / times)
    return Work(weights, times * prompts * cached, flops, times * shape.n_layers, total / times, *kind)


def sequence_bytes(shape: Shape, tokens: Floats, copies: Floats = 1.0) -> Floats:
    """Bytes of cache, held in so many copies, and of state that one sequence of ``tokens`` tokens keeps."""
    held = shape.kv_bytes_per_token * tokens
    if shape.window is not None:
        held = held + shape.windowed_kv_bytes_per_token * kept_tokens(tokens, shape.window)
    return held * copies + shape.state_bytes
