"""Who looks at a page, and where the page finds what it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reckoner.errors import InputError

if TYPE_CHECKING:
    from reckoner.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the pages find what they show.

    Parameters
    ----------
    ledger : str
        A file or a ``postgresql://`` address; made at the first entry.
    curves : Path
        Folder that ``reckoner curves`` wrote.
    prices : Path
        Folder with ``cost_inputs.json``.
    """

    ledger: str
    curves: Path
    prices: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One person's look at a page."""

    person: str
    sources: Sources

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The ledger, open for as long as it is needed."""
        from reckoner.ledger import Ledger

        with Ledger.open(self.sources.ledger) as ledger:
            yield ledger

    def to_meta(self) -> dict[str, str]:
        """Texts that travel with the request; :meth:`of` reads them."""
        return {
            "person": self.person,
            "ledger": self.sources.ledger,
            "curves": str(self.sources.curves),
            "prices": str(self.sources.prices),
        }

    @classmethod
    def of(cls, meta: Mapping[str, Any] | None) -> Visit:
        """The visit that the gate wrote into the request.

        Raises
        ------
        InputError
            The page runs without the gate, so nobody knows whose it is.
        """
        try:
            told = dict(meta or {})
            sources = Sources(ledger=told["ledger"], curves=Path(told["curves"]), prices=Path(told["prices"]))
            return cls(person=told["person"], sources=sources)
        except KeyError as error:
            raise InputError(f"the request does not say {error}; open the page through: reckoner app") from error


def person_of(token: str) -> str:
    """Name of the person behind a cookie: a digest, so that the ledger never shows the cookie itself.

    >>> person_of("ab" * 16)
    'person-d2f9fa9d99bb'
    """
    return f"person-{hashlib.sha256(token.encode()).hexdigest()[:12]}"
