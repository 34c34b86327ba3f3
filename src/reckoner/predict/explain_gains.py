"""Terms of what a server gains beyond plain batching: data parallelism, drafts, chunks, servers apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from reckoner.physics.arrays import Floats, floor, maximum, minimum, where
from reckoner.predict.combine import BURST_SHARE, WAIT_SHARE, beyond, decode_parts, prefill_parts
from reckoner.predict.explain_passes import Asked, Pass, Symbols, Term, group, limit, line, pass_terms, work_terms
from reckoner.predict.explain_prompts import gap_lines, riding_on
from reckoner.predict.numbers import numbers_of
from reckoner.predict.plan import CHUNK_TOKENS, prepare
from reckoner.predict.prediction import Prediction
from reckoner.predict.terms import HOP_S
from reckoner.predict.theory import SIGMA, variance
from reckoner.predict.work import sequence_bytes

_ASKED = "the question"
_LEVIATHAN = "Leviathan et al. 2023, eq. 1, arXiv:2211.17192"
_SARATHI = "Agrawal et al. 2024, arXiv:2403.02310"
_DISTSERVE = "Zhong et al. 2024, arXiv:2401.09670"
_LARGEST_BATCH = 65536.0  # beyond it a limit is none
_HALVINGS = 20


def gains_asked(a: Asked) -> Iterator[Term]:
    """What the question says of the gains that a design uses."""
    n, s, draft = a.n, a.p.design.serving, a.p.design.draft
    if a.grouped:
        yield line("data-parallel groups", "dp", n.dp, "", "given", _ASKED)
    if a.drafted:
        yield line("tokens drafted", "k", n.draft_tokens, "token", "given", _ASKED)
        yield line("acceptance", "a", n.acceptance, "", "given", "the question, or 0.7 assumed: Leviathan, table 3")
        if draft is None:
            yield line(
                "draft over plain step", "c_d", n.draft_share, "", "given", "the question, or Leviathan, sec. 3.3"
            )
    if a.apart:
        yield line("prefill servers", "x", n.prefill_replicas, "", "given", _ASKED)
        if a.own_ranks:
            yield line("devices of a prefill server", "N_p", n.prefill_ranks, "", "given", _ASKED)
        yield line(
            "link over which caches travel", "λ_x", n.kv_link_bytes_per_s, "B/s", "given", "the question, or 400 Gbit/s"
        )
    if a.chunked:
        yield line("tokens of a pass at most", "T_b", s.token_budget, "token", "given", _ASKED)
        places = "B_max" if a.opened else "B"
        held = "" if a.apart or a.plan.static else f" - {places} (1 + k)" if a.drafted else f" - {places}"
        prompt = "T (1 - h)" if a.hit else "T"
        yield line("passes a prompt", "c", a.p.outcome.passes, "", f"max(⌈{prompt} / max(T_b{held}, 1)⌉, 1)", _SARATHI)


def draft_steps(a: Asked, m: Symbols, step: Pass) -> Iterator[Term]:
    """A step that drafts and verifies: each of its passes, and what they come to."""
    o, n, draft, e = a.p.outcome, a.n, a.p.design.draft, a.p.efficiency
    each = a.each
    tokens = f"{each} (1 + k)"
    verify = replace(
        step, name="verifying", sign="_v", weights=m.weights(tokens, grouped=a.grouped),
        flops=f"{tokens} ({m.step_flops()})", tokens=tokens,
    )  # fmt: skip
    small = replace(step, name="drafting", sign="_0")
    times = "k c_d"
    if draft is not None and a.plan.draft is not None:
        q = Symbols(draft, a.plan.draft, ",q")
        yield from q.lines()
        held = q.cache("S", "N" if q.replicated(n.tp) else "")
        small = replace(
            small, weights=q.weights(each), cache=held if held == "0" else f"{each} {group(held)}",
            flops=f"{each} ({q.step_flops()})", layers="L,q", width="d,q", kernels=q.kernels,
        )  # fmt: skip
        times = "k"
    found = a.plan.step_terms(n, a.limits, o.batch, n.draft_tokens), a.plan.draft_terms(n, a.limits, o.batch)
    parts = tuple(decode_parts(each_terms, e) for each_terms in found)
    for which, its_terms, its_parts in zip((verify, small), found, parts, strict=True):
        yield from work_terms(a, which, its_terms, a.limits.sharers)
        yield from pass_terms(a, which, its_parts, a.devices)
    sums = (
        ("step: weights", "t_d,w", o.step.weights_s, f"t_v,w + {times} t_0,w"),
        ("step: fixed cost of layers", "t_d,o", o.step.layers_s, f"t_v,o + {times} t_0,o"),
        ("step with its drafts", "t_d", o.step.total_s, f"t_v + {times} t_0"),
    )
    for name, symbol, value, formula in sums:
        yield line(name, symbol, value, "s", formula, "Leviathan et al. 2023, theorem 3.8")
    certain = bool(np.all(n.acceptance == 1.0))
    yield line(
        "tokens of a step", "E_k", o.progress, "token", "k + 1" if certain else "(1 - a^(k + 1)) / (1 - a)", _LEVIATHAN
    )
    least = f"({limit(verify, a.devices)} + {times} {limit(small, a.devices)}) / E_k"
    yield line("gap at the printed limits", "l_d", o.least.tpot_s, "s", least, "physics.roofline")
    yield line(
        "largest batch that drafts speed up", "B_d", batch_limit(a.p), "", "searched",
        f"most B with t_d / E_k <= plain step; 0: none, {_LARGEST_BATCH:g}: any",
    )  # fmt: skip


def batch_limit(p: Prediction) -> Floats:
    """Largest batch up to which the drafts of a design shorten the time of an output token; 0 where they never do.

    Beyond it verification is bound by arithmetic and costs more than it saves.
    """
    plan, n = prepare(p.design), numbers_of(p.design, p.workload)
    limits = plan.limits(n)
    bare = n._replace(draft_tokens=0.0 * n.draft_tokens)

    def faster(batch: Floats) -> bool | NDArray[np.bool_]:
        with_, without = (plan.step(each, limits, batch, p.efficiency) for each in (n, bare))
        return with_.parts.total_s / with_.progress <= without.parts.total_s

    low: Floats = 0.0 * p.outcome.step.total_s
    high: Floats = low + _LARGEST_BATCH
    low = where(faster(low + 1.0), low + 1.0, low)
    low = where(faster(high), high, low)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        yes = faster(middle)
        low, high = where(yes, minimum(middle, high), low), where(yes, high, middle)
    return where(low >= 1.0, low - low % 1.0, 0.0)


def apart_terms(a: Asked, m: Symbols, own: Pass) -> Iterator[Term]:
    """Prefill servers apart: what a prompt costs them, and how its cache travels."""
    plan, o, n = a.plan, a.p.outcome, a.n
    yield from gap_lines(a)
    yield line(
        "cache of a prompt",
        "M_p",
        sequence_bytes(plan.shape, n.prompt_tokens),
        "B",
        _kept(m),
        "physics.kvcache.stored_bytes",
    )
    if not a.split:
        yield line("nominal latency of a message", "τ", HOP_S, "s", "assumed", "predict.terms")
    pp = "pp " if np.any(n.pp > 1.0) else ""
    links = f"min(N_p, {a.devices})" if a.own_ranks else a.devices
    yield line("cache travels", "t_x", o.transfer_s, "s", f"τ + M_p / ({links} {pp}λ_x)", "physics.parallel.transfer_s")
    room = where(n.token_budget > 0.0, n.token_budget, CHUNK_TOKENS) * where(n.prefill_tp > 0.0, 1.0, n.dp)
    several = maximum(floor(room / (n.prompt_tokens * (1.0 - n.prefix_hit))), 1.0)
    budget = "T_b" if a.chunked else f"{CHUNK_TOKENS:g}"
    budget = f"{budget} dp" if a.grouped and not a.own_ranks else budget
    prompt = "(T (1 - h))" if a.hit else "T"
    yield line(
        "prompts that a busy server reads at once", "m", several, "", f"max(⌊{budget} / {prompt}⌋, 1)", "predict.plan"
    )
    found = plan.prefill_terms(n, a.limits, several, apart=True)
    parts = prefill_parts(found, o.factors.efficiency)
    each = riding_on(_several(a, m, own))
    yield from work_terms(a, each, found, n.prefill_ranks)
    yield from pass_terms(a, each, parts, a.readers)
    end = " pp" if pp else ""
    whole = "l_m + w_d max(t_m - l_m, 0)"
    limit_s = maximum(found.weights_s + found.kv_s, found.compute_s)
    yield line("pass at the printed limits", "l_m", limit_s, "s", limit(each, a.readers), "physics.roofline")
    reading_s = plan.reading_s(n, o.factors, a.limits)
    yield line(
        "prompt on a busy prefill server", "t_y", reading_s, "s", f"({whole}) / (m{end})", "predict.plan.Plan.reading_s"
    )
    own_s = beyond(o.least.ttft_s, o.own.total_s, o.factors.ttft)
    busy_s = maximum(minimum(reading_s, own_s), o.transfer_s)
    yield line("prompt holds a prefill server", "t_z", busy_s, "s", "max(min(t_y, t_1), t_x)", "predict.plan")
    yield line("prefill servers, requests at most", "X_p", n.prefill_replicas / busy_s, "req/s", "x / t_z", _DISTSERVE)
    if not a.opened:
        foreign_s = (n.batch - 1.0) * busy_s * n.replicas / n.prefill_replicas
        yield line("prompts of the others", "z", foreign_s, "s", "(B_max - 1) t_z R / x", "predict.pools")


def _kept(m: Symbols) -> str:
    held = m.cache("T", state=False)
    if m.shape.state_bytes == 0.0:
        return held
    return "M_s" if held == "0" else f"{held} + M_s"


def _several(a: Asked, m: Symbols, own: Pass) -> Pass:
    """How a pass over several prompts is written."""
    tokens = f"m {a.new} / c" if a.chunked else f"m {a.new}"
    return replace(
        own, name="several prompts", sign="_m",
        weights=m.weights(tokens, "c" if a.chunked else "", grouped=a.grouped and not a.own_ranks),
        cache=own.cache if own.cache == "0" else f"m {own.cache}", flops=f"m ({own.flops})", tokens=tokens,
    )  # fmt: skip


def pool_formulas(a: Asked) -> tuple[str, str, str]:
    """Write the first token, the gap and the rate of servers apart."""
    if not a.opened:
        queue = "" if np.all(a.n.batch <= 1.0) else f" + ({WAIT_SHARE:g} z / (z + n TPOT) + {BURST_SHARE:g}) z"
        rate = f"min(X_p, R B_max / (t_1 + t_x{queue} + (n - 1) TPOT))"
        return "R B_max / X - (n - 1) TPOT", "g_d", rate
    if np.any(a.p.overloaded):
        return "∞", "g_d", "min(X_p, R B_max / ((n - 1) TPOT))"
    return "t_1 + t_x + λ t_z^2 / (2 x (1 - λ t_z / x))", "g_d", "λ"


def widening(a: Asked) -> Iterator[Term]:
    """What makes intervals wider for gains that rest on theory alone."""
    for quantity in ("ttft", "tpot"):
        widths = " + ".join(f"{SIGMA[name][quantity]:g}^2" for name in a.p.theory)
        if widths:
            yield line(
                f"widening of the interval of {quantity.upper()}", f"σ_{quantity}", variance(a.n, quantity) ** 0.5, "",
                f"({widths})^(1/2)", f"{', '.join(a.p.theory)}: predict.theory.SIGMA",
            )  # fmt: skip
