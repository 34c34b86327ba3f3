"""The KV cache: bytes that a token stores, bytes that a step reads back, and what block allocation wastes."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, ceil, maximum, minimum

BLOCK_TOKENS = 16  # vLLM's default block size on GPUs (docs.vllm.ai, CacheConfig.block_size; read 2026-11-20)


def bytes_per_token(
    n_layers: ArrayLike, n_kv_heads: ArrayLike, head_dim: ArrayLike, bytes_per_element: ArrayLike
) -> Floats:
    r"""Bytes that one token of one sequence adds to the KV cache.

    .. math:: k = 2 \, L \, H_{kv} \, d_h \, s

    Parameters
    ----------
    n_layers : (...) int
        Layers :math:`L` that keep keys and values.
    n_kv_heads : (...) int
        Key-value heads :math:`H_{kv}`; equals the query heads without grouping [1]_.
    head_dim : (...) int
        Size :math:`d_h` of a head.
    bytes_per_element : (...) float
        Size :math:`s` of a stored number, scales included. [byte]

    Returns
    -------
    (...) float
        Cache growth. [byte/token]

    Notes
    -----
    Exact for dense, grouped-query and multi-query attention; latent attention stores a compressed vector instead
    (:func:`latent_bytes_per_token`).

    References
    ----------
    .. [1] J. Ainslie et al., "GQA", EMNLP 2023, sec. 2. arXiv:2305.13245

    Examples
    --------
    Llama 3.1 8B in fp16:

    >>> bytes_per_token(32, 8, 128, 2)
    131072.0
    """
    return 2.0 * asfloats(n_layers) * asfloats(n_kv_heads) * asfloats(head_dim) * asfloats(bytes_per_element)


def latent_bytes_per_token(
    n_layers: ArrayLike, kv_rank: ArrayLike, rope_dim: ArrayLike, bytes_per_element: ArrayLike
) -> Floats:
    r"""Bytes that one token adds to the cache of multi-head latent attention (MLA).

    .. math:: k = L \, (d_c + d_r) \, s

    Parameters
    ----------
    n_layers : (...) int
        Layers :math:`L`.
    kv_rank : (...) int
        Size :math:`d_c` of the compressed key-value vector (``kv_lora_rank``).
    rope_dim : (...) int
        Size :math:`d_r` of the decoupled rotary key (``qk_rope_head_dim``), shared by all heads.
    bytes_per_element : (...) float
        Size :math:`s` of a stored number. [byte]

    Returns
    -------
    (...) float
        Cache growth. [byte/token]

    Notes
    -----
    There is no factor 2: one vector serves keys and values. Tensor parallelism does not divide it, since every rank
    needs the whole vector.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2", 2024, sec. 2.1.4 and table 1. arXiv:2405.04434

    Examples
    --------
    DeepSeek-V3 in bf16:

    >>> latent_bytes_per_token(61, 512, 64, 2)
    70272.0
    """
    return asfloats(n_layers) * (asfloats(kv_rank) + asfloats(rope_dim)) * asfloats(bytes_per_element)


def ssm_state_bytes(
    n_layers: ArrayLike,
    inner: ArrayLike,
    state: ArrayLike,
    conv_channels: ArrayLike,
    conv_width: ArrayLike,
    bytes_per_element: ArrayLike,
) -> Floats:
    r"""Bytes of recurrent state that one sequence keeps in a selective state-space model, at any length.

    .. math:: M = L \, (d_i \, N + c \, w) \, s

    Parameters
    ----------
    n_layers : (...) int
        State-space layers :math:`L`.
    inner : (...) int
        Channels :math:`d_i` of a layer (``expand * hidden``).
    state : (...) int
        State size :math:`N` of a channel.
    conv_channels : (...) int
        Channels :math:`c` of the short convolution: ``inner`` in Mamba, ``inner + 2 * groups * state`` in Mamba-2.
    conv_width : (...) int
        Inputs :math:`w` that the short convolution keeps.
    bytes_per_element : (...) float
        Size :math:`s` of a stored number. [byte]

    Returns
    -------
    (...) float
        State of one sequence. [byte]

    References
    ----------
    .. [1] A. Gu, T. Dao, "Mamba", 2023, sec. 3. arXiv:2312.00752
    .. [2] T. Dao, A. Gu, "Transformers are SSMs", ICML 2024, sec. 7. arXiv:2405.21060

    Examples
    --------
    Mamba 2.8B (64 layers, 5120 channels, state 16, convolution 4) in fp16, the worth of a few hundred bytes a channel:

    >>> ssm_state_bytes(64, 5120, 16, 5120, 4, 2)
    13107200.0
    """
    per_layer = asfloats(inner) * asfloats(state) + asfloats(conv_channels) * asfloats(conv_width)
    return asfloats(n_layers) * per_layer * asfloats(bytes_per_element)


def kept_tokens(context: ArrayLike, window: ArrayLike = math.inf) -> Floats:
    r"""Tokens that a layer with a sliding window can still see.

    .. math:: S_w = \min(S, w)

    Parameters
    ----------
    context : (...) float
        Tokens :math:`S` of the sequence so far.
    window : (...) float
        Window :math:`w`; infinite for full attention.

    Returns
    -------
    (...) float
        Tokens kept. [token]

    References
    ----------
    .. [1] A. Q. Jiang et al., "Mistral 7B", 2023, sec. 2. arXiv:2310.06825

    Examples
    --------
    >>> kept_tokens([1000, 10_000], 4096).tolist()
    [1000.0, 4096.0]
    """
    return minimum(asfloats(context), asfloats(window))


def mean_kept_tokens(first: ArrayLike, steps: ArrayLike, window: ArrayLike = math.inf) -> Floats:
    r"""Average of :func:`kept_tokens` over the steps of a generation that begins at context ``first``.

    .. math:: \bar S_w = \frac{1}{n} \sum_{i=0}^{n-1} \min(S_0 + i, w)

    Parameters
    ----------
    first : (...) float
        Context :math:`S_0` of the first step. [token]
    steps : (...) float
        Steps :math:`n`, at least 1.
    window : (...) float
        Window :math:`w`; infinite for full attention. [token]

    Returns
    -------
    (...) float
        Mean context that a step reads. [token]

    Notes
    -----
    Exact: the sum of an arithmetic series up to the window, then a constant.

    Examples
    --------
    Contexts 2, 3, 4, 4 under a window of 4:

    >>> mean_kept_tokens(2, 4, 4)
    3.25
    """
    start, n, w = asfloats(first), asfloats(steps), asfloats(window)
    # Steps that still grow; beyond them every step reads w. An infinite window never ends the growth.
    growing = minimum(n, maximum(ceil(w - start), 0.0))
    flat = n - growing
    steady = minimum(w, start + n)  # finite stand-in for w: multiplied by zero where nothing is flat
    return (growing * start + growing * (growing - 1.0) / 2.0 + flat * steady) / n


def stored_bytes(
    token_bytes: ArrayLike, context: ArrayLike, batch: ArrayLike, shared_prefix: ArrayLike = 0.0
) -> Floats:
    r"""Bytes that a batch of sequences keeps; a prefix that all of them share is kept once.

    .. math:: M = k \, (B \, (S - p) + p)

    Parameters
    ----------
    token_bytes : (...) float
        Cache growth :math:`k`. [byte/token]
    context : (...) float
        Tokens :math:`S` of each sequence.
    batch : (...) float
        Sequences :math:`B`.
    shared_prefix : (...) float
        Tokens :math:`p` that all sequences share, at most :math:`S`.

    Returns
    -------
    (...) float
        Cache memory. [byte]

    References
    ----------
    .. [1] W. Kwon et al., "PagedAttention", SOSP 2023, sec. 4.4. arXiv:2309.06180

    Examples
    --------
    Llama 2 7B and Llama 3 8B at 2048 tokens, fp16:

    >>> stored_bytes([524288, 131072], 2048, 1).tolist()
    [1073741824.0, 268435456.0]
    """
    B, S, p = asfloats(batch), asfloats(context), asfloats(shared_prefix)
    return asfloats(token_bytes) * (B * (S - p) + p)


def read_bytes(token_bytes: ArrayLike, context: ArrayLike, batch: ArrayLike) -> Floats:
    r"""Bytes that one decode step reads from the cache: every sequence reads all that it can see.

    .. math:: R = k \, B \, S

    Parameters
    ----------
    token_bytes : (...) float
        Cache growth :math:`k`. [byte/token]
    context : (...) float
        Tokens :math:`S` that each sequence attends to (:func:`kept_tokens` under a window).
    batch : (...) float
        Sequences :math:`B`.

    Returns
    -------
    (...) float
        Traffic of one step. [byte]

    Notes
    -----
    A shared prefix is stored once but read by each sequence, unless the kernel shares the read as well.

    References
    ----------
    .. [1] R. Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023, sec. 3.3. arXiv:2211.05102

    Examples
    --------
    >>> read_bytes(131072, 1024, 32)
    4294967296.0
    """
    return asfloats(token_bytes) * asfloats(context) * asfloats(batch)


def round_to_blocks(tokens: ArrayLike, block: ArrayLike = BLOCK_TOKENS) -> Floats:
    r"""Tokens that a block allocator sets aside for ``tokens``.

    .. math:: \lceil S / b \rceil \, b

    Parameters
    ----------
    tokens : (...) float
        Tokens :math:`S` of a sequence.
    block : (...) float
        Tokens :math:`b` of a block.

    Returns
    -------
    (...) float
        Tokens allocated, less than one block above ``tokens``. [token]

    References
    ----------
    .. [1] W. Kwon et al., "PagedAttention", SOSP 2023, sec. 4.1. arXiv:2309.06180

    Examples
    --------
    >>> round_to_blocks([1, 16, 17]).tolist()
    [16.0, 16.0, 32.0]
    """
    b = asfloats(block)
    return ceil(asfloats(tokens) / b) * b


def tokens_that_fit(memory_bytes: ArrayLike, token_bytes: ArrayLike, block: ArrayLike = BLOCK_TOKENS) -> Floats:
    r"""Tokens that whole blocks of cache hold in ``memory_bytes``.

    .. math:: \lfloor M / (k b) \rfloor \, b

    Parameters
    ----------
    memory_bytes : (...) float
        Memory :math:`M` left for the cache; nothing fits in a negative rest. [byte]
    token_bytes : (...) float
        Cache growth :math:`k`. [byte/token]
    block : (...) float
        Tokens :math:`b` of a block.

    Returns
    -------
    (...) float
        Tokens. [token]

    References
    ----------
    .. [1] W. Kwon et al., "PagedAttention", SOSP 2023, sec. 4.1. arXiv:2309.06180

    Examples
    --------
    >>> tokens_that_fit(1e9, 131072)
    7616.0
    """
    b = asfloats(block)
    return -ceil(-maximum(asfloats(memory_bytes), 0.0) / (asfloats(token_bytes) * b)) * b
