"""Small synthetic worlds of frozen inputs, each with an outcome that the words must fit."""

from __future__ import annotations

from reckoner.evaluate.report import Outcome, Report

TENSES = ("infinitive", "present_simple", "past_simple", "past_participle", "future")
PERSONS = ("1sg", "2sg", "3sg")
VERBS = (("go", "irregular"), ("work", "regular"), ("see", "irregular"), ("play", "regular"))
CELLS = [
    (language, verb, regularity, tense, person)
    for language in ("en", "es")
    for verb, regularity in VERBS
    for tense in TENSES
    for person in PERSONS
]
SET_HASH = "ab" * 32
FP32, INT8, LORA = "a1b2c3d4" * 8, "e5f6a7b8" * 8, "c9d0e1f2" * 8


def report(digest, right, *, set_hash=SET_HASH, choice=True):
    """A report on the 120 cells; ``right(index, cell)`` says which are answered correctly."""
    outcomes = []
    for index, cell in enumerate(CELLS):
        language, verb, regularity, tense, person = cell
        good = right(index, cell)
        outcomes.append(
            Outcome(
                id=f"{language}-{verb}-{tense}-{person}",
                language=language,
                verb=verb,
                regularity=regularity,
                tense=tense,
                person=person,
                category="core",
                split="seen" if index % 5 else "held_out",
                expected="right",
                answer="right" if good else "wrong",
                choice=("right" if good or index % 2 else "wrong") if choice else None,
                confidence=0.75 if choice else None,
                brier=0.25 if choice else None,
            )
        )
    graded = Report(
        eval_set_hash=set_hash,
        model_digest=digest,
        engine="llamacpp",
        outcomes=tuple(sorted(outcomes, key=lambda outcome: outcome.id)),
    )
    return graded.to_json()


def speed(median, spread=0.02, n=5):
    """A speed with the ends of its interval; none where there are fewer than five repeats."""
    ends = {"low": median * (1 - spread), "high": median * (1 + spread), "coverage": 0.9375}
    return {"median": median, "n": n} | (ends if n >= 5 else {"low": None, "high": None, "coverage": None})


def throughput(tokens_per_s, *, n=5, spread=0.02):
    repeat = {"requests": 100, "prompt_tokens": 1200, "new_tokens": 800, "wall_s": 800 / tokens_per_s}
    return {
        "tokens_per_s": speed(tokens_per_s, spread, n),
        "prefill_tokens_per_s": speed(tokens_per_s * 8, spread, n),
        "decode_tokens_per_s": speed(tokens_per_s * 1.25, spread, n),
        "batch": 1,
        "utilisation": 1.0,
        "repeats": [repeat] * n,
    }


def version(digest, semver, notes, tokens_per_s, right, **fields):
    return {
        "semver": semver,
        "notes": notes,
        "engine": "llamacpp",
        "throughput": throughput(tokens_per_s, **fields),
        "eval_report": report(digest, right),
    }


def world(models, **fields):
    return {
        "schema": 1,
        "rate": {
            "usd_per_hour": 0.05,
            "comment": "Amortised hardware and electricity of a laptop",
            "source": "hand-recorded, 2026-11-21",
        },
        "eval_set_hash": SET_HASH,
        "throughput_method": {
            "seconds": 60,
            "repeats": 5,
            "interleaved": True,
            "hardware": {"cpu": "Test CPU, 2 cores", "ram_gib": 8},
        },
        "choice_options": 3,
        "models": models,
    } | fields


def share(part):
    """Right on about ``part`` of the cells, spread evenly; what a lower share gets right a higher one does too."""
    return lambda index, _: (index * 37) % 100 < 100 * part


def usual():
    """INT8 has the best CpQU, the LoRA version the best accuracy, but not on past participles."""
    return world(
        {
            FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.75)),
            INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 3300.0, share(0.74)),
            LORA: version(
                LORA,
                "v0.3.0",
                "LoRA for conjugation | on v0.1.0",
                1200.0,
                lambda index, cell: cell[3] != "past_participle" or (index * 37) % 100 < 40,
            ),
        }
    )


def even():
    """Nothing can be told apart: equal answers and overlapping speeds."""
    return world(
        {
            FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.80), spread=0.1),
            INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 1450.0, share(0.80), spread=0.1),
        }
    )


def contender():
    """The most accurate version leads by one answer."""
    return world(
        {
            INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 3300.0, share(0.80)),
            LORA: version(LORA, "v0.3.0", "LoRA adapter", 1200.0, share(0.81)),
        }
    )


def guarded():
    """The cheapest version is too often wrong to be given a CpQU."""
    return world(
        {
            FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.75)),
            INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 9900.0, share(0.20)),
        }
    )


def hopeless():
    """No version is deployment-ready; one is always wrong."""
    return world(
        {
            FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.1)),
            INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 2900.0, lambda *_: False),
        }
    )


def single():
    """One version, three repeats: no interval, no comparison."""
    return world({FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.75), n=3)})


def quick():
    """A demo's three repeats: no intervals, and no choice accuracy because the inputs do not say of how many."""
    models = {
        FP32: version(FP32, "v0.1.0", "FP32 baseline", 1400.0, share(0.75), n=3),
        INT8: version(INT8, "v0.2.0", "INT8 of v0.1.0", 3300.0, share(0.74), n=3),
    }
    content = world(models)
    del content["choice_options"]
    return content


WORLDS = {make.__name__: make for make in (usual, even, contender, guarded, hopeless, single, quick)}
