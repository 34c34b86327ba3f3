"""The exception tree.

::

    ReckonerError                 everything that reckoner raises on purpose
    ├── InputError                bad input: names the field, the value seen and the remedy (also a ValueError)
    │   ├── UnknownNameError      no such device, model, version, ...; carries near misses (also a LookupError)
    │   └── MixedSetsError        rows graded on different evaluation sets
    ├── MissingFigureError        the catalogue has no such figure; lists those present (also a LookupError)
    ├── DamagedError              content does not match its digest or cannot be read whole
    ├── DoesNotFitError           a design needs more memory than its device has
    ├── CacheFullError            a KV cache was asked to hold one token too many
    ├── EngineError               an engine did not start, or answered with something unusable
    └── MissingExtraError         an optional dependency is not installed; says which extra to install

The command line prints the message on one line and exits with 2; the service answers 422 with the same sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class ReckonerError(Exception):
    """Base of every error that reckoner raises on purpose."""


class InputError(ReckonerError, ValueError):
    """Bad input. The message names the field, the value seen and the remedy."""


class UnknownNameError(InputError, LookupError):
    """A name that nothing answers to; :meth:`of` writes the sentence with near misses."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for a ``kind`` ("device") called ``name``, given the ``known`` names.

        >>> print(UnknownNameError.of("device", "h1000", ["h100", "mi300x"]))
        no device named 'h1000'. Did you mean h100?
        """
        require(kind, name, str, "give a name")
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.6)
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        elif names:
            hint = f"There are {len(names)}: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}."
        else:
            hint = "There are none yet."
        return cls(f"no {kind} named {name!r}. {hint}")


def require(field: str, value: object, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Refuse a value of another kind, naming the field, what was seen and the remedy, in one line.

    Raises
    ------
    InputError
        It is of none of ``kinds``.

    Examples
    --------
    >>> require("scheduler", 3, str, "give its name")
    Traceback (most recent call last):
        ...
    reckoner.errors.InputError: scheduler is 3; give its name
    """
    if not isinstance(value, kinds):
        seen = " ".join(repr(value).split())
        raise InputError(f"{field} is {seen if len(seen) <= _SHOWN else seen[:_SHOWN] + '...'}; {remedy}")


_SHOWN = 80


class MixedSetsError(InputError):
    """Rows that were graded on different evaluation sets stand side by side."""


class MissingFigureError(ReckonerError, LookupError):
    """The catalogue has no such figure; the message lists those that are present."""


class DamagedError(ReckonerError):
    """Stored content does not match its digest, or a file cannot be read whole."""


class DoesNotFitError(ReckonerError):
    """A design needs more memory than its device has."""


class CacheFullError(ReckonerError):
    """A KV cache was asked to hold more tokens than it was allocated for."""


class EngineError(ReckonerError):
    """An engine did not start, or answered with something unusable."""


class MissingExtraError(ReckonerError, ImportError):
    """An optional dependency is not installed; :meth:`of` says which extra brings it."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Build the error for a missing ``package`` that the ``extra`` brings.

        >>> print(MissingExtraError.of("xllamacpp", "engines"))
        xllamacpp is not installed; run: pip install 'llm-reckoner[engines]'
        """
        return cls(f"{package} is not installed; run: pip install 'llm-reckoner[{extra}]'")


_USER = re.compile(r"(://[^:@/?#]*):(.*)@", re.DOTALL)  # to the last @: a password may hold one that is not escaped
_OPTION = re.compile(r"((?:password|passwd|pwd)\s*=\s*)('[^']*'|[^&\s]*)", re.IGNORECASE)


def redacted(address: str) -> str:
    """Hide the passwords of a database's address, well formed or not, so that it can be shown.

    >>> redacted("postgresql://ann:s@cret@db/ledger?password=other&connect_timeout=1")
    'postgresql://ann:***@db/ledger?password=***&connect_timeout=1'
    """
    return _OPTION.sub(r"\1***", _USER.sub(r"\1:***@", address))


def complaint(address: str, error: Exception) -> str:
    """First line of what a driver says about an address, unless a piece of a password is in it.

    >>> complaint("postgresql://ann:s@cret@db/x", OSError("no host cret@db"))
    'the address cannot be read; write @ : / % of a password as %40 %3A %2F %25'
    """
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    found = [match[2] for pattern in (_USER, _OPTION) for match in pattern.finditer(address)]
    pieces = {piece for secret in found for piece in re.split(r"[@:/?#&=%']", secret) if len(piece) > 1}
    if any(piece in said for piece in pieces | {secret for secret in found if secret}):
        return "the address cannot be read; write @ : / % of a password as %40 %3A %2F %25"
    return said
