"""What a request is assumed to cost before the first one is seen."""

from __future__ import annotations

from typing import NamedTuple

from reckoner.errors import InputError


class Prior(NamedTuple):
    """Milliseconds: fixed, per prompt token, per completion token, and per request already in flight."""

    overhead: float
    prompt: float
    completion: float
    in_flight: float


PRIORS: dict[str, Prior] = {
    "local": Prior(300.0, 0.5, 8.0, 30.0),
    "cloud": Prior(150.0, 0.05, 0.3, 30.0),
}
"""By provider. The first three numbers are the original AdaptiveCalibrator's: an 8B model in 4 bits on one machine, and
Groq's cloud. The fourth is an assumption, and only counts once requests overlap."""

CLOUD_PREFIXES = ("llama", "mixtral", "gemma", "whisper")


def guess_provider(model: str) -> str:
    """Guess the provider from a model's name, as the original did: a cloud's names have no colon.

    Only used where no provider is given: ``llama-3.1-8b`` may as well run at home.

    Examples
    --------
    >>> guess_provider("llama3-8b-8192"), guess_provider("timmy:v0.1-q4")
    ('cloud', 'local')
    """
    lower = model.lower()
    return "cloud" if lower.startswith(CLOUD_PREFIXES) and ":" not in lower else "local"


def prior_of(provider: str) -> Prior:
    """Return the prior of a provider.

    Raises
    ------
    InputError
        No such provider.
    """
    if provider in PRIORS:
        return PRIORS[provider]
    raise InputError(f"provider is {provider!r}; use {' or '.join(repr(name) for name in PRIORS)}")
