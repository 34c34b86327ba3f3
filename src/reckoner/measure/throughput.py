"""Tokens per second of several engines on one fixed set of prompts, measured turn about.

**What counts.** A request is one prompt continued greedily by exactly ``max_new_tokens`` tokens: no stop token ends it,
so every engine does the same work. ``tokens_per_s`` is the number of *new* tokens of completed requests over the wall
time from the first request's start to the last one's end. Prompt tokens are paid for in that time but not counted;
``prefill_tokens_per_s`` counts them, over the engines' own prefill time, and ``decode_tokens_per_s`` counts the steps
after each first new token, over the engines' own decode time. One request at a time (batch 1), no idle time between
requests (100% utilisation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from reckoner.engines.base import Engine, Generation
from reckoner.errors import DamagedError, EngineError, InputError
from reckoner.files import canonical_json, read_json, sha256, write_json
from reckoner.measure.protocol import CLOCK, Caution, Clock, Summary, rounds, sample_cautions, summarise

WARMUPS = 3
# The interval's nominal level: at 90% five repeats suffice and cover 93.75%; at 95% six would be needed.
LEVEL = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One test of one variant: whole requests, back to back, for at least the seconds asked for.

    ``prefill_s`` and ``decode_s`` are the engine's own times added up, None when it gives none; ``decode_steps`` are
    the new tokens after each request's first.
    """

    wall_s: float
    requests: int
    prompt_tokens: int
    new_tokens: int
    decode_steps: int
    prefill_s: float | None
    decode_s: float | None

    @property
    def tokens_per_s(self) -> float:
        """New tokens of completed requests per second of wall time [token/s]."""
        return self.new_tokens / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputPlan:
    """How long, how often, how much, and in which order."""

    seconds: float
    repeats: int
    max_new_tokens: int
    seed: int

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"seconds is {self.seconds}; a test lasts longer than 0 s, for example 60")
        if self.repeats < 1:
            raise InputError(f"repeats is {self.repeats}; at least 1, and 5 for an interval")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; a request makes at least 1 token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Tokens per second of one variant, medians over its repeats.

    Attributes
    ----------
    tokens_per_s : Summary
        New tokens per second of wall time; the figure that prices are made of. [token/s]
    prefill_tokens_per_s, decode_tokens_per_s : Summary or None
        By the engine's own clock; None when the engine gives no such time. [token/s]
    total_tokens_per_s, requests_per_s : Summary
        Prompt and new tokens, and requests, per second of wall time.
    prompts_sha256 : str
        Digest of the prompts' token ids: equal digests mean equal work.
    """

    variant: str
    engine: str
    plan: ThroughputPlan
    n_prompts: int
    prompts_sha256: str
    batch: int
    utilisation: float
    tokens_per_s: Summary
    prefill_tokens_per_s: Summary | None
    decode_tokens_per_s: Summary | None
    total_tokens_per_s: Summary
    requests_per_s: Summary
    repeats: tuple[Repeat, ...]
    cautions: tuple[Caution, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built

    @classmethod
    def from_json(cls, value: Any) -> Throughput:
        """Read back :meth:`to_json`.

        Raises
        ------
        DamagedError
            A field is missing or of another type.
        """
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise DamagedError(f"throughput: {error}; restore the file or measure again") from error


def measure_throughput(
    variants: Mapping[str, Engine],
    prompts_ids: Sequence[Sequence[int]],
    *,
    seconds: float,
    repeats: int,
    max_new_tokens: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
    journal: Path | None = None,
) -> dict[str, Throughput]:
    """Measure every variant ``repeats`` times for ``seconds`` each, turn about.

    Parameters
    ----------
    variants : mapping of str to Engine
        Engines ready to generate, by the name that the result carries.
    prompts_ids : sequence of sequences of int
        Token ids of the prompts; each test goes through them in the same seeded order and starts over at the end.
    progress : callable, optional
        Called with the share done, 0 to 1, after each repeat.
    journal : Path, optional
        A file in which every finished repeat is kept: a run that was killed goes on where it stopped and loses at most
        one repeat. Repeats of another plan, other prompts or other variants in it are not used.

    Raises
    ------
    InputError
        No variants, no prompts, an empty prompt, or a plan that measures nothing.
    EngineError
        An engine stopped early or gave no tokens.
    """
    plan = ThroughputPlan(seconds=seconds, repeats=repeats, max_new_tokens=max_new_tokens, seed=seed)
    _check(variants, prompts_ids)
    key = sha256(canonical_json([msgspec.to_builtins(plan), sorted(variants), [list(ids) for ids in prompts_ids]]))
    done = {} if journal is None else _read_journal(journal, key)
    measured = {name: list(done.get(name, ()))[:repeats] for name in variants}
    for name, repeat in measure_repeats(variants, prompts_ids, plan, done=measured):
        measured[name].append(repeat)
        if journal is not None:
            write_json(journal, {"key": key, "repeats": msgspec.to_builtins(measured)})
        if progress is not None:
            progress(sum(map(len, measured.values())) / (repeats * len(variants)))
    return {name: summarise_repeats(name, variants[name].name, plan, prompts_ids, measured[name]) for name in variants}


def measure_repeats(
    variants: Mapping[str, Engine],
    prompts_ids: Sequence[Sequence[int]],
    plan: ThroughputPlan,
    *,
    done: Mapping[str, Sequence[Repeat]],
    clock: Clock = CLOCK,
) -> Iterator[tuple[str, Repeat]]:
    """Yield each repeat as soon as it is measured; those already ``done`` are not measured again."""
    _check(variants, prompts_ids)
    order = list(prompts_ids)
    Random(plan.seed).shuffle(order)
    had = {name: len(done.get(name, ())) for name in variants}
    for name in (name for name in variants if had[name] < plan.repeats):
        for ids in (order * WARMUPS)[:WARMUPS]:
            _generate(variants[name], ids, plan.max_new_tokens)
    for index, turn in enumerate(rounds(list(variants), plan.repeats, plan.seed)):
        for name in turn:
            if had[name] <= index:
                yield name, _repeat(variants[name], order, plan, clock)


def summarise_repeats(
    variant: str, engine: str, plan: ThroughputPlan, prompts_ids: Sequence[Sequence[int]], repeats: Sequence[Repeat]
) -> Throughput:
    """Medians and intervals over the repeats of one variant."""

    def over(values: list[float | None]) -> Summary | None:
        known = [value for value in values if value is not None]
        return summarise(known, LEVEL) if len(known) == len(values) else None

    overall = summarise([r.tokens_per_s for r in repeats], LEVEL)
    return Throughput(
        variant=variant,
        engine=engine,
        plan=plan,
        n_prompts=len(prompts_ids),
        prompts_sha256=sha256(canonical_json([list(ids) for ids in prompts_ids])),
        batch=1,
        utilisation=1.0,
        tokens_per_s=overall,
        prefill_tokens_per_s=over([_rate(r.prompt_tokens, r.prefill_s) for r in repeats]),
        decode_tokens_per_s=over([_rate(r.decode_steps, r.decode_s) for r in repeats]),
        total_tokens_per_s=summarise([(r.prompt_tokens + r.new_tokens) / r.wall_s for r in repeats], LEVEL),
        requests_per_s=summarise([r.requests / r.wall_s for r in repeats], LEVEL),
        repeats=tuple(repeats),
        cautions=sample_cautions(variant, overall),
    )


def _check(variants: Mapping[str, Engine], prompts_ids: Sequence[Sequence[int]]) -> None:
    if not variants:
        raise InputError("variants is empty; give at least one engine to measure")
    if not prompts_ids:
        raise InputError("prompts is empty; give at least one prompt, the fixed subset has 200")
    for index, ids in enumerate(prompts_ids):
        if not ids:
            raise InputError(f"prompts[{index}] is empty; a prompt has at least one token")


def _rate(count: int, seconds: float | None) -> float | None:
    return count / seconds if seconds else None


def _generate(engine: Engine, ids: Sequence[int], max_new_tokens: int) -> Generation:
    generation = engine.generate(ids, max_new_tokens=max_new_tokens)
    if len(generation.token_ids) != max_new_tokens:
        raise EngineError(
            f"{engine.name} gave {len(generation.token_ids)} of {max_new_tokens} tokens without a stop token; "
            "lower max_new_tokens or raise the engine's context"
        )
    return generation


def _repeat(engine: Engine, order: Sequence[Sequence[int]], plan: ThroughputPlan, clock: Clock) -> Repeat:
    requests = prompt_tokens = new_tokens = 0
    prefill: float | None = 0.0
    decode: float | None = 0.0
    start = now = clock()
    limit = start + round(plan.seconds * 1e9)
    while now < limit:
        generation = _generate(engine, order[requests % len(order)], plan.max_new_tokens)
        now = clock()
        requests += 1
        prompt_tokens += generation.prompt_tokens
        new_tokens += len(generation.token_ids)
        prefill = None if prefill is None or generation.prefill_s is None else prefill + generation.prefill_s
        decode = None if decode is None or generation.decode_s is None else decode + generation.decode_s
    return Repeat(
        wall_s=(now - start) / 1e9,
        requests=requests,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        decode_steps=new_tokens - requests,
        prefill_s=prefill,
        decode_s=decode,
    )


def _read_journal(journal: Path, key: str) -> dict[str, list[Repeat]]:
    if not journal.exists():
        return {}
    content = read_json(journal)
    try:
        if content["key"] != key:
            return {}
        return msgspec.convert(content["repeats"], dict[str, list[Repeat]])
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise DamagedError(f"{journal} is not a throughput journal ({error}); delete it to measure anew") from error


def read_prompts(path: Path) -> list[tuple[str, str]]:
    """Read the fixed subset: JSON lines of ``{"id", "prompt"}``.

    Raises
    ------
    InputError
        The file is missing or empty, a line is not such a record, or an id occurs twice; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    records: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = msgspec.json.decode(line.encode(), type=_Prompt)
        except msgspec.DecodeError as error:
            raise InputError(
                f'{path.name}, line {number}: {error}; write {{"id": "...", "prompt": "..."}} on each line'
            ) from error
        if not record.prompt or record.id in records:
            what = "id occurs twice" if record.prompt else "prompt is empty"
            raise InputError(f"{path.name}, line {number}: {what} ({record.id}); give each its own id and text")
        records[record.id] = record.prompt
    if not records:
        raise InputError(f"{path.name} is empty; it needs at least one prompt")
    return list(records.items())


class _Prompt(msgspec.Struct, frozen=True):
    id: str
    prompt: str
