"""The key-value cache: one block of memory taken once, filled from the front."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from reckoner.errors import CacheFullError, InputError


class KVCache:
    """Keys and values of the tokens seen so far, for every layer.

    Memory is taken whole at construction and not touched: pages become resident as tokens arrive. For arrays of 4 MiB
    and more NumPy asks Linux for huge pages, so that the resident size grows in steps of 2 MiB; set
    ``NUMPY_MADVISE_HUGEPAGE=0`` in a process that measures it.

    Parameters
    ----------
    n_layers, n_kv_heads, head_dim : int
        Shape of the decoder; key-value heads, not query heads.
    max_tokens : int
        Capacity of each sequence [token].
    dtype : dtype
        Of the stored keys and values; kept whatever is appended.
    batch : int
        Sequences that grow in step.

    Examples
    --------
    >>> cache = KVCache(4, 2, 16, 1024, np.float32)
    >>> cache.cursor, cache.bytes_used(), cache.bytes_allocated()
    (0, 0, 1048576)
    """

    def __init__(
        self, n_layers: int, n_kv_heads: int, head_dim: int, max_tokens: int, dtype: DTypeLike, batch: int = 1
    ) -> None:
        named = {
            "n_layers": n_layers,
            "n_kv_heads": n_kv_heads,
            "head_dim": head_dim,
            "max_tokens": max_tokens,
            "batch": batch,
        }
        for name, value in named.items():
            if value < 1:
                raise InputError(f"KVCache: {name} is {value}; it must be at least 1")
        # Head-major, so that one head's keys are contiguous and a decode step streams them.
        self._keys, self._values = np.empty((2, n_layers, batch, n_kv_heads, max_tokens, head_dim), dtype)
        self._cursor = 0
        self._max_tokens = max_tokens
        self._batch = batch

    @property
    def cursor(self) -> int:
        """Tokens held by each sequence [token]."""
        return self._cursor

    @property
    def max_tokens(self) -> int:
        """Capacity of each sequence [token]."""
        return self._max_tokens

    @property
    def batch(self) -> int:
        """Sequences that grow in step."""
        return self._batch

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Data type of what is stored."""
        return self._keys.dtype

    def append(
        self, layer: int, keys: NDArray[np.floating[Any]], values: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Store the keys and values of n new tokens and return all that the layer holds now.

        The cursor moves when the last layer has them: append to the layers in order.

        Parameters
        ----------
        layer : int
        keys, values : (batch, n_kv_heads, n, head_dim) float

        Returns
        -------
        keys, values : (batch, n_kv_heads, cursor + n, head_dim)
            Views of the filled part.

        Raises
        ------
        CacheFullError
            Capacity would be passed; nothing is stored.
        """
        end = self._cursor + keys.shape[2]
        self.require(keys.shape[2])
        self._keys[layer, :, :, self._cursor : end] = keys
        self._values[layer, :, :, self._cursor : end] = values
        if layer == len(self._keys) - 1:
            self._cursor = end
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def require(self, n: int) -> None:
        """Raise :class:`CacheFullError` unless ``n`` more tokens fit."""
        if self._cursor + n > self.max_tokens:
            raise CacheFullError(
                f"the KV cache holds {self.max_tokens} tokens, {self._cursor} are used and {n} more were asked for; "
                f"allocate max_tokens of at least {self._cursor + n}, or shorten the prompt or the answer"
            )

    def rewind(self, tokens: int = 0) -> None:
        """Forget all but the first ``tokens`` tokens; memory stays allocated."""
        if not 0 <= tokens <= self._cursor:
            raise InputError(f"KVCache: cannot rewind to {tokens}; choose 0 to {self._cursor}")
        self._cursor = tokens

    def bytes_allocated(self) -> int:
        """Bytes taken at construction [byte]."""
        return self._keys.nbytes + self._values.nbytes

    def bytes_used(self) -> int:
        """Bytes that hold tokens: allocated x cursor / capacity [byte]."""
        return self.bytes_allocated() // self.max_tokens * self._cursor

    def bytes_touched(self, page_bytes: int = 4096) -> int:
        """Bytes of the memory pages that the tokens lie on: what a fresh process has resident for them [byte].

        Each head of each layer is a run of its own, so at least one page each (fewer where runs share one).
        """
        if self._cursor == 0:
            return 0
        run = self._max_tokens * self._keys.shape[4] * self._keys.itemsize
        runs = np.arange(self._keys.nbytes // run) * run
        starts = np.sort(np.concatenate([part.ctypes.data + runs for part in (self._keys, self._values)]))
        ends = starts + self._cursor * self._keys.shape[4] * self._keys.itemsize - 1
        first, last = starts // page_bytes, ends // page_bytes
        # In ascending order a page counts twice only when a run begins on the page where the one before it ended.
        return int((last - first + 1).sum() - (first[1:] == last[:-1]).sum()) * page_bytes
