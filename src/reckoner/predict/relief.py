"""What binds a design, what would relieve it and by how much, and what would make one fit that does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reckoner.design import Design, Serving, Workload
from reckoner.errors import InputError, MissingFigureError
from reckoner.predict.metrics import BOUNDS, fits, shares_of
from reckoner.predict.numbers import numbers_of
from reckoner.predict.plan import prepare
from reckoner.predict.prediction import Prediction, predict

_NARROWER = ("fp8", "int8", "int4")  # formats tried where weights are too large, widest first
_MOST_RANKS = 8  # devices of one server (assumption): more than these is another purchase, not a change of settings
_MOST_TOGETHER = 128  # ranks of the largest group that is tried with other changes (assumption: a rack of 72 and more)
_WORTH = 0.01  # a change that moves its metric by less relieves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """One change of a design, and what it is predicted to do.

    Parameters
    ----------
    change : str
        In words, such as "batch 2".
    metric : str
        What it improves; a name of :data:`reckoner.predict.metrics.UNITS`.
    before, after : float
        That metric, in its unit.
    design, workload : Design, Workload
        The question with the change made.
    """

    change: str
    metric: str
    before: float
    after: float
    design: Design
    workload: Workload


def reliefs(prediction: Prediction) -> tuple[Relief, ...]:
    """Changes that ease what binds a single design, each predicted: the one that moves its metric most comes first.

    Changes that do not fit, that the device cannot make, or that move their metric by less than one in a hundred are
    left out.

    Raises
    ------
    InputError
        The question held arrays.
    """
    bound = _bound(prediction)
    found = []
    for change, metric, design, workload in _changes(prediction, bound):
        try:
            after = predict(design, workload, efficiency=prediction.given)
        except MissingFigureError:
            continue  # ranks need a link that some devices lack
        before_value, after_value = getattr(prediction, metric), getattr(after, metric)
        gain = before_value / after_value if metric == "e2e_s" else after_value / before_value
        if after.fits and gain > 1.0 + _WORTH and not after.overloaded:
            relief = Relief(
                change=change, metric=metric, before=float(before_value), after=float(after_value), design=design,
                workload=workload,
            )  # fmt: skip
            found.append((gain, relief))
    return tuple(relief for _, relief in sorted(found, key=lambda each: -each[0]))


def _bound(prediction: Prediction) -> str:
    bound = prediction.bound
    if not isinstance(bound, str):
        raise InputError(f"the question holds {bound.size} designs; ask for the sentence of one of them")
    return bound


def _changes(p: Prediction, bound: str) -> Iterator[tuple[str, str, Design, Workload]]:
    """Candidates by what binds: words, the metric to watch, and the question with the change made."""
    design, workload, s = p.design, p.workload, p.design.serving

    def served(words: str, metric: str, **serving: Any) -> Iterator[tuple[str, str, Design, Workload]]:
        try:
            yield words, metric, replace(design, serving=replace(s, **serving)), workload
        except (InputError, MissingFigureError):
            return  # more ranks than heads, or no link, or no such products on this device

    rate = "e2e_s" if np.any(workload.requests_per_s) else "output_tokens_per_s"
    if bound in ("memory bandwidth", "overhead") and rate == "output_tokens_per_s":
        yield from served(f"batch {2 * s.batch:g}", rate, batch=2.0 * s.batch)
    if bound in ("memory bandwidth", "compute"):
        for name in _NARROWER:
            narrower = list(served(f"weights in {name}", "e2e_s", weights=name, compute=None))
            if narrower and narrower[0][2].weights_format.bytes_per_element < design.weights_format.bytes_per_element:
                yield from narrower
                break
        yield from served(f"tp {2 * s.tp:g}", "e2e_s", tp=2.0 * s.tp)
    if bound == "memory bandwidth":
        for name in ("fp8", "int8"):
            if design.kv_format.bytes_per_element > 1.5:
                yield from served(f"cache in {name}", "e2e_s", kv=name)
                break
    if bound == "compute" and workload.prefix_hit < 0.5:
        yield "half of each prompt in a prefix cache", "e2e_s", design, replace(workload, prefix_hit=0.5)
    if bound == "communication" and s.tp % 2.0 == 0.0:
        words = f"tp {s.tp / 2:g} and {2 * s.replicas:g} replicas"
        yield from served(words, rate, tp=s.tp / 2.0, replicas=2.0 * s.replicas)


def sentence(prediction: Prediction) -> str:
    """What binds a single design, how much of a request it takes, and what would relieve it.

    Raises
    ------
    InputError
        The question held arrays.
    """
    bound = _bound(prediction)
    shares = [float(np.max(share)) for share in shares_of(prediction.outcome, prediction.workload.output_tokens)]
    share = shares[BOUNDS.index(bound)] / sum(shares)
    return f"{bound} takes {share:.0%} of a request's work; {_relief(prediction, bound)}"


def _relief(p: Prediction, bound: str) -> str:
    steps = p.workload.output_tokens - 1.0
    weights_s = p.outcome.own.weights_s + steps * p.outcome.step.weights_s
    kv_s = p.outcome.own.kv_s + steps * p.outcome.step.kv_s
    if bound == "memory bandwidth":
        if kv_s > weights_s:
            return "a shorter context or a cache in fewer bits reads less; more devices (tp) share the reading"
        return "a larger batch shares each reading of the weights, fewer bits shrink it, more devices (tp) split it"
    if bound == "compute":
        faster = [
            dtype
            for dtype, rate in p.design.device.peak_flop_per_s.items()
            if rate > p.design.peak_flop_per_s and dtype in ("fp8", "int8", "fp4", "int4")
        ]
        narrower = f"compute in {' or '.join(faster)}, " if faster else ""
        return f"{narrower}use more devices (tp), or keep prompts short (prefix cache)"
    if bound == "communication":
        return "fewer tensor-parallel ranks and more replicas, or devices with a faster link"
    return "a larger batch shares the fixed cost of each layer; newer engine versions and captured graphs lower it"


def smallest_change(prediction: Prediction) -> str:
    """Say which single changes make a design fit, the gentlest first."""
    design, workload = prediction.design, prediction.workload
    numbers = numbers_of(design, workload)
    if any(isinstance(value, np.ndarray) for value in numbers):
        return "lower the batch or the context, or store weights in fewer bits"
    found: list[str] = []
    plan = prepare(design)
    low, high = 0, int(numbers.batch)
    while high - low > 1:  # memory grows with the batch: bisect for the largest that fits
        middle = (low + high) // 2
        if fits(design, plan.memory(numbers._replace(batch=float(middle)))):
            low = middle
        else:
            high = middle
    if low >= 1:
        found.append(f"batch {low} instead of {numbers.batch:g}")
    found += _other_formats(design, prediction) + _more_ranks(design, prediction)
    if not found:
        together = _combined(design, prediction)
        if together is not None:
            return f"no lower batch, narrower weights or more ranks alone make it fit; together {together} would"
        return (
            "no lower batch, narrower weights and more ranks make it fit, not even together; "
            "choose a device with more memory"
        )
    return f"what would fit: {'; or '.join(found)}"


def _fits_with(design: Design, prediction: Prediction, serving: Serving) -> bool:
    try:
        changed = replace(design, serving=serving)
        memory = prepare(changed).memory(numbers_of(changed, prediction.workload))
    except (InputError, MissingFigureError):  # ranks need a link that some devices lack
        return False
    return bool(np.all(fits(changed, memory)))


def _other_formats(design: Design, prediction: Prediction) -> list[str]:
    size = design.weights_format.bytes_per_element
    for name in _NARROWER:
        changed = replace(design.serving, weights=name, compute=None)
        if replace(design, serving=changed).weights_format.bytes_per_element < size and _fits_with(
            design, prediction, changed
        ):
            return [f"weights in {name}"]
    return []


def _more_ranks(design: Design, prediction: Prediction) -> list[str]:
    ranks = float(design.serving.tp) * 2.0
    while ranks <= _MOST_RANKS:
        if _fits_with(design, prediction, replace(design.serving, tp=ranks)):
            return [f"tp {ranks:g}"]
        ranks *= 2.0
    return []


def _combined(design: Design, prediction: Prediction) -> str | None:
    """Name the fewest ranks that fit together with narrower weights and, at last, a batch of one."""
    serving, size = design.serving, design.weights_format.bytes_per_element
    batches = [serving.batch] if float(serving.batch) == 1.0 else [serving.batch, 1.0]
    ranks = float(serving.tp)
    while ranks <= _MOST_TOGETHER:
        for batch in batches:
            for name in (serving.weights, *_NARROWER):
                try:
                    changed = replace(serving, tp=ranks, batch=batch, weights=name)
                    narrower = replace(design, serving=changed).weights_format.bytes_per_element
                except (InputError, MissingFigureError):
                    continue
                if (name == serving.weights or narrower < size) and _fits_with(design, prediction, changed):
                    said = [f"weights in {name}"] if name != serving.weights else []
                    said += [f"tp {ranks:g}"] if ranks != serving.tp else []
                    said += [f"batch {batch:g}"] if batch != serving.batch else []
                    return " and ".join(said)
        ranks *= 2.0
    return None
