"""Several devices: what collectives cost, what pipelines idle, and what it takes to ship a KV cache."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, ceil, log2, maximum, minimum


def ring_all_reduce_s(
    payload_bytes: ArrayLike, ranks: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0
) -> Floats:
    r"""Time of a ring all-reduce: reduce-scatter, then all-gather.

    .. math:: 2 (N - 1) \left(\alpha + \frac{M}{N \beta}\right)

    Parameters
    ----------
    payload_bytes : (...) float
        Bytes :math:`M` that every rank holds. [byte]
    ranks : (...) int
        Ranks :math:`N`.
    link_bytes_per_s : (...) float
        Bandwidth :math:`\beta` of a rank in one direction. [byte/s]
    latency_s : (...) float
        Latency :math:`\alpha` of a message. [s]

    Returns
    -------
    (...) float
        Time; 0 for a single rank. [s]

    References
    ----------
    .. [1] P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69(2), 2009.
       doi:10.1016/j.jpdc.2008.09.002

    Examples
    --------
    1 MB over 8 ranks of 450 GB/s: 3.9 us on the wire.

    >>> round(ring_all_reduce_s(1e6, 8, 450e9) * 1e6, 2)
    3.89
    """
    N = asfloats(ranks)
    return 2.0 * (N - 1.0) * (asfloats(latency_s) + asfloats(payload_bytes) / (N * asfloats(link_bytes_per_s)))


def tree_all_reduce_s(
    payload_bytes: ArrayLike, ranks: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0
) -> Floats:
    r"""Time of an all-reduce by recursive doubling: fewest messages, hence the choice for small payloads.

    .. math:: \lceil \log_2 N \rceil \left(\alpha + M / \beta\right)

    Parameters
    ----------
    payload_bytes : (...) float
        Bytes :math:`M` that every rank holds. [byte]
    ranks : (...) int
        Ranks :math:`N`.
    link_bytes_per_s : (...) float
        Bandwidth :math:`\beta` of a rank in one direction. [byte/s]
    latency_s : (...) float
        Latency :math:`\alpha` of a message. [s]

    Returns
    -------
    (...) float
        Time; 0 for a single rank. [s]

    References
    ----------
    .. [1] R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in MPICH",
       IJHPCA 19(1), 2005, sec. 4. doi:10.1177/1094342005051521

    Examples
    --------
    8 kB over 8 ranks, 5 us a message: three rounds.

    >>> round(tree_all_reduce_s(8192, 8, 450e9, 5e-6) * 1e6, 2)
    15.05
    """
    rounds = ceil(log2(asfloats(ranks)))
    return rounds * (asfloats(latency_s) + asfloats(payload_bytes) / asfloats(link_bytes_per_s))


def all_reduce_s(
    payload_bytes: ArrayLike, ranks: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0
) -> Floats:
    r"""Time of an all-reduce by the faster of ring and tree, as collective libraries choose.

    Parameters
    ----------
    payload_bytes, ranks, link_bytes_per_s, latency_s
        As in :func:`ring_all_reduce_s`.

    Returns
    -------
    (...) float
        Time. [s]

    Notes
    -----
    Assumption: a library picks the better of the two for each message.

    Examples
    --------
    >>> all_reduce_s(8192, 8, 450e9, 5e-6) == tree_all_reduce_s(8192, 8, 450e9, 5e-6)
    True
    """
    ring = ring_all_reduce_s(payload_bytes, ranks, link_bytes_per_s, latency_s)
    return minimum(ring, tree_all_reduce_s(payload_bytes, ranks, link_bytes_per_s, latency_s))


def all_gather_s(
    payload_bytes: ArrayLike, ranks: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0
) -> Floats:
    r"""Time of a ring all-gather (or reduce-scatter): half a ring all-reduce.

    .. math:: (N - 1) \left(\alpha + \frac{M}{N \beta}\right)

    Parameters
    ----------
    payload_bytes : (...) float
        Bytes :math:`M` of the whole result. [byte]
    ranks, link_bytes_per_s, latency_s
        As in :func:`ring_all_reduce_s`.

    Returns
    -------
    (...) float
        Time. [s]

    References
    ----------
    .. [1] Thakur et al., IJHPCA 19(1), 2005, sec. 4.1. doi:10.1177/1094342005051521

    Examples
    --------
    >>> all_gather_s(8e9, 8, 1e9)
    7.0
    """
    return ring_all_reduce_s(payload_bytes, ranks, link_bytes_per_s, latency_s) / 2.0


def all_to_all_s(
    payload_bytes: ArrayLike, ranks: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0
) -> Floats:
    r"""Time of an all-to-all by pairwise exchange.

    .. math:: (N - 1) \left(\alpha + \frac{M}{N \beta}\right)

    Parameters
    ----------
    payload_bytes : (...) float
        Bytes :math:`M` that each rank has to hand out, one N-th of them to itself. [byte]
    ranks, link_bytes_per_s, latency_s
        As in :func:`ring_all_reduce_s`.

    Returns
    -------
    (...) float
        Time. [s]

    References
    ----------
    .. [1] Thakur et al., IJHPCA 19(1), 2005, sec. 4.3. doi:10.1177/1094342005051521

    Examples
    --------
    >>> all_to_all_s(8e9, 8, 1e9)
    7.0
    """
    return all_gather_s(payload_bytes, ranks, link_bytes_per_s, latency_s)


def tensor_parallel_bytes(n_layers: ArrayLike, tokens: ArrayLike, hidden: ArrayLike, size: ArrayLike) -> Floats:
    r"""Payload of all all-reduces of one step under tensor parallelism: two a layer.

    .. math:: 2 \, L \, T \, d \, s

    Parameters
    ----------
    n_layers : (...) int
        Layers :math:`L`.
    tokens : (...) float
        Tokens :math:`T` in the step.
    hidden : (...) int
        Width :math:`d`.
    size : (...) float
        Bytes :math:`s` of an activation. [byte]

    Returns
    -------
    (...) float
        Bytes summed over :math:`2 L` messages. [byte]

    References
    ----------
    .. [1] M. Shoeybi et al., "Megatron-LM", 2019, sec. 3. arXiv:1909.08053

    Examples
    --------
    Llama 3.1 8B, 32 tokens in bf16: 64 messages of 262 kB.

    >>> tensor_parallel_bytes(32, 32, 4096, 2) / 64
    262144.0
    """
    return 2.0 * asfloats(n_layers) * asfloats(tokens) * asfloats(hidden) * asfloats(size)


def expert_parallel_bytes(
    n_layers: ArrayLike, tokens: ArrayLike, hidden: ArrayLike, size: ArrayLike, n_active: ArrayLike
) -> Floats:
    r"""Bytes that one rank hands out in a step under expert parallelism: dispatch and combine, k copies of a token.

    .. math:: 2 \, L \, T \, k \, d \, s

    Parameters
    ----------
    n_layers : (...) int
        Layers :math:`L` with routed experts.
    tokens : (...) float
        Tokens :math:`T` of this rank in the step.
    hidden : (...) int
        Width :math:`d`.
    size : (...) float
        Bytes :math:`s` of an activation. [byte]
    n_active : (...) float
        Experts :math:`k` a token.

    Returns
    -------
    (...) float
        Bytes summed over :math:`2 L` all-to-alls. [byte]

    References
    ----------
    .. [1] D. Lepikhin et al., "GShard", ICLR 2021, sec. 3.2. arXiv:2006.16668

    Examples
    --------
    >>> expert_parallel_bytes(58, 1, 7168, 2, 8)
    13303808.0
    """
    return tensor_parallel_bytes(n_layers, tokens, hidden, size) * asfloats(n_active)


def kv_heads_per_rank(n_kv_heads: ArrayLike, tp: ArrayLike) -> Floats:
    r"""Key-value heads that each tensor-parallel rank keeps; with more ranks than heads, heads are replicated.

    .. math:: \max(1, \lceil H_{kv} / N \rceil)

    Parameters
    ----------
    n_kv_heads : (...) int
        Key-value heads :math:`H_{kv}` of the model.
    tp : (...) int
        Ranks :math:`N`.

    Returns
    -------
    (...) float
        Heads a rank.

    References
    ----------
    .. [1] R. Pope et al., "Efficiently Scaling Transformer Inference", MLSys 2023, sec. 3.3. arXiv:2211.05102

    Examples
    --------
    >>> kv_heads_per_rank(8, [1, 4, 8, 16]).tolist()
    [8.0, 2.0, 1.0, 1.0]
    """
    return maximum(ceil(asfloats(n_kv_heads) / asfloats(tp)), 1.0)


def pipeline_bubble(stages: ArrayLike, microbatches: ArrayLike) -> Floats:
    r"""Share of time that a pipeline idles while it fills and drains.

    .. math:: \frac{p - 1}{m + p - 1}

    Parameters
    ----------
    stages : (...) int
        Stages :math:`p`.
    microbatches : (...) int
        Micro-batches :math:`m`.

    Returns
    -------
    (...) float
        Idle share, 0 to 1.

    References
    ----------
    .. [1] Y. Huang et al., "GPipe", NeurIPS 2019, sec. 2.3. arXiv:1811.06965

    Examples
    --------
    >>> pipeline_bubble(4, 4)
    0.42857142857142855
    """
    p = asfloats(stages)
    return (p - 1.0) / (asfloats(microbatches) + p - 1.0)


def pipeline_s(stage_s: ArrayLike, stages: ArrayLike, microbatches: ArrayLike, hop_s: ArrayLike = 0.0) -> Floats:
    r"""Time for micro-batches to pass a pipeline of equal stages.

    .. math:: (m + p - 1) \, t + (p - 1) \, h

    Parameters
    ----------
    stage_s : (...) float
        Time :math:`t` of one micro-batch in one stage. [s]
    stages, microbatches : (...) int
        Stages :math:`p` and micro-batches :math:`m`.
    hop_s : (...) float
        Transfer :math:`h` between neighbouring stages; later ones overlap with work. [s]

    Returns
    -------
    (...) float
        Time until the last micro-batch leaves. [s]

    References
    ----------
    .. [1] Y. Huang et al., "GPipe", NeurIPS 2019, sec. 2.3. arXiv:1811.06965

    Examples
    --------
    >>> pipeline_s(1.0, 4, 8)
    11.0
    """
    p = asfloats(stages)
    return (asfloats(microbatches) + p - 1.0) * asfloats(stage_s) + (p - 1.0) * asfloats(hop_s)


def transfer_s(payload_bytes: ArrayLike, link_bytes_per_s: ArrayLike, latency_s: ArrayLike = 0.0) -> Floats:
    r"""Time of one message between two devices: a pipeline hop, or a KV cache from a prefill to a decode server.

    .. math:: \alpha + M / \beta

    Parameters
    ----------
    payload_bytes : (...) float
        Bytes :math:`M`. [byte]
    link_bytes_per_s : (...) float
        Bandwidth :math:`\beta` in that direction. [byte/s]
    latency_s : (...) float
        Latency :math:`\alpha`. [s]

    Returns
    -------
    (...) float
        Time. [s]

    References
    ----------
    .. [1] R. W. Hockney, "The communication challenge for MPP", Parallel Computing 20(3), 1994.
       doi:10.1016/S0167-8191(06)80021-9

    Examples
    --------
    4096 tokens of Llama 3.1 8B (537 MB) over 400 Gbit/s:

    >>> round(transfer_s(4096 * 131072, 50e9) * 1e3, 2)
    10.74
    """
    return asfloats(latency_s) + asfloats(payload_bytes) / asfloats(link_bytes_per_s)


def disaggregated_per_s(
    prefill_servers: ArrayLike,
    prefill_s: ArrayLike,
    decode_servers: ArrayLike,
    decode_per_s: ArrayLike,
    transfer: ArrayLike = 0.0,
) -> Floats:
    r"""Requests that separate prefill and decode servers sustain together: the slower side decides.

    .. math:: \min\left(\frac{n_p}{\max(t_p, t_x)}, \; n_d \, \lambda_d\right)

    Parameters
    ----------
    prefill_servers, decode_servers : (...) int
        Servers :math:`n_p` and :math:`n_d`.
    prefill_s : (...) float
        Prefill :math:`t_p` of one request. [s]
    decode_per_s : (...) float
        Requests :math:`\lambda_d` that a decode server completes, without any prefill. [1/s]
    transfer : (...) float
        Time :math:`t_x` to ship one request's cache; overlaps with the next prefill. [s]

    Returns
    -------
    (...) float
        Requests. [1/s]

    References
    ----------
    .. [1] Y. Zhong et al., "DistServe", OSDI 2024, sec. 4. arXiv:2401.09670

    Examples
    --------
    >>> disaggregated_per_s(2, 0.1, 1, 30.0)
    20.0
    """
    busy_s = maximum(asfloats(prefill_s), asfloats(transfer))
    return minimum(asfloats(prefill_servers) / busy_s, asfloats(decode_servers) * asfloats(decode_per_s))
