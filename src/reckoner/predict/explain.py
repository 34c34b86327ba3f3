"""Why a prediction is what it is: every term with formula and source, what binds, what would relieve or fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reckoner.design import Design, Num, Serving
from reckoner.errors import InputError, MissingFigureError
from reckoner.predict import plan as _plan
from reckoner.predict.combine import ORDER, Parts
from reckoner.predict.numbers import numbers_of
from reckoner.predict.plan import prepare
from reckoner.predict.prediction import BOUNDS, Prediction, fits, shares_of
from reckoner.predict.terms import HOP_S, LAYER_S
from reckoner.predict.work import decode_work, prefill_work

_ROOFLINE = "Williams et al. 2009, doi:10.1145/1498765.1498785"
_MEGATRON = "Shoeybi et al. 2019, arXiv:1909.08053"
_WORKSPACE = f"runtime + {_plan.ACTIVATION_COPIES:g} x 2 byte x d x min(T, {_plan.CHUNK_TOKENS:g}) / N"
_NARROWER = ("fp8", "int8", "int4")  # formats tried where weights are too large, widest first
_MOST_RANKS = 8  # devices of one server (assumption): more than these is another purchase, not a change of settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One line of an explanation.

    Parameters
    ----------
    name, symbol : str
        What it is, in words and as in the formula.
    value : Num
        In ``unit``.
    unit : str
        SI, or empty for a plain number.
    formula : str
        How it follows from other terms, or "given".
    source : str
        Where the formula or the figure comes from.
    """

    name: str
    symbol: str
    value: Num
    unit: str
    formula: str
    source: str


def terms_of(prediction: Prediction) -> tuple[Term, ...]:
    """Every term behind a prediction, inputs first."""
    return tuple(_terms(prediction))


def _terms(p: Prediction) -> Iterator[Term]:
    design, e, o = p.design, p.efficiency, p.outcome
    device, model, plan = design.device, design.model, prepare(design)
    n = numbers_of(design, p.workload)
    prefix = n.prompt_tokens * n.prefix_hit
    context = n.prompt_tokens + 0.5 * n.output_tokens
    step = decode_work(plan.shape, _plan.shared_batch(o.batch, n.pp), context, n.draft_tokens)
    own = prefill_work(plan.shape, 1.0, n.prompt_tokens - prefix, prefix)

    def term(name: str, symbol: str, value: Num, unit: str, formula: str, source: str) -> Term:
        return Term(name=name, symbol=symbol, value=value, unit=unit, formula=formula, source=source)

    yield term("parameters", "P", float(model.params), "", "given", model.source)
    yield term("active parameters", "P_a", plan.shape.active_params, "", "P without experts not visited", model.source)
    yield term(
        "bytes a weight", "s_w", design.weights_format.bytes_per_element, "B", "given", design.weights_format.source
    )
    yield term("memory bandwidth", "β", device.bandwidth_bytes_per_s, "B/s", "given", device.source)
    yield term(f"peak in {design.compute_dtype}, dense", "π", plan.peak_flop_per_s, "FLOP/s", "given", device.source)
    yield term("tensor-parallel ranks", "N", n.tp, "", "given", "the question")
    yield term("mean context of a step", "S", context, "token", "prompt + output / 2", "midpoint of the generation")
    yield term(
        "weights read by a step", "W", step.weight_bytes, "B", "s_w (P_dense + P_experts E[experts] / n)",
        "occupancy: physics.transformer.distinct_experts",
    )  # fmt: skip
    yield term("cache read by a step", "Q", step.kv_bytes, "B", "B k min(S, w)", "physics.kvcache.read_bytes")
    yield term(
        "operations of a step", "F", step.flops, "FLOP", "B (2 P_a + 4 L H d_h S)", "Kaplan et al. 2020, table 1"
    )
    learned = e.source
    yield term("bandwidth share, weights", "η_w", e.mbu, "", "learned", learned)
    yield term("bandwidth share, cache", "η_kv", e.mbu_kv, "", "learned", learned)
    yield term("peak share, decode", "η_d", e.mfu_decode, "", "learned", learned)
    yield term("peak share, prefill", "η_p", o.factors.first.mfu, "", "learned", learned)
    yield from _pass("step", o.step, "t_d", "W / (η_w N β)", "F / (η_d N π)", "B")
    yield term(
        "operations of a prefill", "F_p", own.flops, "FLOP", "T (2 P_a) + 2 L H d_h S (S + 1)",
        "physics.transformer.attended_pairs",
    )  # fmt: skip
    yield from _pass("prefill", o.own, "t_p", "W / (η_w N β)", "F_p / (η_p N π)", "T")
    yield term(
        "gap at the printed limits",
        "l_d",
        o.least.tpot_s,
        "s",
        "max(W / (N β) + Q / (N β), F / (N π)) / E_k",
        _ROOFLINE,
    )
    yield term("prefill at the printed limits", "l_p", o.least.ttft_s, "s", "max(W / (N β), F_p / (N π))", _ROOFLINE)
    yield term("factor on gaps beyond", "w_d", o.factors.tpot, "", "learned", learned)
    yield term("factor on the first token beyond", "w_p", o.factors.ttft, "", "learned", learned)
    if not design.serving.plain:
        from reckoner.predict.explain_gains import gain_terms

        yield from gain_terms(p)
    yield term("time per output token", "TPOT", p.tpot_s, "s", _tpot_formula(p), "predict.serving")
    yield term("time to first token", "TTFT", p.ttft_s, "s", _ttft_formula(p), "predict.serving")
    yield term("request", "E2E", p.e2e_s, "s", "TTFT + (n - 1) TPOT", "definition")
    yield term("requests", "X", p.requests_per_s, "req/s", "B replicas / E2E", "Little 1961, doi:10.1287/opre.9.3.383")
    yield term("output tokens", "X n", p.output_tokens_per_s, "tok/s", "X n", "definition")
    memory = p.memory
    yield term("weights a device", "M_w", memory.weights + memory.flash, "B", _weights_formula(p), "exact count")
    yield term(
        "cache a device", "M_kv", memory.kv, "B", "B k ⌈(prompt + n) / 16⌉ 16 copies / (N pp)",
        "Kwon et al. 2023, arXiv:2309.06180",
    )  # fmt: skip
    yield term("workspace a device", "M_x", memory.workspace, "B", _WORKSPACE, "assumption")
    yield term("memory a device", "M", p.memory_bytes, "B", "M_w + M_kv + M_x", "definition")
    if p.j_per_token is not None:
        yield term("share of the limits in use", "u", o.busy, "", "time at the printed limits / time", "definition")
        yield term("energy of an output token", "E", p.j_per_token, "J", *_power(p))


def _pass(what: str, parts: Parts, symbol: str, weights: str, compute: str, tokens: str) -> Iterator[Term]:
    rows = (
        (f"{what}: weights", f"{symbol},w", parts.weights_s, weights, _ROOFLINE),
        (f"{what}: cache", f"{symbol},kv", parts.kv_s, "Q / (η_kv N β)", _ROOFLINE),
        (f"{what}: arithmetic", f"{symbol},c", parts.compute_s, compute, _ROOFLINE),
        (f"{what}: fixed cost of layers", f"{symbol},o", parts.layers_s, f"L x {LAYER_S:g} s x learned", "learned"),
        (
            f"{what}: between devices", f"{symbol},l", parts.link_s,
            f"2 L ({HOP_S:g} s log2 N + 2 (N - 1) / N x 2 byte x d {tokens} / λ) / η_l", _MEGATRON,
        ),
        (
            what, symbol, parts.total_s, f"((t_w + t_kv)^{ORDER:g} + t_c^{ORDER:g})^(1/{ORDER:g}) + t_o + t_l",
            "physics.roofline.smooth_maximum",
        ),
    )  # fmt: skip
    for name, sign, value, formula, source in rows:
        yield Term(name=name, symbol=sign, value=value, unit="s", formula=formula, source=source)


def _weights_formula(p: Prediction) -> str:
    split = "s_w (P_dense + P_experts / dp) / (N pp)" if np.any(p.design.serving.dp > 1.0) else "s_w P / (N pp)"
    return split if p.design.draft is None else f"{split} + draft"


def _tpot_formula(p: Prediction) -> str:
    s = p.design.serving
    step = "t_d / E_k" if np.any(s.draft_tokens) else "t_d"
    gap = f"l_d + w_d ({step} - l_d)"
    if np.any(s.prefill_replicas) or s.scheduler == "static":
        return gap
    if np.any(p.workload.requests_per_s):
        return f"({gap}) / (1 - λ t_p)"
    return f"l_d + w_d ({step} + (1 - 1/B) t_p(B) / n - l_d)"


def _ttft_formula(p: Prediction) -> str:
    s = p.design.serving
    alone = "l_p + w_p (t_p - l_p)"
    if np.any(s.prefill_replicas):
        wait = "M/D/1 queue of prefills" if np.any(p.workload.requests_per_s) else "wait: N / X - (n - 1) TPOT in all"
        return f"{alone} + t_x + {wait}"
    if np.any(p.workload.requests_per_s):
        return f"{alone} + t_d / 2 + M/D/1 queue of prefills"
    if s.scheduler == "static":
        return "l_p + w_p (t_p(B) - l_p)"
    return "l_p + w_p (t_p + t_d / 2 + queue of other prefills - l_p), B > 1"


def _power(p: Prediction) -> tuple[str, str]:
    if p.given is None:
        return f"devices x {_plan.POWER_SHARE:g} P_max x learned / (X n)", p.efficiency.source
    return "devices (P_0 + (P_max - P_0) u) / (X n)", "Fan et al. 2007, doi:10.1145/1250662.1250665"


def sentence(prediction: Prediction) -> str:
    """What binds a single design, how much of a request it takes, and what would relieve it.

    Raises
    ------
    InputError
        The question held arrays.
    """
    bound = prediction.bound
    if not isinstance(bound, str):
        raise InputError(f"the question holds {bound.size} designs; ask for the sentence of one of them")
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
        return (
            "no lower batch, narrower weights or more ranks alone make it fit; "
            "combine them, or choose a device with more memory"
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
