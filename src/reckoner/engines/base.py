"""What an engine is: token ids in, token ids and its own timings out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What one greedy run gave.

    Attributes
    ----------
    token_ids : tuple of int
        The new tokens in order; the stop token, where one ended the run, is not among them.
    prompt_tokens : int
        Tokens processed before the first new one, those from a reused prefix included.
    prefill_s, decode_s : float or None
        Time for the prompt, and for all steps after the first new token, by the engine's own clock. [s]
    stopped : bool
        True when a stop token ended the run, False when ``max_new_tokens`` did.
    """

    token_ids: tuple[int, ...]
    prompt_tokens: int
    prefill_s: float | None
    decode_s: float | None
    stopped: bool


class Engine(Protocol):
    """Anything that continues a prompt greedily."""

    @property
    def name(self) -> str:
        """Short name that results carry: ``numpy_decoder``, ``llamacpp``."""

    def generate(self, prompt_ids: Sequence[int], *, max_new_tokens: int, stop_ids: Collection[int] = ()) -> Generation:
        """Continue ``prompt_ids`` greedily until a stop token or ``max_new_tokens``."""

    def close(self) -> None:
        """Free what the engine holds; calling it twice is harmless."""
