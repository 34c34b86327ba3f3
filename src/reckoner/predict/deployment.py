"""What was learned, applied to a design: names are looked up once, slopes on numbers stay functions that broadcast.

The same pooled effects that answer rows of measurements (:mod:`reckoner.predict.effects`), read for a
:class:`~reckoner.design.Design`. Residuals of single known configurations are left to those rows: a design stands for a
class of deployments and not for one of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from reckoner.design import Design
from reckoner.physics.arrays import Floats, log, maximum, where
from reckoner.predict import traits
from reckoner.predict.effects import LAYOUT, Vocabulary, from_json
from reckoner.predict.efficiency import NAMES, Efficiency
from reckoner.predict.intervals import NOVELTIES, Bands, Known
from reckoner.predict.learned import EFFECTS_FILE
from reckoner.predict.quantities import LOSS
from reckoner.predict.terms import Terms

RECENT = 2026.46
"""Year of an engine whose version is not given. Assumption: 2026-06, within the evidence."""

_VLLM = {"0.4": 2024.3, "0.5": 2024.45, "0.6": 2024.7, "0.7": 2025.1, "0.8": 2025.2, "0.9": 2025.4, "0.10": 2025.55}
"""Releases of vLLM (github.com/vllm-project/vllm/releases); later ones count as recent."""

SERVED = {
    "tpot": ("tpot", "closed_loop_concurrency:random_range_ratio0.8"),
    "ttft": ("ttft", "closed_loop_concurrency:random_range_ratio0.8"),
    "rate": ("tput", "closed_loop_concurrency:random_range_ratio0.8"),
    "energy": ("energy", "closed_loop_steady_state:lm-arena-chat"),
}
STREAMED = {
    "tpot": ("decode", "single_stream"),
    "ttft": ("prefill", "single_stream"),
    "rate": ("e2e", "static_batch_e2e"),
    "energy": ("energy", "single_stream"),
}
"""Group of kinds, and the commonest way in which it was measured, for servers and for engines of single streams."""

PASSES = ("weights", "kv", "prefill_flops", "decode_flops", "layers", "prefill_layers", "link", "queue")
"""Effects behind :data:`reckoner.predict.efficiency.NAMES`, in that order, and the queue's."""

WHERE_SERVED = {"prefill_flops": "served_flops", "prefill_layers": "served_layers"}
"""Effects that stand in for those of :data:`PASSES` where a busy server reads the prompts."""

REACH_90 = NormalDist().inv_cdf(0.95)
"""Standard deviations from the middle to the edge of a 90 % interval."""

_CERTAIN = np.zeros((len(NAMES), len(NAMES)))  # what is unsure was measured as a whole: Efficiency.sigma
_ABSENT = frozenset({"disagg", "silicon"})
"""Features of rows that a design leaves out: who measured, and disaggregation, whose physics is told apart here
(:mod:`reckoner.predict.pools`) where rows know no more than that it was there."""


class Point(NamedTuple):
    """Numbers that slopes act on."""

    batch: Floats
    tp: Floats
    pp: Floats
    ep: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    dp: Floats = 1.0


class Factors(NamedTuple):
    """Efficiencies at a point, and factors on the first token, on gaps and on energy (None: nothing learned).

    ``first`` holds the efficiencies of the first token: its measurements are pooled apart from those of the gaps.
    """

    efficiency: Efficiency
    first: Efficiency
    ttft: Floats
    tpot: Floats
    energy: Floats | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Learned effects with all names settled.

    Parameters
    ----------
    constants : mapping of str to float
        Logarithm of each effect's factor where all features are at their centre.
    first : tuple of float
        What multiplies the factors of :data:`PASSES` for the first token.
    slopes : mapping of str to tuple of (str, float)
        Features that move that logarithm, and how much.
    whole : mapping of str to float
        Factor on each quantity, by key of :data:`SERVED`.
    half_width : mapping of str to float
        Half-width of the 90 % interval of each quantity's logarithm.
    novelty : str
        How much of the design was measured before; one of :data:`~reckoner.predict.intervals.NOVELTIES`.
    n : int
        Measurements that share device and engine.
    source : str
        What was learned from, and when.
    fixed : mapping of str to float
        Factors of the effects that no feature moves any more (:meth:`at`).
    """

    constants: Mapping[str, float]
    first: tuple[float, ...]
    slopes: Mapping[str, tuple[tuple[str, float], ...]]
    whole: Mapping[str, float]
    half_width: Mapping[str, float]
    novelty: str
    n: int
    source: str
    fixed: Mapping[str, float] = field(default_factory=dict)

    def at(self, x: Mapping[str, float]) -> Deployment:
        """Return the same with slopes on these features settled, so that what is asked often is looked up once."""
        constants, slopes = dict(self.constants), {}
        for effect, moving in self.slopes.items():
            constants[effect] += sum(slope * x[name] for name, slope in moving if name in x)
            slopes[effect] = tuple(each for each in moving if each[0] not in x)
        fixed = {effect: math.exp(constants[effect]) for effect, moving in slopes.items() if not moving}
        return replace(self, constants=constants, slopes=slopes, fixed=fixed)

    def factors(self, x: Mapping[str, Floats]) -> Factors:
        """Return efficiencies and factors at :func:`features` of a point (or of a grid)."""
        fixed = self.fixed
        gaps = [fixed[effect] if effect in fixed else self._factor(effect, x) for effect in PASSES]
        first = [factor * change for factor, change in zip(gaps, self.first, strict=True)]
        shared = self._factor("whole", x)
        return Factors(
            self._efficiency(gaps),
            self._efficiency(first),
            shared * self.whole["ttft"],
            shared * self.whole["tpot"],
            shared * self.whole["energy"],
        )

    def power(self, x: Mapping[str, Floats], step: Terms) -> Floats:
        """Return the factor on the nominal power draw."""
        parts = step.weights_s + step.kv_s + step.layers_s + step.compute_s
        share = log(maximum(step.compute_s / parts, 1e-4)) / 3.0
        return self._factor("power", {**x, "compute": share})

    def _efficiency(self, factors: Sequence[Floats]) -> Efficiency:
        weights, kv, prefill_flops, decode_flops, layers, prefill_layers, link, queue = factors
        return Efficiency(
            mbu=1.0 / (1.0 + LOSS["weights"] * weights),
            mbu_kv=1.0 / (1.0 + LOSS["kv"] * kv),
            mfu=1.0 / (1.0 + LOSS["prefill_flops"] * prefill_flops),
            mfu_decode=1.0 / (1.0 + LOSS["decode_flops"] * decode_flops),
            layer=layers,
            layer_prefill=prefill_layers,
            link=1.0 / link,
            queue=queue,
            covariance=_CERTAIN,
            sigma=self.half_width["tpot"] / REACH_90,
            source=self.source,
            n=self.n,
        )

    def _factor(self, effect: str, x: Mapping[str, Floats]) -> Floats:
        """Exponential of a sum of features; those that share an axis are summed first, to exponentiate few numbers."""
        constant = self.constants[effect]
        along: dict[tuple[int, ...], Any] = {}
        for name, slope in self.slopes[effect]:
            value = x[name]
            if isinstance(value, float):
                constant += slope * value
                continue
            along[value.shape] = along.get(value.shape, 0.0) + slope * value
        factor: Floats = math.exp(constant)
        for shape in sorted(along, key=math.prod) if along else ():
            factor = factor * np.exp(along[shape])
        return factor


def features(p: Point) -> dict[str, Floats]:
    """Features of :func:`reckoner.predict.effects.features` that numbers move, by the same names and scales."""
    return served_features(p) | load_features(p)


def served_features(p: Point) -> dict[str, Floats]:
    """Those of how a model is served."""
    split = where(p.dp > 1.0, 1.0, 0.0)
    batch = log(p.batch) / 2.5
    return {
        "batch": batch,
        "devices": log(p.tp * p.dp * p.pp) / 1.5,
        "dp": split,
        "dp*batch": split * batch,
        "tp": log(p.tp) / 1.5,
        "ep": where(p.ep > 1.0, 1.0, 0.0),
        "split": where(p.pp > 1.0, 1.0, 0.0),
    }


def load_features(p: Point) -> dict[str, Floats]:
    """Those of the requests."""
    return {
        "prompt": (log(maximum(p.prompt_tokens, 8.0)) - 6.0) / 1.5,
        "output": (log(p.output_tokens) - 6.0) / 1.5,
        "tokens": (log(p.prompt_tokens * p.batch + 1.0) - 7.0) / 2.5,
        "context": (log(p.prompt_tokens + 0.5 * p.output_tokens) - 7.0) / 1.5,
    }


def _settled(design: Design) -> dict[str, float]:
    """Features that names alone decide."""
    device, model = design.device, design.model
    bandwidth = device.bandwidth_bytes_per_s / 1e9
    when = _year(design.engine, design.serving.engine_version)
    return {
        "bandwidth": (math.log(bandwidth) - 7.0) / 1.5,
        "ridge": min(max(math.log(design.peak_flop_per_s / 1e9 / bandwidth) - 5.5, -3.0), 3.0),
        "year": min(max(when - 2025.0, -2.0), 1.5),
        "active": (math.log(max(model.active_params / 1e9, 0.05)) - 2.3) / 1.5,
        "share": math.log(_share(design)) / 1.5,
        "memory": (math.log(max(device.memory_bytes / 1e9, 0.01)) - 3.5)
        / 1.5,  # as rows have it: some keep all on chip
    }


def _year(engine: str, version: str) -> float:
    """Decimal year of an engine's version, which may be a date as well.

    >>> _year("vllm", "0.6.3"), _year("sglang", "2025-07"), _year("vllm", "")
    (2024.7, 2025.5416666666667, 2026.46)
    """
    if re.match(r"20\d\d", version) or (engine == "tensorrt-llm" and version):
        return traits.year(version)
    if engine == "vllm":
        return _VLLM.get(".".join(version.removeprefix("v").split(".")[:2]), RECENT)
    return RECENT


def _share(design: Design) -> float:
    return min(max(design.model.active_params / design.model.params, 0.01), 1.0)


def _labels(design: Design, group: str, scenario: str) -> dict[str, str]:
    """Labels as :func:`reckoner.predict.rows.build` makes them of a row."""
    device, model = design.device, design.model
    engine = design.engine
    family = traits.family(engine, "", device.name, "")
    return {
        "model": model.name,
        "hardware": device.name,
        "engine": engine,
        "family": family,
        "tier": traits.tier(family),
        "class": traits.device_class(device.name, device.device_class),
        "generation": traits.generation(device.name, device.device_class),
        "vendor": traits.vendor(device.name),
        "format": traits.number_format(design.weights_format.name),
        "attention": traits.attention_kind(model.name, _share(design) < 0.97),
        "scenario": scenario,
        "setting": traits.setting(scenario),
        "group": group,
        "timed": traits.timed(group, traits.setting(scenario)),
    }


@cache
def _data() -> tuple[Vocabulary, list[float], dict[str, Any]]:
    """Effects without the arrays of known configurations, which designs do not use."""
    document = json.loads(files("reckoner.predict").joinpath("data", EFFECTS_FILE).read_text(encoding="utf-8"))
    words, values, _, _ = from_json(document["effects"])
    return words, values.tolist(), document  # plain floats: NumPy's would slow every scalar prediction down


def deployment_of(design: Design) -> Deployment:
    """Look up what was learned about a design's device, engine, model and formats."""
    words, values, document = _data()
    settled = _settled(design)
    tables = SERVED if traits.tier(traits.family(design.engine, "", "", "")) == "serve" else STREAMED
    labels = {quantity: _labels(design, *place) for quantity, place in tables.items()}
    constants: dict[str, float] = {}
    first: list[float] = []
    slopes: dict[str, tuple[tuple[str, float], ...]] = {}
    own = WHERE_SERVED if tables is SERVED else {}
    for effect in (*PASSES, "whole", "power"):  # memory is counted, not learned: engines fill what they are given
        pooled = own.get(effect, effect)
        found = list(_deviations(words, pooled, labels["energy" if effect == "power" else "tpot"], settled))
        constants[effect] = sum(values[i] * scale for i, scale in found) if effect != "whole" else 0.0
        if effect in PASSES:
            other = sum(values[i] * scale for i, scale in _deviations(words, pooled, labels["ttft"], settled))
            first.append(math.exp(other - constants[effect]))
        moving: list[tuple[str, float]] = []
        for name in LAYOUT[pooled][0].split():
            if _ABSENT.isdisjoint(name.split("*")) and "" in words.levels.get((pooled, name), {}):
                value = values[words.levels[pooled, name][""]]
                if name in settled:
                    constants[effect] += value * settled[name]
                else:
                    moving.append((name, value))
        slopes[effect] = tuple(moving)
    known, bands = Known.from_json(document["known"]), Bands.from_json(document["bands"])
    novelty = _novelty(labels["tpot"], known)
    place = NOVELTIES.index(novelty)
    evidence = document["evidence"]
    return Deployment(
        constants=constants,
        first=tuple(first),
        slopes=slopes,
        whole={
            quantity: math.exp(sum(values[i] * scale for i, scale in _deviations(words, "whole", row, settled)))
            for quantity, row in labels.items()
        },
        half_width={
            quantity: bands.width.get(row["group"], bands.everywhere)[place] for quantity, row in labels.items()
        },
        novelty=novelty,
        n=known.pairs.get(f"{labels['tpot']['family']}|{labels['tpot']['hardware']}", 0),
        source=f"effects pooled over {evidence['rows']} public measurements, {evidence['dated']}",
    )


def _deviations(
    words: Vocabulary, effect: str, labels: Mapping[str, str], settled: Mapping[str, float]
) -> Iterable[tuple[int, float]]:
    """Coefficients that a design's names select, each with its multiplier; levels that were never met have none."""
    constant = words.levels.get((effect, "1"), {}).get("")
    if constant is not None:
        yield constant, 1.0
    for name in LAYOUT[effect][1].split():
        pool, _, feature = name.partition("@")
        label = "|".join(labels[part] for part in pool.split("*"))
        index = words.levels.get((effect, name), {}).get(label)
        if index is not None:
            yield index, settled[feature] if feature else 1.0


def _novelty(labels: Mapping[str, str], known: Known) -> str:
    """As :func:`reckoner.predict.intervals.novelty`, without neighbours: a design is no known configuration."""
    model = labels["model"] not in known.model
    device = labels["hardware"] not in known.hardware
    engine = f"{labels['family']}|{labels['setting']}" not in known.engine_setting
    if model + device + engine > 1:
        return "new to most"
    for new, name in ((engine, "new engine"), (device, "new device"), (model, "new model")):
        if new:
            return name
    return "new pairing"
