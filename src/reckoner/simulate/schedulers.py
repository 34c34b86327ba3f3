"""Schedulers, named after what engines do: which requests share a step, and who waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reckoner.errors import InputError, UnknownNameError
from reckoner.physics.kvcache import BLOCK_TOKENS

MOST = 10_000_000
"""Largest limit of a scheduler; a table of the cost of a step has an entry for each (assumption)."""

ROUTINGS = ("round-robin", "least-loaded", "prefix-aware")


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuous:
    """Continuous batching with chunked prefill: each step has a token budget, decodes first (vLLM V1, SGLang).

    Parameters
    ----------
    max_seqs : int
        Requests that are worked on at once; vLLM's ``max_num_seqs``. :func:`as_served_on` knows its defaults.
    token_budget : int
        Tokens of a step, decodes and chunks together; vLLM's ``max_num_batched_tokens``.
    block_tokens : int
        Tokens of a block of the KV cache; 16 in vLLM (``CacheConfig.DEFAULT_BLOCK_SIZE``, vllm/config/cache.py at
        002f10e0, read 2026-11-21).
    watermark : float
        Share of the blocks that an admission leaves free; 0.01 in vLLM V0 (``BlockSpaceManager``), none in V1.
        [0 to below 1]
    whole_prompt : bool
        Admit a request only when blocks for its whole prompt are free; else for its first chunk.
    recall : bool
        A preempted request finds its first blocks in the prefix cache again, less as many as were handed out since
        (vLLM V1, which caches prefixes by default); else, and without ``whole_prompt``, it computes everything anew.
    routing : str
        How replicas share arrivals: one of :data:`ROUTINGS`.

    Raises
    ------
    InputError
        A number is out of range, or the budget is smaller than ``max_seqs``.
    """

    max_seqs: int = 256
    token_budget: int = 8192
    block_tokens: int = BLOCK_TOKENS
    watermark: float = 0.0
    whole_prompt: bool = True
    recall: bool = True
    routing: str = "round-robin"

    def __post_init__(self) -> None:
        """Hold the invariants of a scheduler."""
        for name in ("max_seqs", "token_budget", "block_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= MOST:
                raise InputError(f"{name} is {value!r}; it must be a whole number from 1 to {MOST:,}")
        if self.token_budget < self.max_seqs:
            raise InputError(
                f"token_budget is {self.token_budget}, below max_seqs {self.max_seqs}; each decode needs a token"
            )
        if not 0.0 <= self.watermark < 1.0:
            raise InputError(f"watermark is {self.watermark!r}; it must be from 0 to below 1, such as 0.01")
        if self.routing not in ROUTINGS:
            raise UnknownNameError.of("routing", self.routing, ROUTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillFirst(Continuous):
    """Continuous batching in which whole prompts go first and the decodes stall meanwhile (vLLM V0, TGI).

    ``token_budget`` bounds the prompts of one pass; a longer prompt goes alone.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """Static batching: wait for a full batch, pad it to its longest prompt, answer it when its longest answer ends.

    Parameters
    ----------
    batch : int
        Requests of a batch; the last batch may be smaller.
    max_wait_s : float, optional
        Longest wait of a batch's first request before a smaller batch starts; None waits for a full one. [s]
    """

    batch: int = 8
    max_wait_s: float | None = None

    def __post_init__(self) -> None:
        """Hold the invariants of a scheduler."""
        if not isinstance(self.batch, int) or not 1 <= self.batch <= MOST:
            raise InputError(f"batch is {self.batch!r}; it must be a whole number from 1 to {MOST:,}")
        if self.max_wait_s is not None and not 0.0 <= self.max_wait_s < float("inf"):
            raise InputError(f"max_wait_s is {self.max_wait_s!r}; it must be at least 0, or absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic(Static):
    """Dynamic batching: as static, but a batch starts at the latest when its first request has waited long enough.

    The default of 50 ms is an assumption.
    """

    max_wait_s: float | None = 0.05


LARGE_BYTES = 70 * 2.0**30
"""Memory from which vLLM takes a GPU for a large one; an A100 is none, whatever it has (``get_batch_defaults`` in
vllm/engine/arg_utils.py; read 2026-11-21)."""


def as_served_on(device_name: str, memory_bytes: float) -> Continuous:
    """Limits that vLLM's server chooses by the device, where none are given.

    Parameters
    ----------
    device_name : str
        Such as "nvidia-h100-sxm".
    memory_bytes : float
        That a process finds on it. [byte]

    Notes
    -----
    1024 sequences and 8192 tokens on a large GPU, 256 and 2048 on others: the values of ``OPENAI_API_SERVER`` in
    ``get_batch_defaults`` (vllm/engine/arg_utils.py; read 2026-11-21). Other engines have limits of their own,
    which are not known here.

    Examples
    --------
    >>> as_served_on("nvidia-h100-sxm", 84.8e9).max_seqs, as_served_on("nvidia-a100-80gb", 84.8e9).token_budget
    (1024, 2048)
    """
    if memory_bytes >= LARGE_BYTES and "a100" not in device_name:
        return Continuous(max_seqs=1024, token_budget=8192)
    return Continuous(max_seqs=256, token_budget=2048)


Scheduler: TypeAlias = Continuous | Static
"""Any of the four."""
