"""What one model answered to one probe set: every answer, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isclose
from typing import Any

from reckoner.errors import DamagedError, InputError, MixedSetsError
from reckoner.evaluate.stats import expected_calibration_error, pass_at_k, wilson

# A slice's name -> what an outcome is filed under.
SLICES: dict[str, Callable[[Outcome], str]] = {
    "language": lambda o: o.language,
    "tense": lambda o: o.tense,
    "person": lambda o: o.person,
    "verb": lambda o: f"{o.language}:{o.verb}",
    "regularity": lambda o: o.regularity,
    "split": lambda o: o.split,
    "category": lambda o: o.category,
    "tense_person": lambda o: f"{o.tense}/{o.person}",
}


_OUTCOME_TEXTS = (
    *("id", "language", "verb", "regularity", "tense", "person"),
    *("category", "split", "expected", "answer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers with its 95% Wilson interval."""

    n: int
    correct: int
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, correct: Iterable[bool]) -> Accuracy:
        """Count answers.

        >>> Accuracy.of([True, True, True, False]).accuracy
        0.75
        """
        answers = list(correct)
        low, high = wilson(sum(answers), len(answers))
        return cls(n=len(answers), correct=sum(answers), accuracy=sum(answers) / len(answers), low=low, high=high)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the samples behind pass@k are drawn.

    Attributes
    ----------
    probes : int
        Size of the subset of core probes, see :func:`reckoner.evaluate.grade.subset`.
    n : int
        Samples of each.
    ks : tuple of int
        The k of each pass@k, at most ``n``.
    temperature : float
        Above 0.
    seed : int
        Probe i of the subset draws with ``seed + i``.
    """

    probes: int = 50  # assumption: keeps sampling below the cost of grading
    n: int = 8
    ks: tuple[int, ...] = (1, 2, 4, 8)
    temperature: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("probes", "n", "seed"):
            if type(getattr(self, name)) is not int:
                raise InputError(f"sampling has {name} = {getattr(self, name)!r}; it must be an integer")
        if not all(type(k) is int for k in self.ks):
            raise InputError(f"sampling has ks = {list(self.ks)}; each must be an integer")
        if self.probes < 1 or self.n < 1:
            raise InputError(f"sampling has {self.probes} probes and n = {self.n}; both must be at least 1")
        if not self.ks or not all(1 <= k <= self.n for k in self.ks):
            raise InputError(f"sampling has ks = {list(self.ks)}; each must be between 1 and n = {self.n}")
        if not _is_number(self.temperature) or not 0 < self.temperature < inf:
            raise InputError(f"temperature is {self.temperature!r}; it must be a number above 0")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"ks": list(self.ks)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was answered to one probe.

    Attributes
    ----------
    id, language, verb, regularity, tense, person, category, split, expected : str
        From the probe.
    answer : str
        The word that greedy decoding put into the blank.
    choice : str or None
        The candidate under which the whole sentence is likeliest.
    confidence : float or None
        Its probability among the candidates.
    brier : float or None
        Squared distance of the candidates' probabilities from the truth.
    sampled_correct : int or None
        How many of the samples were right.
    """

    id: str
    language: str
    verb: str
    regularity: str
    tense: str
    person: str
    category: str
    split: str
    expected: str
    answer: str
    choice: str | None = None
    confidence: float | None = None
    brier: float | None = None
    sampled_correct: int | None = None

    def __post_init__(self) -> None:
        _refuse_other_than_text(self, _OUTCOME_TEXTS if self.choice is None else (*_OUTCOME_TEXTS, "choice"))
        for name, value, most in (("confidence", self.confidence, 1), ("brier", self.brier, 2)):
            if value is not None and not (_is_number(value) and 0 <= value <= most):
                raise InputError(f"outcome {self.id}: {name} is {value!r}; it lies between 0 and {most}")
        count = self.sampled_correct
        if count is not None and (type(count) is not int or count < 0):
            raise InputError(f"outcome {self.id}: sampled_correct is {count!r}; it is a count, 0 or more")

    @property
    def correct(self) -> bool:
        """Whether the answer is exactly the expected word."""
        return self.answer == self.expected

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"correct": self.correct}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All outcomes of one model on one probe set.

    Conjugation accuracy is over the core probes; adversarial probes are counted apart, and in the slice ``category``.

    Attributes
    ----------
    eval_set_hash : str
        Hash of the probe set; reports with different hashes are never compared.
    model_digest : str
        Canonical digest of the version.
    engine : str
        What ran it.
    outcomes : tuple of Outcome
        Sorted by id.
    sampling : Sampling or None
        None when the engine cannot sample.
    """

    eval_set_hash: str
    model_digest: str
    engine: str
    outcomes: tuple[Outcome, ...]
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        _refuse_other_than_text(self, ("eval_set_hash", "model_digest", "engine"))
        ids = [outcome.id for outcome in self.outcomes]
        if ids != sorted(set(ids)):
            raise InputError("outcomes must be sorted by id, each id once")
        if not self.core:
            raise InputError("the set has no core probe; conjugation accuracy is over those, add some")

    @property
    def label(self) -> str:
        """Short name of the report for people: ``a1b2c3d4 on numpy_decoder``."""
        return f"{self.model_digest[:8]} on {self.engine}"

    @property
    def core(self) -> tuple[Outcome, ...]:
        """Outcomes of the core probes."""
        return tuple(outcome for outcome in self.outcomes if outcome.category == "core")

    @property
    def accuracy(self) -> Accuracy:
        """Conjugation accuracy."""
        return Accuracy.of(outcome.correct for outcome in self.core)

    @property
    def adversarial(self) -> Accuracy | None:
        """Accuracy on the adversarial probes; None when there are none."""
        return self.slices["category"].get("adversarial")

    @property
    def seen(self) -> Accuracy | None:
        """Accuracy on core probes of cells that training saw."""
        return self.slices["split"].get("seen")

    @property
    def held_out(self) -> Accuracy | None:
        """Accuracy on core probes of cells that training did not see."""
        return self.slices["split"].get("held_out")

    @property
    def choice_accuracy(self) -> Accuracy | None:
        """Share of core probes whose likeliest candidate is the right one; None when the engine gives no likelihood."""
        chosen = self._chosen()
        return Accuracy.of(outcome.choice == outcome.expected for outcome in chosen) if chosen else None

    @property
    def ece(self) -> float | None:
        """Expected calibration error of the choices on core probes."""
        chosen = self._chosen()
        if not chosen:
            return None
        return expected_calibration_error(
            [outcome.confidence for outcome in chosen if outcome.confidence is not None],
            [outcome.choice == outcome.expected for outcome in chosen],
        )

    @property
    def brier(self) -> float | None:
        """Mean Brier score of the candidates' probabilities on core probes."""
        scores = [outcome.brier for outcome in self.core if outcome.brier is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def pass_at_k(self) -> dict[int, float] | None:
        """Mean pass@k over the sampled subset, by k; None when the engine cannot sample."""
        counts = [outcome.sampled_correct for outcome in self.outcomes if outcome.sampled_correct is not None]
        if self.sampling is None or not counts:
            return None
        n = self.sampling.n
        return {k: sum(pass_at_k(n, count, k) for count in counts) / len(counts) for k in self.sampling.ks}

    @property
    def slices(self) -> dict[str, dict[str, Accuracy]]:
        """Accuracy by slice and value: core probes, but ``category`` counts all."""
        table = {}
        for name, key in SLICES.items():
            filed: dict[str, list[bool]] = {}
            for outcome in self.outcomes if name == "category" else self.core:
                filed.setdefault(key(outcome), []).append(outcome.correct)
            table[name] = {value: Accuracy.of(answers) for value, answers in sorted(filed.items())}
        return table

    def aggregates(self) -> dict[str, Any]:
        """Every figure that follows from the outcomes, as a JSON object; None where there is none."""

        def json(accuracy: Accuracy | None) -> dict[str, Any] | None:
            return None if accuracy is None else accuracy.to_json()

        sampled = self.pass_at_k
        return {
            "conjugation_accuracy": self.accuracy.to_json(),
            "adversarial": json(self.adversarial),
            "seen": json(self.seen),
            "held_out": json(self.held_out),
            "choice_accuracy": json(self.choice_accuracy),
            "ece": self.ece,
            "brier": self.brier,
            "pass_at_k": None if sampled is None else {str(k): value for k, value in sampled.items()},
            "slices": {
                name: {value: accuracy.to_json() for value, accuracy in values.items()}
                for name, values in self.slices.items()
            },
        }

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object that :meth:`from_json` reads back."""
        return {
            "format": 1,
            "eval_set_hash": self.eval_set_hash,
            "model_digest": self.model_digest,
            "engine": self.engine,
            "sampling": None if self.sampling is None else self.sampling.to_json(),
            "aggregates": self.aggregates(),
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
        }

    @classmethod
    def from_json(cls, value: Any) -> Report:
        """Read a report and compute its aggregates again.

        Raises
        ------
        DamagedError
            A key is missing or unknown, or a stored figure does not follow from the outcomes; the message names it.
        """
        try:
            if value["format"] != 1:
                raise InputError(f"format is {value['format']!r}, this version reads 1")
            stored = [dict(outcome) for outcome in value["outcomes"]]
            verdicts = [outcome.pop("correct") for outcome in stored]
            sampling = value["sampling"]
            report = cls(
                eval_set_hash=value["eval_set_hash"],
                model_digest=value["model_digest"],
                engine=value["engine"],
                outcomes=tuple(Outcome(**outcome) for outcome in stored),
                sampling=None if sampling is None else Sampling(**{**sampling, "ks": tuple(sampling["ks"])}),
            )
            aggregates = value["aggregates"]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"the evaluation report cannot be read: {error}; grade the version again") from error
        for outcome, verdict in zip(report.outcomes, verdicts, strict=True):
            if verdict is not outcome.correct:
                raise DamagedError(
                    f"evaluation report {report.label}: {outcome.id} is marked correct = {verdict}, but the answer "
                    f"{outcome.answer!r} against {outcome.expected!r} says otherwise; grade the version again"
                )
        different = _first_difference(aggregates, report.aggregates(), "aggregates")
        if different is not None:
            raise DamagedError(
                f"evaluation report {report.label}: {different} does not follow from the outcomes; "
                "grade the version again"
            )
        return report

    def _chosen(self) -> list[Outcome]:
        return [outcome for outcome in self.core if outcome.choice is not None]


def check_same_set(reports: Sequence[Report]) -> str:
    """Return the hash of the probe set that all reports share.

    Raises
    ------
    MixedSetsError
        They were graded on different sets; the message says which on which.
    InputError
        There is no report.
    """
    if not reports:
        raise InputError("no evaluation reports given; give at least one")
    by_hash: dict[str, list[str]] = {}
    for report in reports:
        by_hash.setdefault(report.eval_set_hash, []).append(report.label)
    if len(by_hash) > 1:
        told = "; ".join(f"{', '.join(labels)}: {digest[:12]}" for digest, labels in sorted(by_hash.items()))
        raise MixedSetsError(f"reports were graded on {len(by_hash)} evaluation sets ({told}); grade all on one set")
    return reports[0].eval_set_hash


def _refuse_other_than_text(holder: Outcome | Report, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(holder, name)
        if not isinstance(value, str):
            raise InputError(f"{name} is {value!r}; it must be text")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first_difference(stored: Any, computed: Any, path: str) -> str | None:
    """Path of the first figure that differs by more than rounding on another machine could explain."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in sorted(stored.keys() | computed.keys()):
            if key not in stored or key not in computed:
                return f"{path}.{key}"
            found = _first_difference(stored[key], computed[key], f"{path}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(stored, float) and isinstance(computed, (int, float)):
        return None if isclose(stored, computed, rel_tol=1e-9, abs_tol=1e-12) else path
    return None if stored == computed else path
