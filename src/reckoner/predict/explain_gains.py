"""Terms of what a server gains beyond plain batching: data parallelism, drafts, chunks, servers apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reckoner.physics.arrays import Floats, minimum, where
from reckoner.predict.explain import Term
from reckoner.predict.numbers import Numbers, numbers_of
from reckoner.predict.plan import CHUNK_TOKENS, prepare
from reckoner.predict.prediction import Prediction
from reckoner.predict.theory import SIGMA, variance
from reckoner.predict.work import sequence_bytes

_LEVIATHAN = "Leviathan et al. 2023, eq. 1, arXiv:2211.17192"
_SARATHI = "Agrawal et al. 2024, arXiv:2403.02310"
_DISTSERVE = "Zhong et al. 2024, arXiv:2401.09670"
_LARGEST_BATCH = 65536.0  # beyond it a limit is none
_HALVINGS = 20


def gain_terms(p: Prediction) -> Iterator[Term]:
    """Terms of the gains that a design uses."""
    s, n = p.design.serving, numbers_of(p.design, p.workload)
    if np.any(n.dp > 1.0):
        yield _term("data-parallel groups", "dp", n.dp, "", "given; experts shared by N dp devices", "the question")
    if np.any(n.draft_tokens > 0.0):
        yield from _drafts(p, n)
    if np.any(n.token_budget > 0.0):
        yield _term("tokens of a pass at most", "T_b", s.token_budget, "token", "given", "the question")
        held = "" if np.all(n.prefill_replicas > 0.0) or s.scheduler == "static" else " - B (1 + k)"
        yield _term("passes a prompt", "c", p.outcome.passes, "", f"⌈prompt (1 - hit) / (T_b{held})⌉", _SARATHI)
    yield _term(
        "longest gap between tokens",
        "ITL_max",
        p.itl_max_s,
        "s",
        "l_d + w_d (t_d + (t_p - t_p,o) / c - l_d), B > 1",
        _SARATHI,
    )
    if np.any(n.prefill_replicas > 0.0):
        yield from _apart(p, n)
    for quantity in ("ttft", "tpot"):
        widths = ", ".join(f"{name} {SIGMA[name][quantity]:g}" for name in p.theory)
        if widths:
            yield _term(
                f"widening of the interval of {quantity.upper()}", "σ_x", variance(n, quantity) ** 0.5, "",
                f"root of the sum of squares: {widths}", "rests on theory alone: predict.theory.SIGMA",
            )  # fmt: skip


def _term(name: str, symbol: str, value: Floats, unit: str, formula: str, source: str) -> Term:
    return Term(name=name, symbol=symbol, value=value, unit=unit, formula=formula, source=source)


def _drafts(p: Prediction, n: Numbers) -> Iterator[Term]:
    o, draft = p.outcome, p.design.draft
    yield _term("tokens drafted", "k", n.draft_tokens, "token", "given", "the question")
    yield _term("acceptance", "a", n.acceptance, "", "given", "the question, or 0.7 assumed: Leviathan, table 3")
    if draft is None:
        yield _term("draft over plain step", "c_d", n.draft_share, "", "given", "the question, or Leviathan, sec. 3.3")
    else:
        yield _term("parameters of the draft", "P_d", float(draft.params), "", "given", draft.source)
    yield _term("tokens of a step", "E_k", o.progress, "token", "(1 - a^(k + 1)) / (1 - a)", _LEVIATHAN)
    cost = "t_d(verify B (k + 1)) + k " + ("c_d t_d(plain)" if draft is None else "t_d(draft)")
    yield _term("step with its drafts", "t_d", o.step.total_s, "s", cost, "Leviathan et al. 2023, theorem 3.8")
    yield _term(
        "largest batch that drafts speed up", "B_d", batch_limit(p), "", "t_d(B) / E_k <= plain t_d(B); 0: none",
        f"bisection; {_LARGEST_BATCH:g}: no limit up to there",
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


def _apart(p: Prediction, n: Numbers) -> Iterator[Term]:
    plan, o = prepare(p.design), p.outcome
    limits = plan.limits(n)
    cache = sequence_bytes(plan.shape, n.prompt_tokens)
    busy_s = plan.reading_s(n, o.factors, limits)
    yield _term("prefill servers", "x", n.prefill_replicas, "", "given", "the question")
    yield _term("decode servers", "y", n.replicas, "", "given", "the question")
    yield _term("devices of a prefill server", "N_p", n.prefill_ranks * n.pp, "", "given", "the question")
    yield _term("cache of a prompt", "M_p", cache, "B", "k prompt", "physics.kvcache.stored_bytes")
    yield _term("link of a device", "λ_x", n.kv_link_bytes_per_s, "B/s", "given", "the question, or 400 Gbit/s")
    yield _term("cache travels", "t_x", o.transfer_s, "s", "5e-06 s + M_p / (λ_x min(N, N_p))", "physics.parallel")
    yield _term(
        "prompt on a busy prefill server", "t_b", busy_s, "s", f"t_p(m prompts) / m, m = ⌊{CHUNK_TOKENS:g} / prompt⌋",
        "predict.plan.Plan.reading_s",
    )  # fmt: skip
    yield _term("prefill servers, requests at most", "X_p", n.prefill_replicas / busy_s, "req/s", "x / t_b", _DISTSERVE)
    yield _term("requests that decode on a server", "B", o.batch, "", "X (n - 1) TPOT / y", "predict.pools")
    yield _term(
        "requests", "X", p.requests_per_s, "req/s", "min(X_p, N y / (t_p + t_x + (n - 1) TPOT))", "predict.pools"
    )
    yield _term("devices", "D", n.devices, "", "x N_p + y N dp pp", "definition")
