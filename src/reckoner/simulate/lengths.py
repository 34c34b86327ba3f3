"""Lengths of prompts and answers, drawn with a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reckoner.errors import InputError

Ints: TypeAlias = NDArray[np.int32]
Lengths: TypeAlias = Callable[[np.random.Generator, int], tuple[Ints, Ints]]
"""Draws so many pairs of prompt and answer lengths."""

LONGEST = 10_000_000
"""Tokens of the longest prompt or answer that is believed. Assumption: beyond every published context window."""


def fixed(prompt_tokens: int, output_tokens: int) -> Lengths:
    """Every request alike.

    >>> fixed(512, 128)(np.random.default_rng(0), 2)
    (array([512, 512], dtype=int32), array([128, 128], dtype=int32))
    """
    prompt, output = as_tokens("prompt_tokens", prompt_tokens), as_tokens("output_tokens", output_tokens)

    def draw(rng: np.random.Generator, n: int) -> tuple[Ints, Ints]:  # noqa: ARG001 - one signature for all
        return np.full(n, prompt, np.int32), np.full(n, output, np.int32)

    return draw


def lognormal(
    prompt_mean: float, output_mean: float, *, prompt_cv: float = 1.0, output_cv: float = 1.0, longest: int = 131072
) -> Lengths:
    """Log-normal lengths of given mean and coefficient of variation, rounded, from 1 to ``longest``."""
    for name, value in (("prompt_mean", prompt_mean), ("output_mean", output_mean)):
        if not 1.0 <= value < np.inf:
            raise InputError(f"{name} is {value!r}; it must be at least 1 token")
    for name, value in (("prompt_cv", prompt_cv), ("output_cv", output_cv)):
        if not 0.0 <= value < np.inf:
            raise InputError(f"{name} is {value!r}; it must be at least 0")

    def draw(rng: np.random.Generator, n: int) -> tuple[Ints, Ints]:
        found = []
        for mean, cv in ((prompt_mean, prompt_cv), (output_mean, output_cv)):
            variance = np.log1p(cv * cv)
            values = rng.lognormal(np.log(mean) - 0.5 * variance, np.sqrt(variance), n)
            found.append(np.clip(np.rint(values), 1, longest).astype(np.int32))
        return found[0], found[1]

    return draw


def empirical(prompt_tokens: ArrayLike, output_tokens: ArrayLike) -> Lengths:
    """Pairs drawn with replacement from those seen, so that long prompts keep their answers."""
    prompt, output = as_tokens("prompt_tokens", prompt_tokens), as_tokens("output_tokens", output_tokens)
    if prompt.ndim != 1 or prompt.shape != output.shape or prompt.size == 0:
        raise InputError(f"{prompt.size} prompts and {output.size} answers; give as many of each, at least one")

    def draw(rng: np.random.Generator, n: int) -> tuple[Ints, Ints]:
        rows = rng.integers(0, len(prompt), n)
        return prompt[rows], output[rows]

    return draw


def as_tokens(name: str, values: ArrayLike) -> Ints:
    """Whole numbers of tokens, at least 1.

    Raises
    ------
    InputError
        Names the first that is not.
    """
    numbers = np.asarray(values)
    good = (numbers >= 1) & (numbers <= LONGEST) & (numbers == np.floor(numbers))
    if not np.all(good):
        row = int(np.argmin(good)) if good.ndim else 0
        raise InputError(
            f"{name}[{row}] is {numbers[~good].flat[0]}; token counts are whole numbers from 1 to {LONGEST:,}"
        )
    return np.ascontiguousarray(numbers, dtype=np.int32)
