"""Grading: a model fills every blank; exact match decides."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from math import exp
from typing import Protocol, runtime_checkable

from reckoner.engines.base import Engine
from reckoner.errors import EngineError
from reckoner.evaluate.probes import Probe, check_unique, eval_set_hash
from reckoner.evaluate.report import Outcome, Report, Sampling
from reckoner.evaluate.stats import brier
from reckoner.files import sha256

DEFAULT_SAMPLING = Sampling()
_WORD = re.compile(r"[\w'’-]*")
_DIGITS = 6  # of stored probabilities: finer ones differ between BLAS libraries (2.5e-7 in float32, seed 003's check)


class TextCodec(Protocol):
    """What grading needs of a tokenizer."""

    @property
    def eos_id(self) -> int:
        """Token that ends a text."""

    def encode(self, text: str, *, bos: bool | None = None) -> list[int]:
        """Token ids; ``bos`` says whether the begin token stands first, None leaves that to the tokenizer."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids."""


@runtime_checkable
class Scorer(Protocol):
    """An engine that tells how likely a text is."""

    def logprob(self, ids: Sequence[int], start: int) -> float:
        """Natural log-probability of ``ids[start:]`` after ``ids[:start]``."""


@runtime_checkable
class Sampler(Protocol):
    """An engine that draws continuations."""

    def sample(
        self,
        prompt_ids: Sequence[int],
        n: int,
        *,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        stop_ids: Collection[int] = (),
    ) -> Sequence[Sequence[int]]:
        """Draw ``n`` continuations; same seed, same tokens."""


def grade(
    engine: Engine,
    tokenizer: TextCodec,
    probes: Sequence[Probe],
    *,
    model_digest: str,
    sampling: Sampling | None = DEFAULT_SAMPLING,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Let ``engine`` fill every blank.

    The answer is the greedy continuation of the text before the blank, up to the next space, punctuation or end. An
    engine with ``logprob`` also weighs the candidates, an engine with ``sample`` also draws answers; what an engine
    cannot do is ``None`` in the report.

    Parameters
    ----------
    engine : Engine
        What runs the model.
    tokenizer : TextCodec
        The model's tokenizer.
    probes : sequence of Probe
        The set, in any order.
    model_digest : str
        Canonical digest of the version, for the report.
    sampling : Sampling or None
        How pass@k is sampled; None leaves it out.
    progress : callable, optional
        Told (done, total) after each probe.

    Raises
    ------
    InputError
        The set is empty, has no core probe, or an id occurs twice.
    EngineError
        The engine gave a likelihood that is no number.
    """
    check_unique(probes)
    listed = sorted(probes, key=lambda probe: probe.id)
    drawn = sampling if isinstance(engine, Sampler) else None
    core = [probe for probe in listed if probe.category == "core"]
    sampled = {} if drawn is None else {probe.id: i for i, probe in enumerate(subset(core, drawn.probes))}
    outcomes = []
    for done, probe in enumerate(listed, 1):
        choice = confidence = score = count = None
        if isinstance(engine, Scorer):
            choice, confidence, score = _weigh(engine, tokenizer, probe)
        if isinstance(engine, Sampler) and drawn is not None and probe.id in sampled:
            count = _draw(engine, tokenizer, probe, drawn, drawn.seed + sampled[probe.id])
        outcomes.append(
            Outcome(
                id=probe.id,
                language=probe.language,
                verb=probe.verb,
                regularity=probe.regularity,
                tense=probe.tense,
                person=probe.person,
                category=probe.category,
                split=probe.split,
                expected=_normal(probe.expected),
                answer=_answer(engine, tokenizer, probe),
                choice=choice,
                confidence=confidence,
                brier=score,
                sampled_correct=count,
            )
        )
        if progress is not None:
            progress(done, len(listed))
    return Report(
        eval_set_hash=eval_set_hash(listed),
        model_digest=model_digest,
        engine=engine.name,
        outcomes=tuple(outcomes),
        sampling=drawn,
    )


def first_word(text: str) -> str:
    """Text up to the first space or punctuation; an apostrophe or hyphen belongs to the word.

    >>> first_word("went home."), first_word("comió, y"), first_word(" went")
    ('went', 'comió', '')
    """
    match = _WORD.match(_normal(text))
    return match[0] if match else ""


def subset(probes: Sequence[Probe], count: int) -> tuple[Probe, ...]:
    """A fixed subset of ``count`` probes: those whose ids have the smallest SHA-256; all when there are fewer.

    It depends on no order and no seed. Even spacing would not do: a step that shares a factor with the 15 cells of a
    verb asks for the same tenses or persons again and again.

    Returns
    -------
    tuple of Probe
        Sorted by id.
    """
    chosen = sorted(probes, key=lambda probe: sha256(probe.id))[:count]
    return tuple(sorted(chosen, key=lambda probe: probe.id))


def _answer(engine: Engine, tokenizer: TextCodec, probe: Probe) -> str:
    given = engine.generate(
        tokenizer.encode(probe.before),
        max_new_tokens=_room(tokenizer, probe),
        stop_ids=(tokenizer.eos_id,),
    )
    return first_word(tokenizer.decode(given.token_ids))


def _room(tokenizer: TextCodec, probe: Probe) -> int:
    """Tokens enough for any candidate and one more, which shows whether the word ended there."""
    return max(len(tokenizer.encode(candidate, bos=False)) for candidate in probe.candidates) + 1


def _weigh(engine: Scorer, tokenizer: TextCodec, probe: Probe) -> tuple[str, float, float]:
    """Choice, its probability, and the Brier score.

    Each candidate is judged by the whole text it makes, its end included: by Bayes' rule that is its probability given
    the text on both sides of the blank, and a candidate that begins another ("go", "goes") gains nothing by it.
    """
    sentences = [[*tokenizer.encode(probe.filled(candidate)), tokenizer.eos_id] for candidate in probe.candidates]
    shared = 0
    while len({tuple(ids[: shared + 1]) for ids in sentences}) == 1:
        shared += 1
    # The shared beginning cancels; one token is the least context there is.
    scores = [engine.logprob(ids, max(shared, 1)) for ids in sentences]
    for candidate, value in zip(probe.candidates, scores, strict=True):
        if not value <= 0:  # also refuses NaN
            raise EngineError(
                f"probe {probe.id}: the log-probability of {candidate!r} is {value}; it must be at most 0"
            )
    top = max(scores)
    weights = [exp(value - top) for value in scores]
    shares = [weight / sum(weights) for weight in weights]
    best = max(range(len(shares)), key=lambda option: (shares[option], probe.candidates[option]))
    score = brier(shares, probe.candidates.index(probe.expected))
    return _normal(probe.candidates[best]), round(shares[best], _DIGITS), round(score, _DIGITS)


def _draw(engine: Sampler, tokenizer: TextCodec, probe: Probe, sampling: Sampling, seed: int) -> int:
    samples = engine.sample(
        tokenizer.encode(probe.before),
        sampling.n,
        temperature=sampling.temperature,
        max_new_tokens=_room(tokenizer, probe),
        seed=seed,
        stop_ids=(tokenizer.eos_id,),
    )
    return sum(first_word(tokenizer.decode(ids)) == _normal(probe.expected) for ids in samples)


def _normal(text: str) -> str:
    """One spelling for é however it is encoded."""
    return unicodedata.normalize("NFC", text)
