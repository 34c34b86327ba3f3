"""Probe sets: fill-in-the-blank questions about verb forms, from JSON lines, known by the hash of their content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, InputError
from reckoner.files import canonical_json, parse_json, sha256

BLANK = "___"
# The grammar tutor's grid: what each key may say.
CHOICES: dict[str, tuple[str, ...]] = {
    "language": ("en", "es"),
    "regularity": ("regular", "irregular"),
    "tense": ("infinitive", "present_simple", "past_simple", "past_participle", "future"),
    "person": ("1sg", "2sg", "3sg"),
    "label": ("correct", "incorrect", "ambiguous"),
    "category": ("core", "adversarial"),
    "split": ("seen", "held_out"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question with a known answer.

    Attributes
    ----------
    id : str
        Unique in its set.
    language, regularity, tense, person, label, category, split : str
        Where it stands in the grid; :data:`CHOICES` lists what each may say. ``split`` says whether the training saw
        this cell or sentence.
    verb : str
        The verb asked for.
    prompt : str
        A sentence with exactly one ``___``.
    candidates : tuple of str
        Forms that could fill the blank, at least two, all different.
    expected : str
        The one that is right.
    """

    id: str
    language: str
    verb: str
    regularity: str
    tense: str
    person: str
    prompt: str
    candidates: tuple[str, ...]
    expected: str
    label: str
    category: str
    split: str

    def __post_init__(self) -> None:
        for name in ("id", "verb", "prompt", "expected"):
            if not getattr(self, name).strip():
                raise InputError(f"{name} is empty; fill it in")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; use {' or '.join(choices)}")
        if self.prompt.count(BLANK) != 1:
            raise InputError(f"prompt has {self.prompt.count(BLANK)} blanks {BLANK!r}; write exactly one")
        if BLANK + "_" in self.prompt:
            raise InputError(f"prompt is {self.prompt!r}; a blank is three underscores, take the others away")
        if len(set(self.candidates)) != len(self.candidates) or len(self.candidates) < 2:
            raise InputError(f"candidates are {list(self.candidates)}; give at least two, all different")
        if self.expected not in self.candidates:
            raise InputError(
                f"expected is {self.expected!r}, which is not among the candidates {list(self.candidates)}"
            )

    @property
    def before(self) -> str:
        """The sentence up to the blank."""
        return self.prompt.partition(BLANK)[0]

    def filled(self, answer: str) -> str:
        """The sentence with ``answer`` in the blank."""
        return self.prompt.replace(BLANK, answer)

    def to_json(self) -> dict[str, Any]:
        """Return the probe as the JSON object that :func:`load_probes` reads."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "candidates": list(self.candidates)}


def load_probes(path: str | Path) -> tuple[Probe, ...]:
    """Read a probe set, one JSON object a line.

    Raises
    ------
    InputError
        There is no such file, it holds no probe, or a line is no probe; the message names file, line, key and value.
    DamagedError
        A line is not JSON: the file is truncated or is something else.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"no probe file {source}; check the path") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{source}: {error}; a probe file is UTF-8 JSON lines, restore it") from error
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    probes: list[Probe] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at U+2028 inside a sentence
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            raise DamagedError(f"{where}: {error}; the line is truncated or is not JSON, restore it") from error
        try:
            probe = _probe(value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if probe.id in lines:
            raise InputError(f"{where}: id is {probe.id!r}, as in line {lines[probe.id]}; each id must be unique")
        lines[probe.id] = number
        probes.append(probe)
    if not probes:
        raise InputError(f"{source} holds no probe; write one JSON object a line")
    return tuple(probes)


def eval_set_hash(probes: Iterable[Probe]) -> str:
    """SHA-256 of the set's content: the order of lines, keys and candidates does not count.

    Raises
    ------
    InputError
        The set is empty or an id occurs twice.
    """
    listed = sorted(probes, key=lambda probe: probe.id)
    check_unique(listed)
    return sha256(canonical_json([{**probe.to_json(), "candidates": sorted(probe.candidates)} for probe in listed]))


def check_unique(probes: Sequence[Probe]) -> None:
    """Refuse an empty set, and one in which an id occurs twice.

    Raises
    ------
    InputError
        The message names the id.
    """
    if not probes:
        raise InputError("the probe set is empty; give at least one probe")
    seen: set[str] = set()
    for probe in probes:
        if probe.id in seen:
            raise InputError(f"id is {probe.id!r} in two probes; each id must be unique")
        seen.add(probe.id)


def _probe(value: Any) -> Probe:
    if not isinstance(value, dict):
        raise InputError(f"it holds a {type(value).__name__}; a probe is a JSON object")
    missing = [name for name in Probe.__slots__ if name not in value]
    if missing:
        raise InputError(f"the probe has no {missing[0]!r}; add it")
    unknown = sorted(value.keys() - set(Probe.__slots__))
    if unknown:
        raise InputError(f"the probe has a key {unknown[0]!r}; the keys are {', '.join(Probe.__slots__)}")
    candidates = value["candidates"]
    if not isinstance(candidates, list) or not all(isinstance(item, str) and item for item in candidates):
        raise InputError(f"candidates is {candidates!r}; write a list of words")
    for name in Probe.__slots__:
        if name != "candidates" and not isinstance(value[name], str):
            raise InputError(f"{name} is {value[name]!r}; write text")
    return Probe(**{**value, "candidates": tuple(candidates)})
