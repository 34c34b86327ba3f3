"""Terms of one pass through a model, of a decode step or of prompts: what it moves and computes, and how long it takes.

Formulas are written so that they can be computed from the symbols of other terms: a space multiplies, ``[a > b]`` is 1
where that holds and 0 elsewhere (Iverson's bracket), ⌈x⌉ and ⌊x⌋ round up and down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reckoner.catalogue.model import Model
from reckoner.design import Num
from reckoner.errors import InputError
from reckoner.physics.arrays import Floats
from reckoner.predict.combine import Parts
from reckoner.predict.numbers import Numbers, numbers_of
from reckoner.predict.plan import Plan, prepare
from reckoner.predict.prediction import Prediction
from reckoner.predict.terms import Limits, Terms
from reckoner.predict.work import Shape

ROOFLINE = "Williams et al. 2009, doi:10.1145/1498765.1498785"
_MEGATRON = "Shoeybi et al. 2019, arXiv:1909.08053, sec. 3; ring all-reduce"
_KAPLAN = "Kaplan et al. 2020, arXiv:2001.08361, table 1"
_MIXED = ("prefill_replicas", "prefill_tp", "token_budget")  # 0 leaves a formula without them
_OCCUPANCY = "balls in bins: physics.transformer.distinct_experts"


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
        How it follows from the values of other terms; or where it comes from: "given", "counted", "learned", "assumed".
    source : str
        Where the formula or the figure comes from.
    """

    name: str
    symbol: str
    value: Num
    unit: str
    formula: str
    source: str


def line(name: str, symbol: str, value: Floats, unit: str, formula: str, source: str) -> Term:
    """Make a term."""
    return Term(name=name, symbol=symbol, value=value, unit=unit, formula=formula, source=source)


def group(text: str) -> str:
    """Put a sum in brackets, so that it can stand in a product."""
    return f"({text})" if " + " in text or " - " in text else text


@dataclass(frozen=True, slots=True)
class Asked:
    """A prediction with what its explanation asks again and again: which parts of the theory are in play."""

    p: Prediction
    plan: Plan
    n: Numbers
    limits: Limits

    @classmethod
    def of(cls, p: Prediction) -> Asked:
        """Lay out a prediction.

        Raises
        ------
        InputError
            Its arrays mix designs that follow different formulas.
        """
        plan, n = prepare(p.design), numbers_of(p.design, p.workload)
        ways: dict[str, Any] = {name: getattr(n, name) > 0.0 for name in _MIXED}
        ways |= {"acceptance": n.acceptance == 1.0, "requests_per_s": (n.requests_per_s > 0.0) + 1 * p.overloaded}
        for name, way in ways.items():
            if np.any(way != np.ravel(way)[0]):
                raise InputError(f"{name} mixes designs that follow different formulas; explain them apart")
        return cls(p, plan, n, plan.limits(n))

    @property
    def moe(self) -> bool:
        """Whether there are experts to choose."""
        return self.p.design.model.experts is not None

    @property
    def windowed(self) -> bool:
        """Whether some layers look through a window."""
        return self.plan.shape.window is not None

    @property
    def hit(self) -> bool:
        """Whether part of a prompt is found in the cache."""
        return bool(np.any(self.n.prefix_hit > 0.0))

    @property
    def split(self) -> bool:
        """Whether devices exchange activations."""
        return bool(np.any(self.limits.sharers * self.n.pp > 1.0) or np.any(self.n.prefill_ranks > 1.0))

    @property
    def apart(self) -> bool:
        """Whether prompts are read on servers of their own."""
        return bool(np.any(self.n.prefill_replicas > 0.0))

    @property
    def opened(self) -> bool:
        """Whether requests arrive at random."""
        return bool(np.any(self.n.requests_per_s > 0.0))

    @property
    def drafted(self) -> bool:
        """Whether tokens are drafted."""
        return bool(np.any(self.n.draft_tokens > 0.0))

    @property
    def chunked(self) -> bool:
        """Whether passes have a budget of tokens."""
        return bool(np.any(self.n.token_budget > 0.0))

    @property
    def grouped(self) -> bool:
        """Whether groups split the batch."""
        return bool(np.any(self.n.dp > 1.0))

    @property
    def own_ranks(self) -> bool:
        """Whether prefill servers have another number of devices than decode servers."""
        return bool(np.any(self.n.prefill_tp > 0.0)) and self.apart

    @property
    def devices(self) -> str:
        """Symbols of the devices that share a decode server's pass."""
        return "N dp" if self.grouped else "N"

    @property
    def readers(self) -> str:
        """Symbols of the devices that share a pass over prompts."""
        return "N_p" if self.own_ranks else self.devices

    @property
    def ranks(self) -> str:
        """Symbol of the ranks that meet in a collective of a decode server."""
        return "N_c" if np.any(self.n.ep > 1.0) else "N"

    @property
    def each(self) -> str:
        """Symbol of the sequences in one decode pass."""
        return "b" if np.any(self.n.pp > 1.0) else "B"

    @property
    def new(self) -> str:
        """Symbol of the tokens of a prompt that are read."""
        return "T_n" if self.hit else "T"


@dataclass(frozen=True, slots=True)
class Symbols:
    """What the formulas call the quantities of a model; those of a draft end in ",q"."""

    model: Model
    shape: Shape
    end: str = ""

    def replicated(self, ranks: Floats) -> bool:
        """Whether ranks outnumber the key-value heads."""
        return bool(np.any(ranks > self.shape.kv_heads)) and self.shape.kv_bytes_per_token != 0.0

    def weights(self, tokens: str, passes: str = "", *, grouped: bool = False) -> str:
        """Write bytes of weights that passes over so many tokens each read, every group its copy of dense layers."""
        q, times = self.end, f"{passes} " if passes else ""
        if self.model.experts is None:
            return f"{times}s_w P{q}"
        met = tokens if tokens.isidentifier() else f"({tokens})"
        read = f"P{q} - P_x{q} (1 - K_x{q} / E_x{q})^{met}"
        if grouped:
            read = f"{read} + (dp - 1) (P{q} - P_x{q})"
        return f"{times}s_w ({read})"

    def cache(self, context: str, ranks: str = "", *, state: bool = True) -> str:
        """Write bytes that one sequence has in the cache, or of what a step reads of it with its state moved twice."""
        q = self.end
        parts = [f"κ{q} {context}"] if self.shape.kv_bytes_per_token != 0.0 else []
        if self.shape.window is not None:
            parts.append(f"κ_w{q} min({context}, w{q})")
        held = " + ".join(parts)
        if ranks and held:
            held = f"max({ranks} / H_kv{q}, 1) ({held})"
        if state and self.shape.state_bytes != 0.0:
            held = f"{held} + 2 M_s{q}" if held else f"2 M_s{q}"
        return held or "0"

    @property
    def kernels(self) -> str:
        """Symbol of the kernels of a layer, where it launches more than a dense one."""
        return "" if self.shape.kernels == 1.0 else f" χ{self.end}"

    def step_flops(self) -> str:
        """Write operations of one token in a decode step."""
        q = self.end
        parts = [f"2 P_a{q}"]
        if self.shape.pair_flops != 0.0:
            parts.append(f"f{q} S")
        if self.shape.window is not None:
            parts.append(f"f_w{q} min(S, w{q})")
        return " + ".join(parts)

    def lines(self) -> Iterator[Term]:
        """What formulas take from the model."""
        m, shape, q = self.model, self.shape, self.end
        of = "draft: " if q else ""

        def counted(name: str, symbol: str, value: Floats, unit: str = "") -> Term:
            return line(f"{of}{name}", f"{symbol}{q}", value, unit, "counted", m.source)

        yield counted("parameters", "P", float(m.params))
        yield counted("parameters that a token meets", "P_a", shape.active_params)
        if m.experts is not None:
            e = m.experts
            yield counted("parameters of routed experts", "P_x", float(e.n_layers * e.n_experts * e.params_each))
            yield counted("routed experts of a layer", "E_x", shape.n_experts)
            yield counted("experts that a token visits", "K_x", shape.n_active)
        yield counted("layers", "L", shape.n_layers)
        if self.kernels:
            yield line(f"{of}kernels of a layer, dense: 1", f"χ{q}", shape.kernels, "", "assumed", "terms.KERNELS")
        yield counted("width", "d", shape.hidden)
        yield counted("cache elements of a token", "e_kv", float(m.full_kv_elements_per_token))
        yield line(f"{of}cache of a token", f"κ{q}", shape.kv_bytes_per_token, "B", f"s_kv e_kv{q}", "physics.kvcache")
        if shape.window is not None:
            yield counted(
                "cache elements of a token in windowed layers", "e_kvw", float(m.windowed_kv_elements_per_token)
            )
            value = shape.windowed_kv_bytes_per_token
            yield line(
                f"{of}cache of a token in windowed layers", f"κ_w{q}", value, "B", f"s_kv e_kvw{q}", "physics.kvcache"
            )
            yield counted("window", "w", shape.window, "token")
            yield counted("operations of a pair in windowed layers", "f_w", shape.windowed_pair_flops, "FLOP")
        if shape.state_bytes != 0.0:
            yield counted("elements of recurrent state", "e_s", float(m.state_elements))
            yield line(
                f"{of}recurrent state of a sequence",
                f"M_s{q}",
                shape.state_bytes,
                "B",
                f"s_kv e_s{q}",
                "physics.kvcache",
            )
        yield counted("operations of a query and a key", "f", shape.pair_flops, "FLOP")
        if shape.prefill_pair_flops != shape.pair_flops:
            yield counted("operations of a query and a key in a prefill", "f_p", shape.prefill_pair_flops, "FLOP")
        yield counted("key-value heads that ranks can share out", "H_kv", shape.kv_heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """How the formulas of one pass are written.

    Parameters
    ----------
    name, sign : str
        In words, and the end of its symbols.
    weights, cache, flops, layers, tokens : str
        Formulas of what it moves and computes, and of its layers and tokens.
    shares : str
        End of the symbols of the shares that apply: "" for gaps, ",p" for the first token.
    peak, overhead : str
        Symbols of the share of the peak and of the multiple of a layer's nominal cost.
    width : str
        Symbol of the width of what devices exchange.
    kernels : str
        Symbol of the kernels of a layer, after a space; empty where each is a dense one's.
    reads : bool
        Whether it is a pass over prompts, which prefill servers may do.
    """

    name: str
    sign: str
    weights: str
    cache: str
    flops: str
    layers: str
    tokens: str
    shares: str
    peak: str
    overhead: str
    width: str = "d"
    kernels: str = ""
    reads: bool = False


def work_terms(a: Asked, w: Pass, found: Terms, sharers: Floats) -> Iterator[Term]:
    """What a pass moves and computes, at the printed limits."""
    beta, peak = a.limits.bandwidth_bytes_per_s, a.limits.peak_flop_per_s
    moe = _OCCUPANCY if a.moe and "K_x" in w.weights else "every weight once"
    yield line(f"{w.name}: weights read", f"W{w.sign}", found.weights_s * sharers * beta, "B", w.weights, moe)
    if w.cache != "0":
        value = found.kv_s * sharers * beta
        yield line(f"{w.name}: cache read", f"Q{w.sign}", value, "B", w.cache, "physics.kvcache.read_bytes")
    yield line(f"{w.name}: operations", f"F{w.sign}", found.compute_s * sharers * peak, "FLOP", w.flops, _KAPLAN)
    if a.split:
        yield line(f"{w.name}: on links", f"H{w.sign}", found.link_s, "s", _link(a, w), _MEGATRON)


def _link(a: Asked, w: Pass) -> str:
    own = w.reads and a.own_ranks
    ranks = "N_p" if own else a.ranks
    tp = "N_p" if own else "N"
    experts = ("min(ep, N_p)" if own else "ep") if np.any(a.n.ep > 1.0) else ""
    hops = f"τ (log2({tp}) + log2({experts}) / 2)" if experts else f"τ log2({tp})"
    groups = "dp " if a.grouped and not own else ""
    tokens = f"({w.tokens})" if "/" in w.tokens else w.tokens
    wire = f"2 ({ranks} - 1) s_a {w.width} {tokens} / ({ranks} {groups}Λ)"
    whole = f"2 {w.layers} ({hops} + {wire})"
    return f"{whole} + (pp - 1) (τ + s_a {w.width} {tokens} / Λ)" if np.any(a.n.pp > 1.0) else whole


def limit(w: Pass, devices: str) -> str:
    """Write the time of a pass at the printed limits."""
    memory = f"W{w.sign}" if w.cache == "0" else f"(W{w.sign} + Q{w.sign})"
    return f"max({memory} / ({devices} β), F{w.sign} / ({devices} π))"


def joined(a: Asked, w: Pass, devices: str, *, layers: bool) -> str:
    """Write the time of a pass in one line."""
    memory = f"W{w.sign} / (η_w{w.shares} {devices} β)"
    if w.cache != "0":
        memory = f"{memory} + Q{w.sign} / (η_kv{w.shares} {devices} β)"
    whole = f"(({memory})^4 + (F{w.sign} / ({w.peak} {devices} π))^4)^(1/4)"
    if layers:
        whole = f"{whole} + {w.layers}{w.kernels} τ_o {w.overhead}"
    return f"{whole} + H{w.sign} / η_l{w.shares}" if a.split else whole


def pass_terms(a: Asked, w: Pass, parts: Parts, devices: str) -> Iterator[Term]:
    """Seconds of a pass by cause, with the shares that are got of the limits."""
    sign = f"t{w.sign}"
    rows = [("weights", f"{sign},w", parts.weights_s, f"W{w.sign} / (η_w{w.shares} {devices} β)", ROOFLINE)]
    memory = f"{sign},w"
    if w.cache != "0":
        memory = f"({sign},w + {sign},kv)"
        rows.append(("cache", f"{sign},kv", parts.kv_s, f"Q{w.sign} / (η_kv{w.shares} {devices} β)", ROOFLINE))
    rows.append(("arithmetic", f"{sign},c", parts.compute_s, f"F{w.sign} / ({w.peak} {devices} π)", ROOFLINE))
    overhead = f"{w.layers}{w.kernels} τ_o {w.overhead}"
    rows.append(("fixed cost of layers", f"{sign},o", parts.layers_s, overhead, "launches and host work"))
    whole = f"({memory}^4 + {sign},c^4)^(1/4) + {sign},o"
    if a.split:
        rows.append(("between devices", f"{sign},l", parts.link_s, f"H{w.sign} / η_l{w.shares}", _MEGATRON))
        whole = f"{whole} + {sign},l"
    for what, symbol, value, formula, source in rows:
        yield line(f"{w.name}: {what}", symbol, value, "s", formula, source)
    yield line(w.name, sign, parts.total_s, "s", whole, "physics.roofline.smooth_maximum")
