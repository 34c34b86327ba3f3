"""Why a prediction is what it is: every term with formula and source.

Each formula that is more than a word ("given", "counted", "learned", "assumed") yields its term's value from the values
of the others; a test computes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reckoner.design import Num
from reckoner.physics.arrays import Floats
from reckoner.physics.kvcache import BLOCK_TOKENS, round_to_blocks
from reckoner.predict import plan as _plan
from reckoner.predict.combine import BURST_SHARE, WAIT_SHARE, beyond, prefill_parts
from reckoner.predict.explain_gains import apart_terms, draft_steps, gains_asked, pool_formulas, widening
from reckoner.predict.explain_passes import (
    ROOFLINE,
    Asked,
    Pass,
    Symbols,
    Term,
    group,
    joined,
    limit,
    line,
    pass_terms,
    work_terms,
)
from reckoner.predict.explain_prompts import all_pass, all_prompts, all_work, gap_lines, own_pass, riding_on
from reckoner.predict.prediction import Prediction
from reckoner.predict.terms import ACTIVATION_BYTES, HOP_S, LAYER_S, Terms

__all__ = ["Term", "terms_of"]

_LITTLE = "Little 1961, doi:10.1287/opre.9.3.383"
_ASKED = "the question"
_MD1 = "M/D/1 queue of prefills: physics.queueing.md1_wait_s"


def terms_of(prediction: Prediction) -> tuple[Term, ...]:
    """Every term behind a prediction, inputs first.

    Raises
    ------
    InputError
        The question's arrays mix designs that follow different formulas.
    """
    return tuple(_terms(Asked.of(prediction)))


def _terms(a: Asked) -> Iterator[Term]:
    p, o = a.p, a.p.outcome
    yield from _question(a)
    yield from gains_asked(a)
    model = Symbols(p.design.model, a.plan.shape)
    yield from model.lines()
    yield from _device(a)
    yield from _learned(a)
    step = _step_pass(a, model)
    if a.drafted:
        yield from draft_steps(a, model, step)
    else:
        found = a.plan.step_terms(a.n, a.limits, o.batch)
        yield from work_terms(a, step, found, a.limits.sharers)
        yield from pass_terms(a, step, o.step, a.devices)
        yield line("gap at the printed limits", "l_d", o.least.tpot_s, "s", limit(step, a.devices), ROOFLINE)
    own = own_pass(a, model)
    found = a.plan.prefill_terms(a.n, a.limits, 1.0)
    yield from work_terms(a, own, found, a.n.prefill_ranks if a.apart else a.limits.sharers)
    yield from pass_terms(a, own, o.own, a.readers)
    yield line("prefill at the printed limits", "l_p", o.least.ttft_s, "s", limit(own, a.readers), ROOFLINE)
    if a.apart:
        yield from apart_terms(a, model, own)
    elif a.opened:
        yield from _open(a, model, own, found)
    elif np.any(o.batch > 1.0):
        yield from all_prompts(a, model)
    yield from _metrics(a)
    yield from widening(a)
    yield from _memory(a, model)
    if p.j_per_token is not None:
        yield from _energy(a, model, p.j_per_token)


def _question(a: Asked) -> Iterator[Term]:
    n, o = a.n, a.p.outcome
    asked = [
        ("tokens in", "T", n.prompt_tokens, "token"),
        ("tokens out", "n", n.output_tokens, "token"),
        ("tensor-parallel ranks", "N", n.tp, ""),
        ("replicas", "R", n.replicas, ""),
    ]
    if a.hit:
        asked.append(("share of a prompt in the cache", "h", n.prefix_hit, ""))
    if np.any(n.pp > 1.0):
        asked.append(("pipeline stages", "pp", n.pp, ""))
    if np.any(n.ep > 1.0):
        asked.append(("ranks that share the experts", "ep", n.ep, ""))
    if a.opened:
        asked.append(("arrivals", "λ", n.requests_per_s, "req/s"))
    moving = a.opened or a.apart
    asked.append(
        ("sequences at once, at most" if moving else "sequences at once", "B_max" if moving else "B", n.batch, "")
    )
    for name, symbol, value, unit in asked:
        yield line(name, symbol, value, unit, "given", _ASKED)
    if moving:
        yield line("sequences that decode at once on a server", "B", o.batch, "", _inside(a), _LITTLE)
    if np.any(n.pp > 1.0):
        yield line(
            "sequences of a decode pass",
            "b",
            _plan.shared_batch(o.batch, n.pp),
            "",
            "max(B / pp, 1)",
            "stages take turns",
        )
    if np.any(n.ep > 1.0):
        yield line("ranks of a collective", "N_c", np.maximum(n.tp, n.ep), "", "max(N, ep)", "predict.terms")
    prefix = n.prompt_tokens * n.prefix_hit
    if a.hit:
        yield line("tokens found in the cache", "p", prefix, "token", "h T", "definition")
        yield line("tokens read", "T_n", n.prompt_tokens - prefix, "token", "T - p", "definition")
    yield line(
        "mean context of a step",
        "S",
        n.prompt_tokens + 0.5 * n.output_tokens,
        "token",
        "T + n / 2",
        "middle of the answer",
    )


def _inside(a: Asked) -> str:
    """Write the sequences that decode at once; the search that finds them ends where this holds."""
    if not a.apart:
        return "max(min(λ E2E / R, B_max), 1)"
    rate = "λ" if a.opened else "X"
    return f"max(min({rate} (n - 1) TPOT / R, B_max), 1)"


def _device(a: Asked) -> Iterator[Term]:
    design = a.p.design
    device, weights, kv = design.device, design.weights_format, design.kv_format
    yield line("bytes of a weight", "s_w", weights.bytes_per_element, "B", "given", weights.source)
    yield line("bytes of a cache element", "s_kv", kv.bytes_per_element, "B", "given", kv.source)
    yield line("memory bandwidth", "β", device.bandwidth_bytes_per_s, "B/s", "given", device.source)
    yield line(f"peak in {design.compute_dtype}, dense", "π", a.plan.peak_flop_per_s, "FLOP/s", "given", device.source)
    yield line("nominal cost of a layer", "τ_o", LAYER_S, "s", "assumed", "unit of the learned multiple")
    if a.split:
        yield line("link of a device, one direction", "Λ", a.plan.link_bytes_per_s, "B/s", "given", device.source)
        yield line("nominal latency of a message", "τ", HOP_S, "s", "assumed", "unit of the learned share")
    yield line("bytes of an activation", "s_a", ACTIVATION_BYTES, "B", "assumed", "16 bits on the links")


def _learned(a: Asked) -> Iterator[Term]:
    f = a.p.outcome.factors
    e, first, source = f.efficiency, f.first, f.efficiency.source
    how = "learned" if a.p.given is None else "given"
    rows = [
        ("bandwidth share, weights", "η_w", e.mbu),
        ("bandwidth share, cache", "η_kv", e.mbu_kv),
        ("peak share, decode", "η_d", e.mfu_decode),
        ("multiple of a layer's cost, decode", "o_d", e.layer),
        ("bandwidth share, weights, first token", "η_w,p", first.mbu),
        ("bandwidth share, cache, first token", "η_kv,p", first.mbu_kv),
        ("peak share, first token", "η_p", first.mfu),
        ("multiple of a layer's cost, first token", "o_p", first.layer_prefill),
        ("peak share, prompts between steps", "η_r", e.mfu),
        ("factor on gaps beyond the limits", "w_d", f.tpot),
        ("factor on the first token beyond the limits", "w_p", f.ttft),
    ]
    if a.split:
        rows += [("link share", "η_l", e.link), ("link share, first token", "η_l,p", first.link)]
    if a.apart:
        rows.append(("multiple of a layer's cost, prompts between steps", "o_r", e.layer_prefill))
    waiting = not a.opened or bool(np.any(a.p.overloaded))
    if np.any(a.p.outcome.batch > 1.0) and waiting and not (a.apart or a.plan.static):
        rows.append(("size of the queue of prompts", "q", first.queue))
    for name, symbol, value in rows:
        yield line(name, symbol, value, "", how, source)


def _step_pass(a: Asked, m: Symbols) -> Pass:
    each = a.each
    ranks = "N" if m.replicated(a.n.tp) else ""
    held = m.cache("S", ranks)
    return Pass(
        name="step", sign="_d", weights=m.weights(each, grouped=a.grouped),
        cache=held if held == "0" else f"{each} {group(held)}",
        flops=f"{each} ({m.step_flops()})", layers="L", tokens=each, shares="", peak="η_d", overhead="o_d",
        kernels=m.kernels,
    )  # fmt: skip


def _open(a: Asked, m: Symbols, own: Pass, found: Terms) -> Iterator[Term]:
    """Arrivals at random: what a prompt costs the steps, and the closed loop that an overloaded server becomes."""
    n, o = a.n, a.p.outcome
    yield from gap_lines(a)
    riding = prefill_parts(found, o.factors.efficiency)
    carried = beyond(o.least.ttft_s, riding.total_s - riding.layers_s, o.factors.tpot) / n.pp
    formula = f"l_p + w_d max({joined(a, riding_on(own), a.devices, layers=False)} - l_p, 0)"
    end = " / pp" if np.any(n.pp > 1.0) else ""
    yield line(
        "a prompt, as steps carry it", "t_a", carried, "s", f"({formula}){end}" if end else formula, "predict.plan"
    )
    if np.any(a.p.overloaded):
        if np.any(o.batch > 1.0):
            yield from all_prompts(a, m)
        closed = a.plan.outcome(n._replace(requests_per_s=0.0), a.p.given).times
        yield line("first token of a closed loop", "TTFT_c", closed.ttft_s, "s", _closed_ttft(a), "predict.serving")
        yield line("gap of a closed loop", "TPOT_c", closed.tpot_s, "s", _closed_tpot(a), "predict.serving")


def _closed_tpot(a: Asked) -> str:
    gap = "t_d / E_k" if a.drafted else "t_d"
    if a.plan.static or not np.any(a.p.outcome.batch > 1.0):
        return f"l_d + w_d max({gap} - l_d, 0)"
    return f"l_d + w_d max({gap} + (1 - 1 / B) t_r / n - l_d, 0)"


def _closed_ttft(a: Asked) -> str:
    batch = a.p.outcome.batch
    if not np.any(batch > 1.0):
        return "l_p + w_p max(t_p - l_p, 0)"
    if a.plan.static:
        return "l_p + w_p max(t_b - l_p, 0)"
    found = "t_d / 2" if np.all(batch > 1.0) else "[B > 1] t_d / 2"
    gap = "t_d / E_k" if a.drafted else "t_d"
    foreign = "(1 - 1 / B) t_f"
    queue = f"q ({WAIT_SHARE:g} {foreign} / ({foreign} + n {gap}) + {BURST_SHARE:g}) {foreign}"
    if a.chunked:
        found += (
            " + (c - 1) max(t_d - t_d,w - t_d,o, 0)"
            if np.all(batch > 1.0)
            else " + [B > 1] (c - 1) max(t_d - t_d,w - t_d,o, 0)"
        )
    return f"l_p + w_p max(t_p + {found} + {queue} - l_p, 0)"


def _metrics(a: Asked) -> Iterator[Term]:
    p, o = a.p, a.p.outcome
    over = bool(np.any(p.overloaded))
    if a.apart:
        ttft, tpot, rate = pool_formulas(a)
    elif a.opened:
        wait = "λ t_a^2 / (2 R (1 - λ t_a / R))"
        ttft = "∞" if over else f"t_1 + min(λ E2E / R, 1) g_d / 2 + {wait}"
        tpot = "g_d + (B - 1) t_a / n" if over else "g_d / (1 - λ t_a / R)"
        rate = "B R / (TTFT_c + (n - 1) TPOT_c)" if over else "λ"
    else:
        ttft, tpot, rate = _closed_ttft(a), _closed_tpot(a), "B R / E2E"
    queue = "arrivals exceed what is served" if over else _MD1 if a.opened else "predict.serving"
    yield line("time per output token", "TPOT", p.tpot_s, "s", tpot, "predict.serving")
    yield line("time to first token", "TTFT", p.ttft_s, "s", ttft, queue)
    yield line("request", "E2E", p.e2e_s, "s", "TTFT + (n - 1) TPOT", "definition")
    carried = not (a.apart or a.plan.static) and bool(np.any(o.batch > 1.0))
    longest = "t_d + (t_p - t_p,o) / c" if a.chunked else "t_d + t_p - t_p,o"
    if carried and not np.all(o.batch > 1.0):
        longest = longest.replace("+ (t", "+ [B > 1] (t") if a.chunked else "t_d + [B > 1] (t_p - t_p,o)"
    longest = f"max(l_d + w_d max({longest if carried else 't_d'} - l_d, 0), TPOT)"
    yield line(
        "longest gap between tokens",
        "ITL_max",
        p.itl_max_s,
        "s",
        longest,
        "a step that carries a prompt: Agrawal et al. 2024, arXiv:2403.02310",
    )
    yield line("requests", "X", p.requests_per_s, "req/s", rate, _LITTLE)
    yield line("output tokens", "v", p.output_tokens_per_s, "tok/s", "n X", "definition")
    if p.usd_per_hour is not None and p.usd_per_m_output_tokens is not None:
        yield line("rent of a device", "r", p.usd_per_hour, "USD/h", "given", _ASKED)
        yield line(
            "a million output tokens", "C", p.usd_per_m_output_tokens, "USD", "1000000 D r / (3600 v)", "definition"
        )


def _memory(a: Asked, m: Symbols) -> Iterator[Term]:
    p, n, memory = a.p, a.n, a.p.memory
    reading = a.apart and not np.any(a.plan.decode_memory(n).total >= memory.total)
    places = "1" if reading else "B_max" if a.opened or a.apart else "B"
    ranks = "N_p" if reading and a.own_ranks else "N"
    over = f"({ranks} pp)" if np.any(n.pp > 1.0) else ranks
    grouped = a.grouped and not (reading and a.own_ranks)
    kept = n.prompt_tokens if reading else n.prompt_tokens + n.output_tokens
    formula = f"{BLOCK_TOKENS:g} ⌈{'T' if reading else '(T + n)'} / {BLOCK_TOKENS:g}⌉"
    yield line(
        "tokens kept of a sequence, in blocks",
        "A",
        round_to_blocks(kept),
        "token",
        formula,
        "Kwon et al. 2023, arXiv:2309.06180",
    )
    weights = f"s_w (P - P_x (1 - 1 / dp)) / {over}" if grouped and a.moe else f"s_w P / {over}"
    cache = f"{places} {group(_held(m, ranks, n.prefill_ranks if ranks == 'N_p' else n.tp))} / {over}"
    if grouped:
        cache = f"max(1 / dp, 1 / {places}) {cache}"
    if a.plan.draft is not None and a.drafted and p.design.draft is not None:
        small = Symbols(p.design.draft, a.plan.draft, ",q")
        weights = f"{weights} + s_w P,q / {over}"
        cache = f"{cache} + {places} {group(_held(small, ranks, n.tp))} / {over}{' / dp' if grouped else ''}"
    if a.plan.in_flash:
        yield line("weights in flash", "M_f", memory.flash, "B", weights, "read where they lie")
        yield line("weights a device", "M_w", memory.weights, "B", "0", "they stay in flash")
    else:
        yield line("weights a device", "M_w", memory.weights, "B", weights, "exact count")
    yield line("cache a device", "M_kv", memory.kv, "B", cache, "physics.kvcache.stored_bytes")
    yield line("runtime of a device", "M_r", a.plan.runtime_bytes, "B", "assumed", "driver, libraries, captured graphs")
    yield line(
        "copies of activations alive",
        "n_a",
        _plan.ACTIVATION_COPIES,
        "",
        "assumed",
        "residual stream and a gated inner layer",
    )
    if a.chunked:
        passed = "T_b"
    else:
        passed = "T_c"
        yield line(
            "tokens that an engine passes at once",
            "T_c",
            _plan.CHUNK_TOKENS,
            "token",
            "assumed",
            "vLLM's max_num_batched_tokens",
        )
    formula = f"M_r + n_a s_a d max(min({places} T, {passed}), {places}) / {ranks}"
    yield line("workspace a device", "M_x", memory.workspace, "B", formula, "assumption")
    yield line("memory a device", "M", p.memory_bytes, "B", "M_w + M_kv + M_x", "definition")


def _held(m: Symbols, ranks: str, tp: Floats) -> str:
    """Write what one sequence keeps."""
    held = m.cache("A", ranks if m.replicated(tp) else "", state=False)
    if m.shape.state_bytes == 0.0:
        return held
    return f"M_s{m.end}" if held == "0" else f"{held} + M_s{m.end}"


def _energy(a: Asked, m: Symbols, joules: Num) -> Iterator[Term]:
    p, o, n = a.p, a.p.outcome, a.n
    device = p.design.device
    yield line("power limit of a device", "P_max", device.figure("tdp_w"), "W", "given", device.source)
    if device.idle_w is not None:
        yield line("power at rest", "P_0", a.plan.idle_w, "W", "given", device.source)
    else:
        yield line(
            "power at rest", "P_0", a.plan.idle_w, "W", f"{_plan.IDLE_SHARE:g} P_max", "assumption: as an H100's"
        )
    decode = "N dp" if a.grouped else "N"
    decode = f"{decode} pp R" if np.any(n.pp > 1.0) else f"{decode} R"
    if a.apart:
        decode = f"{decode} + {'N_p' if a.own_ranks else a.devices} {'pp ' if np.any(n.pp > 1.0) else ''}x"
    yield line("devices", "D", n.devices, "", decode, "definition")
    rate = "λ" if a.opened else "X"
    if o.factors.energy is not None:
        factor = o.factors.energy * a.plan.power_factor(n, a.plan.step_terms(n, a.limits, o.batch, n.draft_tokens))
        yield line("multiple of the nominal power", "w_e", factor, "", "learned", o.factors.efficiency.source)
        each = f"max(min({_plan.POWER_SHARE:g} P_max w_e, P_max) - P_0, 0)"
        if a.opened or a.apart:
            inside = f"{rate} (n - 1) TPOT / R" if a.apart else "λ E2E / R"
            busy_s = (n.output_tokens - 1.0) * p.tpot_s if a.apart else p.e2e_s
            served = n.requests_per_s if a.opened else p.requests_per_s
            active = np.minimum(served * busy_s / n.replicas, 1.0)
            yield line("share of time with work", "u", active, "", f"min({inside}, 1)", _LITTLE)
            each = f"u {each}"
        watts = f"P_0 + {each}"
    else:
        yield from _limits_of_all(a, m)
        watts = "P_0 + (P_max - P_0) u"
    yield line(
        "energy of an output token",
        "E",
        joules,
        "J",
        f"D ({watts}) / v",
        "Fan et al. 2007, doi:10.1145/1250662.1250665",
    )


def _limits_of_all(a: Asked, m: Symbols) -> Iterator[Term]:
    """Share of the printed limits that is in use."""
    o, n = a.p.outcome, a.n
    end = " / pp" if np.any(n.pp > 1.0) else ""
    if a.apart:
        times = " pp" if end else ""
        formula = f"min(X (B l_p {a.readers}{end} + n l_d {a.devices}){times} / (B D), 1)"
    elif np.any(o.batch > 1.0):
        w = all_pass(a, m)
        if a.opened and not np.any(a.p.overloaded):
            yield from all_work(a, m)
        formula = f"min(X ({limit(w, a.devices)}{end} + n l_d) / (B R), 1)"
    else:
        formula = f"min(X (l_p{end} + n l_d) / (B R), 1)"
    yield line("share of the limits in use", "u", o.busy, "", formula, "time at the printed limits / time")
