from reckoner.evaluate import Outcome, Probe, Report


def make_probe(id="p1", **changes):
    values = {
        "id": id,
        "language": "en",
        "verb": "go",
        "regularity": "irregular",
        "tense": "past_simple",
        "person": "1sg",
        "prompt": "yesterday I ___ home.",
        "candidates": ("goed", "went", "gone"),
        "expected": "went",
        "label": "correct",
        "category": "core",
        "split": "seen",
    }
    return Probe(**{**values, **changes})


def make_outcome(id, correct, **changes):
    values = {
        "id": id,
        "language": "en",
        "verb": "go",
        "regularity": "irregular",
        "tense": "past_simple",
        "person": "1sg",
        "category": "core",
        "split": "seen",
        "expected": "went",
        "answer": "went" if correct else "goed",
    }
    return Outcome(**{**values, **changes})


def make_report(verdicts, eval_set_hash="e" * 64, digest="d" * 64, **changes):
    outcomes = tuple(make_outcome(f"p{i:04}", verdict, **changes) for i, verdict in enumerate(verdicts))
    return Report(eval_set_hash=eval_set_hash, model_digest=digest, engine="fake", outcomes=outcomes)


class CharTokenizer:
    """One token a character; 0 ends a text, 1 begins it."""

    eos_id = 0

    def encode(self, text, *, bos=None):
        return ([] if bos is False else [1]) + [ord(c) for c in text]

    def decode(self, ids):
        return "".join(chr(i) for i in ids if i > 1)
