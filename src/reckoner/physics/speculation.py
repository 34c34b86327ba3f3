"""Speculative decoding: a cheap draft proposes, one step of the target verifies."""

from __future__ import annotations

from numpy.typing import ArrayLike

from reckoner.physics.arrays import Floats, asfloats, where


def expected_tokens(acceptance: ArrayLike, draft_tokens: ArrayLike) -> Floats:
    r"""Tokens that one verification yields on average.

    .. math:: \frac{1 - a^{k+1}}{1 - a} = \sum_{i=0}^{k} a^i

    Parameters
    ----------
    acceptance : (...) float
        Probability :math:`a` that a drafted token is accepted, 0 to 1, each independent of the others.
    draft_tokens : (...) float
        Tokens :math:`k` drafted.

    Returns
    -------
    (...) float
        Tokens, from 1 (nothing accepted) to :math:`k + 1`.

    References
    ----------
    .. [1] Y. Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", ICML 2023, eq. 1.
       arXiv:2211.17192

    Examples
    --------
    >>> expected_tokens([0.0, 0.5, 1.0], 3).tolist()
    [1.0, 1.875, 4.0]
    """
    a, k = asfloats(acceptance), asfloats(draft_tokens)
    sure = a >= 1.0
    return where(sure, k + 1.0, (1.0 - a ** (k + 1.0)) / where(sure, 1.0, 1.0 - a))


def speedup(acceptance: ArrayLike, draft_tokens: ArrayLike, cost_ratio: ArrayLike) -> Floats:
    r"""Speed-up in wall time over plain decoding.

    .. math:: \frac{1 - a^{k+1}}{(1 - a)(k c + 1)}

    Parameters
    ----------
    acceptance : (...) float
        Acceptance :math:`a`, 0 to 1.
    draft_tokens : (...) float
        Tokens :math:`k` drafted.
    cost_ratio : (...) float
        Time :math:`c` of a draft step over one of the target.

    Returns
    -------
    (...) float
        Speed-up; below 1 where drafting costs more than it saves.

    Notes
    -----
    Holds while verifying k + 1 tokens takes as long as one token: memory-bound, small batches.

    References
    ----------
    .. [1] Y. Leviathan et al., ICML 2023, theorem 3.8. arXiv:2211.17192

    Examples
    --------
    >>> round(speedup(0.8, 5, 0.05), 3)
    2.951
    """
    return expected_tokens(acceptance, draft_tokens) / (asfloats(draft_tokens) * asfloats(cost_ratio) + 1.0)
