"""What a prefix cache saves: blocks looked up in arrival order, the least recently used one leaving first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reckoner.errors import InputError

HASH_TOKENS = 512
"""Tokens of a hashed block in Mooncake's traces (kvcache-ai/Mooncake, FAST25-release, 2025-02)."""


def cached_blocks(prompts: Sequence[Sequence[str]], capacity: int) -> NDArray[np.int64]:
    """Leading blocks of each prompt that an earlier one has left in the cache.

    Parameters
    ----------
    prompts : sequence of sequence of str
        Blocks by content, in order of arrival.
    capacity : int
        Blocks that the cache holds.

    Returns
    -------
    (n,) int
        Blocks found, from the first one on.

    Notes
    -----
    Blocks are taken as cached from the arrival on, not from the end of the prefill: requests that overlap in time find
    a little too much.

    Examples
    --------
    >>> cached_blocks([["a", "b"], ["a", "c"], ["b", "a"]], 8).tolist()
    [0, 1, 2]
    >>> cached_blocks([["a", "b"], ["c"], ["a"]], 2).tolist()
    [0, 0, 0]
    """
    if capacity < 1:
        raise InputError(f"capacity is {capacity} blocks; a cache holds at least one")
    held: OrderedDict[str, None] = OrderedDict()
    found = np.zeros(len(prompts), np.int64)
    for row, blocks in enumerate(prompts):
        hit = 0
        while hit < len(blocks) and blocks[hit] in held:
            hit += 1
        found[row] = hit
        for block in blocks:
            held[block] = None
            held.move_to_end(block)
        while len(held) > capacity:
            held.popitem(last=False)
    return found
