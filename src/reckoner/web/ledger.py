"""The Ledger page: history, search, one entry in full, the chain checked, everything to take away."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Final

from reckoner.errors import ReckonerError
from reckoner.ledger import Ledger
from reckoner.ledger.exchange import export_lines
from reckoner.ledger.ledger import Kept
from reckoner.ledger.verify import verify
from reckoner.report.forecast_text import ENTRY_COLUMNS, entry_row
from reckoner.report.tables import Table
from reckoner.web.views import block, note

EVERY: Final = "all"
KINDS: Final = (EVERY, "prediction", "observation", "decision", "tally", "seal", "import")
LAST: Final = (20, 100, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Entries that a search found.

    Attributes
    ----------
    looked : int
        How many of the newest entries were looked through.
    """

    kept: tuple[Kept, ...]
    looked: int
    total: int


def search(ledger: Ledger, *, kind: str = EVERY, text: str = "", last: int = LAST[0]) -> Found:
    """The newest entries of a kind whose id, time, subject or content hold a text, in either case."""
    kept = tuple(ledger.entries(kind=None if kind == EVERY else kind, newest=last))
    wanted = text.strip().lower()
    if wanted:
        hits = tuple(one for one in kept if wanted in f"{one.id} {one.at} {json.dumps(one.body)}".lower())
        return Found(kept=hits, looked=len(kept), total=len(ledger))
    return Found(kept=kept, looked=len(kept), total=len(ledger))


def show(found: Found) -> str:
    """The entries as a table, newest first."""
    if not found.total:
        return note(
            "The ledger is empty. Lock a prediction on the Audit page, or record something with `reckoner record`.",
            "unknown",
        )
    if not found.kept:
        return note(
            f"Nothing found among the {found.looked} newest entries. Look through more, or for less.", "unknown"
        )
    rows = tuple(tuple(entry_row(one)) for one in reversed(found.kept))
    return block(
        (f"{len(found.kept)} of {found.total} entries, newest first.", Table(headers=ENTRY_COLUMNS, rows=rows)),
        title="History",
    )


def detail(ledger: Ledger, text: str) -> str:
    """One entry in full, by its number, id or the first digits of its hash; empty where none is asked for."""
    if not text.strip():
        return ""
    try:
        kept = ledger.find(text.strip())
    except ReckonerError as error:
        return note(str(error), "fail")
    told = html.escape(json.dumps(kept.to_json(), indent=2, sort_keys=True, ensure_ascii=False))
    return (
        f'<section class="rk" aria-label="Entry"><h2>Entry {html.escape(str(kept.id))}</h2><pre>{told}</pre></section>'
    )


def checked(ledger: Ledger) -> str:
    """The whole chain hashed again, as ``reckoner ledger verify`` does."""
    found = verify(ledger)
    if found.ok:
        return note(f"{found.checked} entries checked: every entry is as it was written. Head {found.head}.", "pass")
    return note("The chain is broken: " + "; ".join(map(str, found.problems)), "fail")


def exported(ledger: Ledger) -> bytes:
    """Every entry as canonical JSONL, as ``reckoner ledger export`` writes it."""
    return "".join(export_lines(ledger)).encode()
