"""Terms of reading prompts: one alone, those of all places, and what steps without any of them take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from reckoner.predict.combine import beyond, prefill_parts
from reckoner.predict.explain_passes import ROOFLINE, Asked, Pass, Symbols, Term, group, joined, line, work_terms


def own_pass(a: Asked, m: Symbols) -> Pass:
    """How reading one prompt is written."""
    passes = "c" if a.chunked else ""
    tokens = f"{a.new} / c" if a.chunked else a.new
    held = _read_again(a, m, "c")
    pairs = _pairs(a, m)
    return Pass(
        name="prefill", sign="_p", weights=m.weights(tokens, passes, grouped=a.grouped and not a.own_ranks),
        cache=held if held == "0" else f"{passes} {group(held)}".lstrip(),
        flops=f"2 P_a {a.new} + {pairs}" if pairs else f"2 P_a {a.new}", layers=f"{passes} L".lstrip(),
        tokens=tokens, shares=",p", peak="η_p", overhead="o_p", kernels=m.kernels, reads=True,
    )  # fmt: skip


def all_pass(a: Asked, m: Symbols) -> Pass:
    """How reading the prompts of all places is written."""
    static = a.plan.static
    passes = ("c_b" if static else "c") if a.chunked else ""
    tokens = f"B {a.new} / {passes}" if a.chunked else f"B {a.new}"
    held, pairs = _read_again(a, m, passes), _pairs(a, m)
    times = f"{passes} " if passes else ""
    weights = m.weights(tokens, passes, grouped=a.grouped) if static else m.weights(f"B {a.new}", grouped=a.grouped)
    own = f"2 P_a {a.new} + {pairs}" if pairs else f"2 P_a {a.new}"
    return Pass(
        name="all prompts", sign="_b", weights=weights, cache=held if held == "0" else f"B {times}{group(held)}",
        flops=f"B ({own})", layers=f"{times}L", tokens=tokens, shares=",p", peak="η_p", overhead="o_p",
        kernels=m.kernels,
    )  # fmt: skip


def riding_on(w: Pass) -> Pass:
    """Write the same pass on decode steps, by the shares of gaps."""
    return replace(w, shares="", peak="η_r", overhead="o_r")


def _read_again(a: Asked, m: Symbols, passes: str) -> str:
    """Write what each pass over a prompt finds in the cache."""
    behind = "p" if a.hit else ""
    if a.chunked:
        behind = f"({'p + ' if a.hit else ''}{a.new} (1 / 2 - 1 / (2 {passes})))"
    shared = a.n.prefill_ranks if a.own_ranks else a.n.tp
    ranks = ("N_p" if a.own_ranks else "N") if m.replicated(shared) else ""
    return m.cache(behind, ranks, state=False) if behind else "0"


def _pairs(a: Asked, m: Symbols) -> str:
    """Write operations of the pairs of query and key in one prompt."""
    shape = m.shape
    parts = []
    if shape.prefill_pair_flops != 0.0:
        f = "f" if shape.prefill_pair_flops == shape.pair_flops else "f_p"
        pairs = f"{a.new} ({a.new} + 1) / 2"
        parts.append(f"{f} ({a.new} p + {pairs})" if a.hit else f"{f} {pairs}")
    if shape.window is not None:

        def visible(tokens: str) -> str:
            near = f"min({tokens}, w)"
            return f"{near} ({near} + 1) / 2 + ({tokens} - {near}) {near}"

        parts.append(f"f_w ({visible('T')} - ({visible('p')}))" if a.hit else f"f_w ({visible('T')})")
    return " + ".join(parts)


def all_work(a: Asked, m: Symbols) -> Iterator[Term]:
    """What reading every place's prompt moves and computes."""
    n, batch = a.n, a.p.outcome.batch
    if a.plan.static and a.chunked:
        passes = np.maximum(np.ceil(batch * n.prompt_tokens * (1.0 - n.prefix_hit) / n.token_budget), 1.0)
        formula = f"max(⌈B T{' (1 - h)' if a.hit else ''} / T_b⌉, 1)"
        yield line("passes over all prompts", "c_b", passes, "", formula, "definition")
    yield from work_terms(a, all_pass(a, m), a.plan.prefill_terms(n, a.limits, batch), a.limits.sharers)


def all_prompts(a: Asked, m: Symbols) -> Iterator[Term]:
    """What reading every place's prompt costs: first tokens wait for it, and steps carry it."""
    o, w, n = a.p.outcome, all_pass(a, m), a.n
    yield from all_work(a, m)
    if a.plan.static:
        formula = joined(a, w, a.devices, layers=True)
        yield line("all prompts", "t_b", o.whole.total_s, "s", formula, ROOFLINE)
        return
    riding = prefill_parts(a.plan.prefill_terms(n, a.limits, o.batch), o.factors.efficiency)
    end = " / pp" if np.any(n.pp > 1.0) else ""
    for name, symbol, parts, each in (
        ("all prompts, as first tokens wait for them", "t_f", o.whole, w),
        ("all prompts, as steps carry them", "t_r", riding, riding_on(w)),
    ):
        formula = joined(a, each, a.devices, layers=False)
        seconds = (parts.total_s - parts.layers_s) / n.pp
        yield line(name, symbol, seconds, "s", f"({formula}){end}" if end else formula, ROOFLINE)


def gap_lines(a: Asked) -> Iterator[Term]:
    """The gap without what prompts add, and one prompt alone."""
    o = a.p.outcome
    step_s = o.step.total_s / o.progress
    gap = "t_d / E_k" if a.drafted else "t_d"
    value = beyond(o.least.tpot_s, step_s, o.factors.tpot)
    yield line("gap without prompts", "g_d", value, "s", f"l_d + w_d max({gap} - l_d, 0)", "predict.combine.beyond")
    value = beyond(o.least.ttft_s, o.own.total_s, o.factors.ttft)
    yield line("a prompt alone", "t_1", value, "s", "l_p + w_p max(t_p - l_p, 0)", "predict.combine.beyond")
