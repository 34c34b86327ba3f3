"""The protocol of the audit: predict, lock, look, compare, reflect, save once on purpose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reckoner.audit.plan import ServedTier
from reckoner.audit.plan_file import plan_to_dict
from reckoner.audit.report_card import ReportCard
from reckoner.audit.run import Audit
from reckoner.errors import InputError, UnknownNameError
from reckoner.ledger import Id, Ledger

CHAPTER = 16
"""The audit's own chapter in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with four options and a bounded number.

    Parameters
    ----------
    act : int
        1 or 2.
    asks : str
        The question about the options.
    options : mapping of str to str
        By key.
    figure, unit : str
        Name of the number in the ledger, and its unit.
    asks_figure : str
        The question about the number.
    least, most : float
        Bounds of the number.
    """

    act: int
    asks: str
    options: Mapping[str, str]
    figure: str
    unit: str
    asks_figure: str
    least: float
    most: float


ACT_1 = Question(
    act=1,
    asks="Looking back at Labs 01-15: which invariant did you underestimate most often?",
    options={
        "memory_bw": "Memory bandwidth: bytes, not arithmetic, were the limit (iron law, memory wall, roofline)",
        "queuing": "Queueing: the tail leaves the mean behind at high utilisation (Little's law)",
        "serial_fraction": "Serial share: parallel devices help less than they cost (Amdahl)",
        "drift": "Drift: production moves away from training, and groups apart (degradation, fairness)",
    },
    figure="share_right",
    unit="",
    asks_figure="Which share of your predictions was right, 0 to 1?",
    least=0.0,
    most=1.0,
)

ACT_2 = Question(
    act=2,
    asks="Before you touch the design: which tier misses its promises by the largest factor?",
    options={
        "cloud": "Cloud: two H100s cannot carry their share of the requests",
        "edge": "Edge: Orin boxes cannot answer in time at this load",
        "mobile": "Mobile: a phone's memory is too slow for a 7B model",
        "tinyml": "TinyML: the trigger's weights do not fit into flash, nor its activations into SRAM",
    },
    figure="miss_factor",
    unit="times",
    asks_figure="By which factor does it miss, 1 to 100,000?",
    least=1.0,
    most=1e5,
)

ANSWER_OF = {
    "iron law": "memory_bw",
    "memory wall": "memory_bw",
    "roofline": "memory_bw",
    "little": "queuing",
    "amdahl": "serial_fraction",
    "degradation": "drift",
    "fairness": "drift",
}
"""Option of Act I that each invariant stands behind."""

REFLECTIONS = {
    "surprise": "What surprised you most, and which figure shows it?",
    "wall": "Which constraint is a wall here, and which could be negotiated?",
    "trade": "What did the passing design give up, and who pays for it?",
    "next": "Which figure would you measure first before you spend money?",
}
"""Questions of the structured reflection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A prediction as it was committed."""

    id: Id
    act: int
    choice: str
    figure: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """A locked prediction beside what came of it.

    Parameters
    ----------
    choice, answer : str
        Option that was chosen, and the right one; None where nothing can be said yet.
    predicted, actual : float
        The number, and what it is; None where nothing can be said yet.
    says : str
        The comparison in words.
    """

    choice: str
    answer: str | None
    predicted: float
    actual: float | None
    says: str

    @property
    def right(self) -> bool | None:
        """Whether the choice was right; None where nothing can be said yet."""
        return None if self.answer is None else self.choice == self.answer

    @property
    def off_by(self) -> float | None:
        """Factor between prediction and outcome, at least 1; None where either is 0 or unknown."""
        if self.actual is None or self.actual <= 0.0 or self.predicted <= 0.0 or math.isinf(self.actual):
            return None
        return max(self.actual / self.predicted, self.predicted / self.actual)


def lock(ledger: Ledger, person: str, question: Question, choice: str, figure: float) -> Locked:
    """Commit a prediction; what is locked already stays as it is.

    Raises
    ------
    InputError
        The number is out of bounds.
    UnknownNameError
        There is no such option.
    """
    if choice not in question.options:
        raise UnknownNameError.of(f"option of act {question.act}", choice, question.options)
    if isinstance(figure, bool) or not question.least <= figure <= question.most:
        raise InputError(f"{question.figure} is {figure!r}; it must be from {question.least:g} to {question.most:g}")
    before = locked(ledger, person, question)
    if before is not None:
        return before
    ledger.predict(
        subject_of(ledger, person, question.act),
        person,
        {question.figure: float(figure)},
        inputs={"act": question.act, "choice": choice, "asks": question.asks},
    )
    first = locked(ledger, person, question)
    assert first is not None  # just committed, by this call or by one that was faster
    return first


def locked(ledger: Ledger, person: str, question: Question) -> Locked | None:
    """Prediction of this round, the first that was committed; None where there is none."""
    for kept in ledger.entries(kind="prediction", subject=subject_of(ledger, person, question.act)):
        if kept.body["predictor"] == person:
            return Locked(
                id=kept.id,
                act=question.act,
                choice=kept.body["inputs"]["choice"],
                figure=float(kept.body["figures"][question.figure]["value"]),
            )
    return None


def subject_of(ledger: Ledger, person: str, act: int) -> str:
    """Subject of a person's prediction: a new round begins once the last one was saved."""
    return f"audit {person} round {rounds(ledger, person) + 1} act {act}"


def rounds(ledger: Ledger, person: str) -> int:
    """Audits that a person has saved."""
    return sum(
        kept.body["details"].get("person") == person
        for kept in ledger.entries(kind="decision", subject=f"chapter {CHAPTER}")
    )


def reveal_history(prediction: Locked, card: ReportCard) -> Reveal:
    """Hold the prediction of Act I against the report card."""
    answer = None if card.weakest is None else ANSWER_OF[card.weakest]
    found = Reveal(
        choice=prediction.choice, answer=answer, predicted=prediction.figure, actual=card.share_right, says=""
    )
    if answer is None:
        says = "Nothing can be said yet: the ledger holds no labs. Import one with `reckoner ledger import`."
    else:
        says = f"Your weakest invariant is {card.weakest}: {ACT_1.options[answer]}. {_compared(found, '')}"
    return _said(found, says)


def reveal_tier(prediction: Locked, audit: Audit) -> Reveal:
    """Hold the prediction of Act II against the audit of the brief."""
    tier, factor, why = hardest(audit)
    found = Reveal(choice=prediction.choice, answer=tier, predicted=prediction.figure, actual=factor, says="")
    if tier is None:
        return _said(found, "Every tier keeps its promises, so none is the hardest.")
    return _said(found, f"The {tier} tier misses by the largest factor: {why}. {_compared(found, ' times')}")


def hardest(audit: Audit) -> tuple[str | None, float | None, str]:
    """Tier that misses a promise of its own by the largest factor, that factor, and the promise in words.

    A latency without end counts by the capacity that is missing.
    """
    worst: tuple[float, str, str] | None = None
    for v in audit.failed:
        if not v.tier or v.value is None or math.isinf(v.value):
            continue
        factor = v.limit / v.value if v.at_least else v.value / v.limit
        if worst is None or factor > worst[0]:
            worst = (factor, v.tier, f"{v.name} is {v.value:.3g} {v.unit} where {v.limit:.3g} was promised")
    return (None, None, "") if worst is None else (worst[1], worst[0], worst[2])


def save(
    ledger: Ledger, person: str, audit: Audit, card: ReportCard, *, before: Audit, reflection: Mapping[str, str]
) -> Id:
    """Commit an audit as chapter 16, with the outcomes of both locked predictions; a new round begins.

    Parameters
    ----------
    ledger, person
        Whose.
    audit : Audit
        Of the design as it stands.
    card : ReportCard
        That Act I was held against.
    before : Audit
        Of the brief, which Act II was held against.
    reflection : mapping of str to str
        Answers to :data:`REFLECTIONS`.

    Raises
    ------
    InputError
        A prediction is not locked yet, or a reflection is missing.
    """
    first, second = locked(ledger, person, ACT_1), locked(ledger, person, ACT_2)
    if first is None or second is None:
        raise InputError(f"act {1 if first is None else 2} has no locked prediction; lock one before saving")
    open_ = [name for name in REFLECTIONS if not str(reflection.get(name, "")).strip()]
    if open_:
        raise InputError(f"reflection is missing: {', '.join(open_)}; a sentence each is enough")
    told, shown = reveal_history(first, card), reveal_tier(second, before)
    for question, found in ((ACT_1, told), (ACT_2, shown)):
        if found.actual is not None and math.isfinite(found.actual):
            ledger.observe(subject_of(ledger, person, question.act), {question.figure: found.actual})
    details = design_of_audit(audit) | {
        "person": person,
        "act1_prediction": first.choice,
        "act1_correct": told.right,
        "act2_prediction": second.choice,
        "act2_correct": shown.right,
        "labs_completed": len(card.done),
        "pct_correct": None if card.share_right is None else round(100.0 * card.share_right, 1),
        "weakest_invariant": card.weakest,
        "reflection": {name: str(reflection[name]) for name in REFLECTIONS},
    }
    return ledger.decide(
        f"chapter {CHAPTER}", "design", because="saved on purpose", based_on=(first.id, second.id), details=details
    )


def design_of_audit(audit: Audit) -> dict[str, Any]:
    """What the seed's world keeps of an audit, under its names, and the whole plan beside it."""
    plan = audit.plan
    cloud = plan.tiers.get("cloud")
    p99 = audit.figures.get("cloud", {}).get("e2e_p99_s")
    usd = audit.figures[""]["usd_per_request"].value
    served = cloud if isinstance(cloud, ServedTier) else None
    known = p99 is not None and p99.value is not None and math.isfinite(p99.value)
    return {
        "context": "all",
        "cloud_hardware": None if served is None else f"{served.device}x{served.devices}",
        "quantization_strategy": None if served is None else served.weights,
        "serving_strategy": None if served is None else served.scheduler,
        "total_cost_per_req": usd,
        "p99_latency_ms": 1e3 * p99.value if known and p99 is not None and p99.value is not None else None,
        "tier_assignments": {name: tier.weights for name, tier in plan.tiers.items()},
        "retraining_cadence_days": plan.drift.retrain_days,
        "fairness_threshold_pct": None if plan.fairness is None else 100.0 * plan.fairness.max_gap,
        "act2_result": {True: "feasible", False: "infeasible", None: "unknown"}[audit.feasible],
        "constraint_hit": bool(audit.failed),
        "system_valid": audit.feasible is True,
        "plan": plan_to_dict(plan),
    }


def _compared(found: Reveal, unit: str) -> str:
    """You predicted X, actual Y, off by Z x."""
    actual = "unknown" if found.actual is None else f"{found.actual:.3g}{unit}"
    off = "" if found.off_by is None else f", off by {found.off_by:.2g} x"
    right = {True: "Your choice was right. ", False: "Your choice was another. ", None: ""}[found.right]
    return f"{right}You predicted {found.predicted:.3g}{unit}, actual {actual}{off}."


def _said(found: Reveal, says: str) -> Reveal:
    return Reveal(choice=found.choice, answer=found.answer, predicted=found.predicted, actual=found.actual, says=says)
