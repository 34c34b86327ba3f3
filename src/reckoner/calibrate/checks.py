"""Refuse what cannot be a request before any state is touched."""

from __future__ import annotations

from numbers import Real
from typing import Any

from reckoner.errors import InputError

MOST_TOKENS = 1e8
"""Largest number of tokens believed. Assumption: a hundred times the longest context sold in 2026."""

MOST_MS = 1e10
"""Longest request believed, 116 days. [ms] Assumption."""

LEAST_MS = 1e-2
"""A clock too coarse to see a request says 0; it is read as this, for times are compared by their ratio. [ms]"""


def number(field: str, value: Any, most: float, unit: str) -> float:
    """Return ``value`` as a float between 0 and ``most``.

    Raises
    ------
    InputError
        It is a boolean, no number, not finite, negative or absurd; the message names the field.

    Examples
    --------
    >>> number("prompt_tokens", 512, MOST_TOKENS, "tokens")
    512.0
    >>> number("prompt_tokens", -3, MOST_TOKENS, "tokens")
    Traceback (most recent call last):
    reckoner.errors.InputError: prompt_tokens is -3; give a number of tokens between 0 and 1e+08
    """
    kind = type(value)
    if (kind is int or kind is float) and 0 <= value <= most:
        return float(value)
    given: Any = value
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= given <= most:  # NumPy's numbers, fractions
        return float(value)
    raise InputError(f"{field} is {value!r}; give a number of {unit} between 0 and {most:g}")


def tokens(field: str, value: Any) -> float:
    """Return a token count as a float."""
    return number(field, value, MOST_TOKENS, "tokens")


def milliseconds(field: str, value: Any) -> float:
    """Return a time in milliseconds as a positive float."""
    return max(number(field, value, MOST_MS, "milliseconds"), LEAST_MS)


def name(field: str, value: Any) -> str:
    """Return a model's name.

    Raises
    ------
    InputError
        It is no text, or empty.
    """
    if isinstance(value, str) and value:
        return value
    raise InputError(f"{field} is {value!r}; give the model's name, such as 'llama-3.1-8b'")


def level(value: Any) -> float:
    """Return the probability of an interval.

    Raises
    ------
    InputError
        It does not lie between 0 and 1.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value < 1.0:
        return float(value)
    raise InputError(f"level is {value!r}; it must lie between 0 and 1, such as 0.9")
