"""The only room with a database: predictions, observations and decisions in one append-only, hash-chained ledger."""

from reckoner.ledger.entries import (
    DecisionEntry,
    Entry,
    Figure,
    Id,
    ObservationEntry,
    PredictionEntry,
    RawEntry,
    request,
)
from reckoner.ledger.ledger import Kept, Ledger, Pair
from reckoner.ledger.scores import Score, Tally

__all__ = [
    "DecisionEntry",
    "Entry",
    "Figure",
    "Id",
    "Kept",
    "Ledger",
    "ObservationEntry",
    "Pair",
    "PredictionEntry",
    "RawEntry",
    "Score",
    "Tally",
    "request",
]
