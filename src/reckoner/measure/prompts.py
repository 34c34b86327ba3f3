"""Prompts of an exact length, each unlike the others, as the server itself counts tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reckoner.engines.words import WORDS
from reckoner.errors import EngineError, InputError
from reckoner.measure.wire.address import Address, request_bytes
from reckoner.measure.wire.drive import drive
from reckoner.measure.wire.load import Ask, Load, Patience
from reckoner.measure.wire.record import records_of

_PROBES = (16, 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How many tokens a prompt of so many words takes.

    Parameters
    ----------
    fixed : float
        Tokens of the template around it.
    per_word : float
        Tokens of a word.
    by : str
        "usage" as the server counts, or "words" where it does not say.
    """

    fixed: float
    per_word: float
    by: str

    def words_for(self, tokens: int) -> int:
        """Words that make so many tokens.

        Raises
        ------
        InputError
            The template alone takes more.
        """
        words = round((tokens - self.fixed) / self.per_word)
        if words < 1:
            raise InputError(
                f"prompt_tokens is {tokens}; this server's template alone takes {self.fixed:g}, so ask for more"
            )
        return words


def counting_of(address: Address, model: str, *, seed: int = 0, patience: Patience | None = None) -> Counting:
    """Ask the server how it counts, with prompts of two lengths.

    Raises
    ------
    EngineError
        It does not answer, or answers something unusable.
    """
    rng = np.random.default_rng(seed)
    asks = [Ask(content=request_bytes(address, model, opening(rng, words), 1)) for words in _PROBES]
    run = drive(address, Load(asks=asks, concurrency=1), patience=patience)
    records = records_of(run, [(0, 1)] * len(asks))
    bad = next((r for r in records if r.headers_s is None or r.state.startswith("http") or r.state == "error"), None)
    if bad is not None:
        raise EngineError(
            f"{address.shown}: {bad.state}: {bad.why or 'no answer'}; is the server up, and the model right?"
        )
    seen = [record.prompt_tokens for record in records]
    if len(seen) < len(_PROBES) or any(count is None for count in seen) or seen[0] == seen[1]:
        return Counting(fixed=0.0, per_word=1.0, by="words")
    short, long = (float(count) for count in seen if count is not None)
    per_word = (long - short) / (_PROBES[1] - _PROBES[0])
    return Counting(fixed=short - per_word * _PROBES[0], per_word=per_word, by="usage")


def prompts_of(
    counting: Counting,
    tokens: Sequence[int],
    *,
    seed: int | Sequence[int],
    shared_tokens: int = 0,
    follows: Sequence[int] | None = None,
) -> list[str]:
    """Prompts of given lengths.

    Parameters
    ----------
    counting : Counting
        How the server counts.
    tokens : sequence of int
        Lengths, template included. [token]
    seed : int or sequence of int
        Of the words; they differ from prompt to prompt, so that no prefix is found in a cache. Two runs need two seeds:
        a server's cache outlives a run.
    shared_tokens : int
        Tokens at the beginning that all prompts share.
    follows : sequence of int, optional
        Row of the turn before, -1 for none: a turn's prompt begins with all of that one's, where it is longer.

    Raises
    ------
    InputError
        A prompt is no longer than what is to be shared, or shorter than the server's template.
    """
    rng = np.random.default_rng(seed)
    some = round(shared_tokens / counting.per_word)
    shared = opening(rng, some) if some else ""
    found: list[str] = []
    for row, length in enumerate(tokens):
        words = counting.words_for(int(length))
        before = found[follows[row]] if follows is not None and follows[row] >= 0 else shared
        if before is not shared and len(before.split()) >= words:
            before = shared  # a turn that forgets what was said
        own = words - len(before.split())
        if own < 1:
            raise InputError(f"shared_tokens is {shared_tokens}; it must be less than the prompt's {length}")
        found.append(f"{before} {text(rng, own)}" if before else opening(rng, own))
    return found


def opening(rng: np.random.Generator, words: int) -> str:
    """So many words, of which the first is always the same.

    Behind a template, where no space precedes it, a vocabulary may take it apart: then at the same cost each time.
    """
    return f"{WORDS[0]} {text(rng, words - 1)}" if words > 1 else WORDS[0]


def text(rng: np.random.Generator, words: int) -> str:
    """So many words in a row, drawn at random."""
    return " ".join(np.asarray(WORDS)[rng.integers(0, len(WORDS), words)].tolist())
