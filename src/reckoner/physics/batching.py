"""Batches: what sharing a step buys, how many sequences fit, and what a closed loop settles to."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, ceil, maximum


def generation_s(base_s: ArrayLike, per_token_s: ArrayLike, context: ArrayLike, steps: ArrayLike) -> Floats:
    r"""Time of ``steps`` decode steps whose cost grows by a constant with each token of context.

    .. math:: n \, a + b \left(n \, S_0 + n (n - 1) / 2\right)

    Parameters
    ----------
    base_s : (...) float
        Time :math:`a` of a step with an empty cache. [s]
    per_token_s : (...) float
        Time :math:`b` that each token of context adds. [s/token]
    context : (...) float
        Context :math:`S_0` of the first step. [token]
    steps : (...) float
        Steps :math:`n`.

    Returns
    -------
    (...) float
        Time. [s]

    Notes
    -----
    Exact: an arithmetic series, for each step sees one token more than the one before.

    Examples
    --------
    Steps of 1.0, 1.1 and 1.2 s:

    >>> round(generation_s(0.0, 0.1, 10, 3), 12)
    3.3
    """
    n = asfloats(steps)
    return n * asfloats(base_s) + asfloats(per_token_s) * (n * asfloats(context) + n * (n - 1.0) / 2.0)


def static_batch_s(prefill_s: ArrayLike, step_s: ArrayLike, output_tokens: ArrayLike) -> Floats:
    r"""End-to-end time of one batch that starts and ends together; the prefill yields the first token.

    .. math:: t_p + (n - 1) \, \bar t_d

    Parameters
    ----------
    prefill_s : (...) float
        Prefill :math:`t_p` of the whole batch. [s]
    step_s : (...) float
        Mean decode step :math:`\bar t_d`. [s]
    output_tokens : (...) float
        Tokens :math:`n` that each sequence generates, at least 1.

    Returns
    -------
    (...) float
        Time. [s]

    Notes
    -----
    A definition.

    Examples
    --------
    >>> static_batch_s(0.5, 0.01, 101)
    1.5
    """
    return asfloats(prefill_s) + (asfloats(output_tokens) - 1.0) * asfloats(step_s)


def capacity_per_s(prefill_s: ArrayLike, step_s: ArrayLike, output_tokens: ArrayLike, batch: ArrayLike) -> Floats:
    r"""Requests that one replica can sustain: each one costs its prefill and its share of the steps.

    .. math:: \lambda_{max} = \frac{1}{t_p + n \, t_d(B) / B}

    Parameters
    ----------
    prefill_s : (...) float
        Prefill :math:`t_p` of one request. [s]
    step_s : (...) float
        Decode step :math:`t_d(B)` at that batch. [s]
    output_tokens : (...) float
        Tokens :math:`n` of a request.
    batch : (...) float
        Sequences :math:`B` that share a step.

    Returns
    -------
    (...) float
        Requests. [1/s]

    Notes
    -----
    A higher batch raises capacity *and* the time of a step; capacity at batch 1 is the worst case, not the limit.

    Examples
    --------
    10 ms of prefill, 100 tokens, 8 sequences share a step of 8 ms:

    >>> round(capacity_per_s(0.010, 0.008, 100, 8), 3)
    9.091
    """
    return 1.0 / (asfloats(prefill_s) + asfloats(output_tokens) * asfloats(step_s) / asfloats(batch))


def closed_loop_tpot_s(prefill_s: ArrayLike, step_s: ArrayLike, output_tokens: ArrayLike, batch: ArrayLike) -> Floats:
    r"""Time per output token where a fixed number of clients send again as soon as they are answered.

    .. math:: t_d + \frac{(B - 1) \, t_p}{n - 1}

    Parameters
    ----------
    prefill_s : (...) float
        Prefill :math:`t_p` of one request, which holds up the other sequences. [s]
    step_s : (...) float
        Decode step :math:`t_d`. [s]
    output_tokens : (...) float
        Tokens :math:`n` of a request, at least 2.
    batch : (...) float
        Clients :math:`B`.

    Returns
    -------
    (...) float
        Mean gap between tokens. [s]

    Notes
    -----
    In the steady state every other client's request turns over once within one request's lifetime, so one lifetime
    holds B - 1 foreign prefills. A disaggregated server pays none of them.

    Examples
    --------
    >>> closed_loop_tpot_s(0.02, 0.010, 101, 11)
    0.012
    """
    foreign_s = (asfloats(batch) - 1.0) * asfloats(prefill_s)
    return asfloats(step_s) + foreign_s / (asfloats(output_tokens) - 1.0)


def response_s(clients: ArrayLike, requests_per_s: ArrayLike, think_s: ArrayLike = 0.0) -> Floats:
    r"""Response time of a closed loop, from its throughput: the interactive response time law.

    .. math:: R = N / X - Z

    Parameters
    ----------
    clients : (...) float
        Clients :math:`N`.
    requests_per_s : (...) float
        Throughput :math:`X`. [1/s]
    think_s : (...) float
        Pause :math:`Z` between an answer and the next request. [s]

    Returns
    -------
    (...) float
        Response time. [s]

    References
    ----------
    .. [1] E. D. Lazowska et al., "Quantitative System Performance", Prentice-Hall 1984, ch. 3.

    Examples
    --------
    >>> response_s(64, 16)
    4.0
    """
    return asfloats(clients) / asfloats(requests_per_s) - asfloats(think_s)


def largest_batch(memory_bytes: ArrayLike, fixed_bytes: ArrayLike, sequence_bytes: ArrayLike) -> Floats:
    r"""Sequences that fit beside what is there anyway.

    .. math:: B_{max} = \lfloor (M - W) / m \rfloor

    Parameters
    ----------
    memory_bytes : (...) float
        Memory :math:`M` in use at most. [byte]
    fixed_bytes : (...) float
        Weights and workspace :math:`W`. [byte]
    sequence_bytes : (...) float
        Cache :math:`m` of one sequence at its longest. [byte]

    Returns
    -------
    (...) float
        Sequences; 0 where not even the fixed part fits.

    Notes
    -----
    A definition: whole sequences in what is left of the memory.

    Examples
    --------
    >>> largest_batch([80e9, 10e9], 16e9, 1e9).tolist()
    [64.0, 0.0]
    """
    rest = maximum(asfloats(memory_bytes) - asfloats(fixed_bytes), 0.0)
    return -ceil(-rest / asfloats(sequence_bytes))
