"""Designs that people are working on, kept while the server runs: a reload or a second tab finds them again.

What matters - predictions and saved audits - is in the ledger; a draft is only convenience.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

from reckoner.audit.plan import Plan

_MOST: Final = 1000
_drafts: OrderedDict[str, Plan] = OrderedDict()
_lock: Final = Lock()


def draft(person: str, otherwise: Plan) -> Plan:
    """The design that a person is working on."""
    with _lock:
        return _drafts.get(person, otherwise)


def keep(person: str, plan: Plan) -> None:
    """Remember a person's design; of more than a thousand people's, the longest untouched goes."""
    with _lock:
        _drafts[person] = plan
        _drafts.move_to_end(person)
        while len(_drafts) > _MOST:
            _drafts.popitem(last=False)
