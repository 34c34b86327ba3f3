"""What a transformer computes and holds: FLOPs (two a multiply-add), weights, and how attention grows with length."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, ceil, minimum


def linear_flops(params: ArrayLike, tokens: ArrayLike = 1.0) -> Floats:
    r"""FLOPs of the matrix products with weights: one multiply and one add for each weight and token.

    .. math:: F = 2 \, P \, T

    Parameters
    ----------
    params : (...) float
        Weights :math:`P` that a token passes through (active ones; an embedding look-up is no product).
    tokens : (...) float
        Tokens :math:`T`.

    Returns
    -------
    (...) float
        Operations. [FLOP]

    References
    ----------
    .. [1] J. Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table 1. arXiv:2001.08361

    Examples
    --------
    A dense layer without biases has 12 d^2 weights, hence 24 d^2 FLOPs a token (12 d^2 are its multiply-adds):

    >>> linear_flops(12 * 64**2) == 24 * 64**2
    True
    """
    return 2.0 * asfloats(params) * asfloats(tokens)


def attended_pairs(
    tokens: ArrayLike, prefix: ArrayLike = 0.0, window: ArrayLike = math.inf, *, causal: bool = True
) -> Floats:
    r"""Pairs of query and key that ``tokens`` new tokens make after ``prefix`` cached ones.

    .. math:: f(p + S) - f(p), \quad f(n) = \sum_{j=1}^{n} \min(j, w)

    Parameters
    ----------
    tokens : (...) float
        New tokens :math:`S`.
    prefix : (...) float
        Tokens :math:`p` already in the cache.
    window : (...) float
        Sliding window :math:`w`; infinite for full attention.
    causal : bool
        Whether a token ignores later ones. Without the mask every new token meets all :math:`p + S` of them
        (the window then does not apply).

    Returns
    -------
    (...) float
        Pairs; :math:`S (S + 1) / 2` for a causal prompt, half of the full square for long ones.

    Notes
    -----
    Counted: the causal sum of what each position sees.

    Examples
    --------
    Four tokens: 1 + 2 + 3 + 4 pairs; under a window of 2: 1 + 2 + 2 + 2; unmasked: 16.

    >>> attended_pairs(4), attended_pairs(4, 0, 2), attended_pairs(4, causal=False)
    (10.0, 7.0, 16.0)
    """
    S, p = asfloats(tokens), asfloats(prefix)
    if not causal:
        return S * (p + S)
    if window is math.inf:  # the default, and by far the commonest
        return S * p + S * (S + 1.0) / 2.0
    w = asfloats(window)
    return _visible(p + S, w) - _visible(p, w)


def _visible(n: Floats, window: Floats) -> Floats:
    near = minimum(n, window)  # f(n) = near (near + 1) / 2 + (n - near) near
    return near * (near + 1.0) / 2.0 + (n - near) * near


def attention_flops(n_layers: ArrayLike, n_heads: ArrayLike, head_dim: ArrayLike, pairs: ArrayLike) -> Floats:
    r"""FLOPs of attention scores and of the weighted sum of values.

    .. math:: F = 4 \, L \, H \, d_h \, N

    Parameters
    ----------
    n_layers : (...) int
        Attention layers :math:`L`.
    n_heads : (...) int
        *Query* heads :math:`H`: grouping keys and values saves memory, not arithmetic.
    head_dim : (...) int
        Size :math:`d_h` of a head.
    pairs : (...) float
        Pairs :math:`N` of query and key: the context :math:`S` for one new token, else :func:`attended_pairs`.

    Returns
    -------
    (...) float
        Operations; softmax and rotary embedding are left out (under 1 %). [FLOP]

    References
    ----------
    .. [1] J. Kaplan et al., 2020, table 1 (which counts 2 L S d for the forward pass of half the pairs).
       arXiv:2001.08361

    Examples
    --------
    One token of Llama 3.1 8B at 1000 tokens of context: 4 x 32 x 4096 x 1000.

    >>> attention_flops(32, 32, 128, 1000)
    524288000.0
    """
    return 4.0 * asfloats(n_layers) * asfloats(n_heads) * asfloats(head_dim) * asfloats(pairs)


def uncached_step_flops(n_layers: ArrayLike, hidden: ArrayLike, tokens: ArrayLike) -> Floats:
    r"""FLOPs of one generation step without a KV cache: the whole sequence again, unmasked.

    .. math:: F = 24 \, L \, d^2 \, S + 4 \, L \, S^2 \, d

    Parameters
    ----------
    n_layers : (...) int
        Layers :math:`L`.
    hidden : (...) int
        Width :math:`d`; the feed-forward block is 4 d wide, query heads fill d.
    tokens : (...) float
        Length :math:`S` of the sequence.

    Returns
    -------
    (...) float
        Operations. [FLOP]

    Notes
    -----
    The quadratic part overtakes the linear one only at S = 6 d: 384 tokens at d = 64, 24,576 at d = 4096.

    Examples
    --------
    >>> uncached_step_flops(1, 64, 384) == 2 * 24 * 64**2 * 384
    True
    """
    L, d, S = asfloats(n_layers), asfloats(hidden), asfloats(tokens)
    return 24.0 * L * d * d * S + 4.0 * L * S * S * d


def attention_params(hidden: ArrayLike, n_heads: ArrayLike, n_kv_heads: ArrayLike, head_dim: ArrayLike) -> Floats:
    r"""Weights of one attention block with grouped queries, without biases.

    .. math:: P = 2 \, d \, d_h \, (H + H_{kv})

    Parameters
    ----------
    hidden : (...) int
        Width :math:`d`.
    n_heads, n_kv_heads : (...) int
        Query heads :math:`H` and key-value heads :math:`H_{kv}`.
    head_dim : (...) int
        Size :math:`d_h` of a head.

    Returns
    -------
    (...) float
        Weights of the query, key, value and output projections.

    References
    ----------
    .. [1] J. Ainslie et al., "GQA", EMNLP 2023, sec. 2. arXiv:2305.13245

    Examples
    --------
    Llama 3.1 8B: 2 x 16.8 M (query, output) + 2 x 4.2 M (key, value).

    >>> attention_params(4096, 32, 8, 128)
    41943040.0
    """
    return 2.0 * asfloats(hidden) * asfloats(head_dim) * (asfloats(n_heads) + asfloats(n_kv_heads))


def mlp_params(hidden: ArrayLike, ffn: ArrayLike, *, gated: bool = True) -> Floats:
    r"""Weights of one feed-forward block, without biases.

    .. math:: P = 3 \, d \, f \;\text{(gated)} \quad\text{or}\quad 2 \, d \, f

    Parameters
    ----------
    hidden : (...) int
        Width :math:`d`.
    ffn : (...) int
        Inner width :math:`f`.
    gated : bool
        Whether a third matrix gates the inner activations (SwiGLU, GeGLU) [1]_.

    Returns
    -------
    (...) float
        Weights.

    References
    ----------
    .. [1] N. Shazeer, "GLU Variants Improve Transformer", 2020. arXiv:2002.05202

    Examples
    --------
    Llama 3.1 8B, and GPT-2 small's plain block:

    >>> mlp_params(4096, 14336), mlp_params(768, 3072, gated=False)
    (176160768.0, 4718592.0)
    """
    return (3.0 if gated else 2.0) * asfloats(hidden) * asfloats(ffn)


def distinct_experts(n_experts: ArrayLike, n_active: ArrayLike, tokens: ArrayLike) -> Floats:
    r"""Expected number of different experts that a batch of tokens wakes in one layer.

    .. math:: \mathrm{E}[X] = n \left(1 - (1 - k/n)^T\right)

    Parameters
    ----------
    n_experts : (...) int
        Routed experts :math:`n` of the layer.
    n_active : (...) float
        Different experts :math:`k` that each token is sent to, at most :math:`n`.
    tokens : (...) float
        Tokens :math:`T` in the step.

    Returns
    -------
    (...) float
        Experts whose weights the step reads: :math:`k` for one token, :math:`n` for many.

    Notes
    -----
    Exact for independent, uniform routing: a token misses a given expert with probability 1 - k/n; expectations add
    up. Real routers are uneven and wake fewer, so this is the upper side.

    References
    ----------
    .. [1] W. Feller, "An Introduction to Probability Theory and Its Applications", vol. 1, 3rd ed., 1968, ch. IX.3
       (indicator variables; occupancy of boxes).

    Examples
    --------
    Mixtral's 8 experts, 2 a token:

    >>> distinct_experts(8, 2, [1, 2, 100]).round(3).tolist()
    [2.0, 3.5, 8.0]
    """
    n, k, T = asfloats(n_experts), asfloats(n_active), asfloats(tokens)
    return n * (1.0 - (1.0 - k / n) ** T)


def latent_attention_params(
    hidden: ArrayLike, n_heads: ArrayLike, q_rank: ArrayLike, kv_rank: ArrayLike, nope: ArrayLike, rope: ArrayLike,
    value: ArrayLike,
) -> Floats:  # fmt: skip
    r"""Weights of one latent-attention (MLA) block, norms left out.

    .. math:: d\,r_q + r_q H (d_n + d_r) + d\,(r_{kv} + d_r) + r_{kv} H (d_n + d_v) + H d_v d

    Parameters
    ----------
    hidden : (...) int
        Width :math:`d`.
    n_heads : (...) int
        Heads :math:`H`.
    q_rank : (...) int
        Rank :math:`r_q` of the query compression; 0 for a plain query projection.
    kv_rank : (...) int
        Rank :math:`r_{kv}` of the key-value compression.
    nope, rope, value : (...) int
        Sizes :math:`d_n, d_r, d_v` of a head's plain key, rotary key and value.

    Returns
    -------
    (...) float
        Weights.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2", 2024, sec. 2.1 and appendix C. arXiv:2405.04434

    Examples
    --------
    DeepSeek-V3: 187.1 M in each of 61 layers.

    >>> latent_attention_params(7168, 128, 1536, 512, 128, 64, 128)
    187105280.0
    """
    d, H, rq, rkv = asfloats(hidden), asfloats(n_heads), asfloats(q_rank), asfloats(kv_rank)
    dn, dr, dv = asfloats(nope), asfloats(rope), asfloats(value)
    compressed = d * rq + rq * H * (dn + dr)
    query = (rq > 0) * compressed + (rq == 0) * (d * H * (dn + dr))
    return query + d * (rkv + dr) + rkv * H * (dn + dv) + H * dv * d


def absorbed_attention_flops(
    n_layers: ArrayLike, n_heads: ArrayLike, kv_rank: ArrayLike, rope: ArrayLike, pairs: ArrayLike
) -> Floats:
    r"""FLOPs of latent attention that works in the compressed space (the decode form).

    .. math:: F = 2 \, L \, H \, (2 r_{kv} + d_r) \, N

    Parameters
    ----------
    n_layers, n_heads : (...) int
        Layers :math:`L` and heads :math:`H`.
    kv_rank, rope : (...) int
        Rank :math:`r_{kv}` and rotary size :math:`d_r`.
    pairs : (...) float
        Pairs :math:`N` of query and key.

    Returns
    -------
    (...) float
        Operations; the projections into the compressed space are weights and count in :func:`linear_flops`. [FLOP]

    Notes
    -----
    Scores meet a key of r + d_r numbers, values one of r. For DeepSeek-V3 that is 3.4 times the arithmetic of
    :func:`expanded_attention_flops`, and 71 times less cache traffic; hence decode absorbs and prefill expands.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2", 2024, sec. 2.1.2. arXiv:2405.04434

    Examples
    --------
    >>> absorbed_attention_flops(1, 128, 512, 64, 1)
    278528.0
    """
    rank = asfloats(kv_rank)
    return 2.0 * asfloats(n_layers) * asfloats(n_heads) * (2.0 * rank + asfloats(rope)) * asfloats(pairs)


def expanded_attention_flops(
    n_layers: ArrayLike, n_heads: ArrayLike, key_dim: ArrayLike, value_dim: ArrayLike, pairs: ArrayLike
) -> Floats:
    r"""FLOPs of attention whose keys and values differ in size (the prefill form of latent attention).

    .. math:: F = 2 \, L \, H \, (d_k + d_v) \, N

    Parameters
    ----------
    n_layers, n_heads : (...) int
        Layers :math:`L` and heads :math:`H`.
    key_dim, value_dim : (...) int
        Sizes :math:`d_k` (plain and rotary part together) and :math:`d_v`.
    pairs : (...) float
        Pairs :math:`N` of query and key.

    Returns
    -------
    (...) float
        Operations; equal to :func:`attention_flops` where both sizes are equal. [FLOP]

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2", 2024, sec. 2.1.2. arXiv:2405.04434

    Examples
    --------
    >>> expanded_attention_flops(1, 128, 192, 128, 1)
    81920.0
    """
    sizes = asfloats(key_dim) + asfloats(value_dim)
    return 2.0 * asfloats(n_layers) * asfloats(n_heads) * sizes * asfloats(pairs)


def ssm_flops(n_layers: ArrayLike, inner: ArrayLike, state: ArrayLike, tokens: ArrayLike) -> Floats:
    r"""FLOPs of the recurrence of a selective state-space model, whatever the context.

    .. math:: F = 7 \, L \, d_i \, N \, T

    Parameters
    ----------
    n_layers : (...) int
        State-space layers :math:`L`.
    inner : (...) int
        Channels :math:`d_i`.
    state : (...) int
        State size :math:`N` of a channel.
    tokens : (...) float
        Tokens :math:`T`.

    Returns
    -------
    (...) float
        Operations; projections and convolution are weights and count in :func:`linear_flops`. [FLOP]

    Notes
    -----
    The seven of each channel and state: step times decay, its exponential, times the state, input times input
    matrix, their sum, times the output matrix, accumulated. Counted by us from equation 2 and algorithm 2 of [1]_.

    References
    ----------
    .. [1] A. Gu, T. Dao, "Mamba", 2023. arXiv:2312.00752

    Examples
    --------
    >>> ssm_flops(64, 5120, 16, 1)
    36700160.0
    """
    return 7.0 * asfloats(n_layers) * asfloats(inner) * asfloats(state) * asfloats(tokens)


def chunked_prefill_reads(tokens: ArrayLike, chunk: ArrayLike) -> Floats:
    r"""Cached tokens that a prompt reads back when it is prefilled in chunks.

    .. math:: \sum_{i=0}^{n-1} i \, c = c \, n (n - 1) / 2, \quad n = \lceil S / c \rceil

    Parameters
    ----------
    tokens : (...) float
        Prompt :math:`S`. [token]
    chunk : (...) float
        Tokens :math:`c` of a chunk.

    Returns
    -------
    (...) float
        Tokens read from the cache on top of a prefill in one piece (none where one chunk holds the prompt). [token]

    Notes
    -----
    Each chunk reads the cache of all chunks before it. The arithmetic stays the same; the weights are read once a
    chunk. A last, shorter chunk reads all whole ones before it.

    References
    ----------
    .. [1] A. Agrawal et al., "SARATHI", 2023. arXiv:2308.16369

    Examples
    --------
    Four chunks of 512 read 0, 512, 1024 and 1536 tokens:

    >>> chunked_prefill_reads(2048, 512)
    3072.0
    """
    S, c = asfloats(tokens), asfloats(chunk)
    before = ceil(S / c) - 1.0  # whole chunks in front of the last one, which reads them all
    return c * before * (before + 1.0) / 2.0
