"""Each kind of published quantity as a composition of decode steps and prefills: where a row becomes physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reckoner.predict.combine import beyond, closed_loop_ttft_s, decode_parts, prefill_parts
from reckoner.predict.efficiency import Efficiency
from reckoner.predict.rows import Column, Rows
from reckoner.predict.terms import Limits, Terms, Work, terms

EFFECTS = (
    *("weights", "kv", "decode_flops", "prefill_flops", "layers", "prefill_layers", "link"),
    *("served_flops", "served_layers", "whole", "queue", "burst", "power", "state", "cache", "context", "workspace"),
)
"""What can be slower or larger than its nominal size; an effect is the logarithm of that factor."""

LOSS = {"weights": 0.25, "kv": 0.6, "decode_flops": 1.0, "prefill_flops": 1.0, "served_flops": 1.0}
"""Nominal time beyond the printed limit, as a share of the time at the limit; its fitted multiple is never negative, so
no fitted efficiency exceeds 1. Assumption: the unit of a fitted effect."""

_MEMORY_FOR_WEIGHTS = 0.6
"""Share of memory that weights may fill where a submission states no parallelism. Assumption: the yardstick's."""
_LARGEST_BATCH = 1024.0
_USABLE = 0.9
"""Share of memory that an engine allocates: vLLM's gpu_memory_utilization (docs.vllm.ai, 2026-11-20)."""
_POWER_SHARE = 0.7
"""Nominal draw as a share of the power limit. Assumption: the unit of a fitted effect."""
_BURST = 0.05
"""Nominal share of all clients' prefills that the start-up burst adds to the mean first token: half of them, in a tenth
of the requests (InferenceX sends ten a client; github.com/InferenceMAX/InferenceMAX, 2026-11-20). The unit of a fitted
effect."""
_CONTEXT_GB = {"mobile": 0.1}
_CONTEXT_ELSEWHERE_GB = 0.5
"""Nominal memory that a runtime takes before any model: a CUDA context with its libraries, a mobile NPU's driver.
Assumption: the unit of a fitted effect."""
_WIDTHS, _LOGITS = 32.0, 6.0
"""Nominal bytes of activations for a prompt's token and a unit of width, and of scores in 32 and 16 bits for a token
and a word of the vocabulary. Assumption: the unit of a fitted effect."""
_GROWN = 2.0
"""An eager framework grows a cache by copying it: old and new stand side by side (transformers' DynamicCache)."""
_NARROW = ("int4", "q3", "q2", "w4a8")
_TABLES = {
    "openvino": 1.0,
    **dict.fromkeys(("autoawq", "exllama", "exllamav2", "transformers", "tgi"), 2.0),
    **dict.fromkeys(("vllm", "sglang", "lmdeploy", "tensorrt-llm", "qserve"), 2.0),
}
"""Bytes that an engine leaves an embedding and a head of a model whose other weights have four bits or fewer: AWQ, GPTQ
and bitsandbytes keep 16 bits, NNCF keeps 8; the others narrow them too (each project's documentation, 2026-11-21)."""
_SATURATED = 256.0
_FULL = 0.95  # utilisation at which a queue is cut off: beyond it the wait grows with the length of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Terms of every row, and what composes them."""

    step: Terms
    own: Terms
    whole: Terms
    batch: Column
    devices: Column
    tp: Column
    ep: Column
    replicas: Column
    prompted: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64]) -> Basis:
        """Return the rows at ``index``, in that order."""

        def cut(t: Terms) -> Terms:
            return Terms(
                weights_s=np.asarray(t.weights_s)[index],
                kv_s=np.asarray(t.kv_s)[index],
                compute_s=np.asarray(t.compute_s)[index],
                layers_s=np.asarray(t.layers_s)[index],
                link_s=np.asarray(t.link_s)[index],
            )

        return Basis(
            step=cut(self.step),
            own=cut(self.own),
            whole=cut(self.whole),
            batch=self.batch[index],
            devices=self.devices[index],
            tp=self.tp[index],
            ep=self.ep[index],
            replicas=self.replicas[index],
            prompted=self.prompted[index],
        )


def experts_read(rows: Rows, tokens: Column) -> Column:
    """Share of the weights that a pass over ``tokens`` tokens reads: dense ones, and each expert that a token wakes."""
    x = rows.number
    met = 1.0 - (1.0 - x["awake"]) ** np.maximum(tokens, 1.0)
    return np.asarray(1.0 - x["expert_share"] * (1.0 - met))


def reach(rows: Rows, tokens: Column) -> Column:
    """Share of the cache of ``tokens`` tokens that windowed layers leave to read."""
    x = rows.number
    return np.asarray(1.0 - x["windowed"] * (1.0 - np.minimum(x["window"] / np.maximum(tokens, 1.0), 1.0)))


def basis(rows: Rows) -> Basis:
    """Lay out parallelism, batch and terms of each row; offline runs without a stated batch fill their memory."""
    x = rows.number
    kind = rows.label["kind"]
    offline = np.isin(kind, ["offline_tput", "server_tput", "energy_per_tok_offline"])
    free = offline & np.array([name.startswith("mlperf") for name in rows.label["scenario"]])
    need = 2.0 ** np.ceil(np.log2(np.maximum(1.0, x["w_gb"] / (_MEMORY_FOR_WEIGHTS * x["mem_gb"]))))
    devices = np.where(free, np.minimum(need, x["n"]), x["n"])
    room = _sequences_that_fit(rows, devices)
    batch = np.where(
        offline, np.clip(np.where(np.isfinite(x["batch"]), x["batch"], room), 1.0, _LARGEST_BATCH), x["batch"]
    )
    batch = np.maximum(np.where(np.isfinite(batch), batch, 1.0), 0.25)
    sharers = np.where(offline, devices, x["n_eff"])
    split = np.where(np.isfinite(x["tp"]), np.minimum(x["tp"], x["n"]), np.where(x["n_eff"] < x["n"], 1.0, x["n"]))
    tp = np.maximum(np.where(offline, devices, split), 1.0)
    ep = np.clip(np.where(np.isfinite(x["ep"]), x["ep"], 1.0), 1.0, x["n"])
    limits = Limits(
        bandwidth_bytes_per_s=x["bw_gb_s"] * 1e9,
        peak_flop_per_s=x["peak_tflops"] * 1e12,
        link_bytes_per_s=x["link_gb_s"] * 1e9,
        sharers=sharers,
        tp=tp,
        ep=ep,
    )
    copies = np.where(x["dp"] > 0.0, 1.0, np.maximum(tp / x["kv_heads"], 1.0))
    return Basis(
        step=terms(_step_work(rows, batch, copies), limits),
        own=terms(_prompt_work(rows, 1.0), limits),
        whole=terms(_prompt_work(rows, batch), limits),
        batch=batch,
        devices=np.where(offline, devices, x["n"]),
        tp=tp,
        ep=ep,
        replicas=np.where(offline, x["n"] / devices, 1.0),
        prompted=x["n_in"] > 0.0,
    )


def _sequences_that_fit(rows: Rows, devices: Column) -> Column:
    """Sequences whose whole cache fits beside the weights."""
    x = rows.number
    free_gb = _USABLE * x["mem_gb"] * devices - x["w_gb"]
    return np.asarray(free_gb * 1e9 / np.maximum(x["kv_b"] * (x["n_in"] + x["n_out"]), 1.0))


def _step_work(rows: Rows, batch: Column, copies: Column) -> Work:
    """A decode step: every rank of a group reads the caches that its heads share."""
    x = rows.number
    seen = reach(rows, x["ctx"])
    flops = batch * (2.0 * x["active_b"] * 1e9 + x["pair"] * x["ctx"] * seen)
    return _work(rows, batch, batch * x["kv_b"] * x["ctx"] * seen * copies, flops)


def _prompt_work(rows: Rows, prompts: Column | float) -> Work:
    """Reading prompts: 2 N T for the weights, and half of all pairs of tokens by the causal mask."""
    x = rows.number
    prompt = np.maximum(x["n_in"], 1.0)
    pairs = 0.5 * prompt**2 * reach(rows, 0.5 * prompt)
    flops = prompts * (2.0 * x["active_b"] * 1e9 * prompt + x["prompt_pair"] * pairs)
    return _work(rows, prompt * prompts, 0.0 * prompt, flops)


def _work(rows: Rows, tokens: Column, kv_bytes: Column, flops: Column) -> Work:
    x = rows.number
    return Work(
        weight_bytes=x["w_gb"] * 1e9 * experts_read(rows, tokens),
        kv_bytes=kv_bytes,
        flops=flops,
        n_layers=x["layers"],
        tokens=tokens,
        hidden=x["hidden"],
        kernels=x["kernels"],
    )


SERVED = ("tpot", "tpot_disagg", "ttft", "tput")
"""Groups of kinds whose prompts are read by a busy server: what a client waits there is not what a prefill alone takes
and tells little of it; their shares of the peak and costs of a layer are effects of their own (``served_...``)."""


def efficiency(effects: NDArray[np.float64], served: NDArray[np.bool_]) -> Efficiency:
    """Efficiencies of rows from their effects of shape (n, len(EFFECTS)), by who reads the prompts."""
    factor = dict(zip(EFFECTS, np.exp(effects).T, strict=True))
    share = {name: 1.0 / (1.0 + loss * factor[name]) for name, loss in LOSS.items()}
    return Efficiency(
        mbu=share["weights"],
        mbu_kv=share["kv"],
        mfu=np.where(served, share["served_flops"], share["prefill_flops"]),
        mfu_decode=share["decode_flops"],
        layer=factor["layers"],
        layer_prefill=np.where(served, factor["served_layers"], factor["prefill_layers"]),
        link=1.0 / factor["link"],
        queue=factor["queue"],
        covariance=np.zeros((7, 7)),
        sigma=0.0,
        source="rows",
        n=0,
    )


def log_quantity(rows: Rows, base: Basis, effects: NDArray[np.float64]) -> Column:
    """Logarithm of each row's quantity, in the unit of its kind.

    Parameters
    ----------
    rows : Rows
        What is asked.
    base : Basis
        Of the same rows.
    effects : (n, len(EFFECTS)) float
        Logarithms of the factors on each term.

    Returns
    -------
    (n,) float
        log s, log J or log GB.
    """
    x, kind = rows.number, rows.label["kind"]
    eff = efficiency(effects, np.isin(rows.label["timed"], SERVED))
    factor = dict(zip(EFFECTS, np.exp(effects).T, strict=True))
    batch, output = base.batch, x["n_out"]
    step_s = np.asarray(decode_parts(base.step, eff).total_s)
    own_s = np.asarray(prefill_parts(base.own, eff).total_s)
    static = prefill_parts(base.whole, eff)
    static_s = np.asarray(static.total_s)
    foreign_s = np.where(base.prompted, static_s - np.asarray(static.layers_s), 0.0)  # launches overlap with decoding
    tpot_s = step_s + foreign_s / output
    median_s = np.asarray(closed_loop_ttft_s(own_s, step_s, foreign_s, output, eff.queue))
    mean_s = median_s + _BURST * factor["burst"] * foreign_s
    ttft_s = np.where(x["averaged"] > 0.0, mean_s, median_s)
    offline_s = (foreign_s + output * step_s) / batch / output / base.replicas
    watts = _POWER_SHARE * x["tdp_w"] * factor["power"]
    seconds = {
        "decode_b1": step_s,
        "decode_static": step_s,
        "serving_tpot_disagg": step_s,
        "serving_tpot": tpot_s,
        "openloop_tpot": tpot_s,
        "prefill_b1": static_s,
        "prefill_static": static_s,
        "e2e_static": np.where(base.prompted, static_s, 0.0) + output * step_s,
        "serving_tput": (mean_s + output * tpot_s) / (batch * output),
        "serving_ttft": ttft_s,
        "openloop_ttft": own_s + 0.5 * step_s + _queued_s(rows, foreign_s / batch),
        "offline_tput": offline_s,
        "server_tput": offline_s,
        "energy_per_tok": tpot_s * watts * x["n"] / batch,
        "energy_per_tok_offline": offline_s * watts * x["n"],
    }
    out = np.ones(len(rows))
    least = _least(base, output)
    for name, value in seconds.items():
        chosen = kind == name
        limit = least[name] * (
            watts * x["n"] / (batch if name == "energy_per_tok" else 1.0) if "energy" in name else 1.0
        )
        out[chosen] = np.asarray(beyond(limit, value, factor["whole"]))[chosen]
    chosen = kind == "memory_gb"
    out[chosen] = memory_gb(rows, batch, factor)[chosen]
    return np.log(np.maximum(out, 1e-12))


def memory_gb(rows: Rows, batch: Column, factor: Mapping[str, Column]) -> Column:
    """Memory in use: weights, cache, what a runtime takes before any model, and the activations of the prompts.

    Parameters
    ----------
    rows : Rows
        What is asked.
    batch : (n,) float
        Sequences at once.
    factor : mapping of str to (n,) float
        Fitted multiples of the parts, by effect.

    Returns
    -------
    (n,) float
        GB; servers take a share of the memory when they start.
    """
    x, tier = rows.number, rows.label["tier"]
    wide = np.array([_TABLES.get(name, 0.0) for name in rows.label["family"]])
    more = np.maximum(wide - x["w_gb"] / x["params_b"], 0.0)
    tables = np.where(np.isin(rows.label["format"], _NARROW), np.minimum(x["tables_b"], x["params_b"]) * more, 0.0)
    held = x["kv_b"] * x["ctx"] * batch / 1e9 * np.where(tier == "eager", _GROWN, 1.0)
    tokens = np.maximum(x["n_in"], 1.0) * batch
    passing = tokens * (_WIDTHS * x["hidden"] + _LOGITS * x["vocab"]) / 1e9
    context = np.array([_CONTEXT_GB.get(name, _CONTEXT_ELSEWHERE_GB) for name in rows.label["class"]]) * x["n"]
    needed = (x["w_gb"] + tables) * factor["state"] + held * factor["cache"]
    needed = needed + context * factor["context"] + passing * factor["workspace"]
    return np.asarray(np.maximum(needed, np.where(tier == "serve", _USABLE * x["mem_gb"] * x["n"], 0.0)))


def _least(base: Basis, output: Column) -> dict[str, Column]:
    """Seconds at the printed limits of each kind but memory, in the shape that :func:`log_quantity` gives it."""

    def limit(t: Terms) -> Column:
        return np.maximum(np.asarray(t.weights_s) + t.kv_s, t.compute_s)

    step_s, own_s, static_s = limit(base.step), limit(base.own), limit(base.whole)
    offline_s = step_s / base.batch / base.replicas
    return {
        **dict.fromkeys(("decode_b1", "decode_static", "serving_tpot_disagg", "serving_tpot", "openloop_tpot"), step_s),
        **dict.fromkeys(("prefill_b1", "prefill_static"), static_s),
        **dict.fromkeys(("serving_ttft", "openloop_ttft"), own_s),
        **dict.fromkeys(("offline_tput", "server_tput", "energy_per_tok_offline"), offline_s),
        "e2e_static": np.where(base.prompted, static_s, 0.0) + output * step_s,
        "serving_tput": (own_s + output * step_s) / (base.batch * output),
        "energy_per_tok": step_s,
    }


def sequences_inside(rows: Rows, log_tpot: Column) -> Column:
    """Sequences in an open system by Little's law: arrivals per second times the time that each spends decoding.

    Parameters
    ----------
    rows : Rows
        With a rate.
    log_tpot : (n,) float
        Logarithm of the time per output token at the present guess. [log s]

    Returns
    -------
    (n,) float
        At least a half, at most what the cache's memory holds.

    References
    ----------
    .. [1] J. D. C. Little, "A Proof for the Queuing Formula L = lambda W", Operations Research 9(3), 1961.
    """
    x = rows.number
    most = np.clip(_sequences_that_fit(rows, x["n"]), 1.0, _SATURATED)
    return np.asarray(np.clip(x["rate"] * x["n_out"] * np.exp(log_tpot), 0.5, most))


def _queued_s(rows: Rows, prefill_s: Column) -> Column:
    """Wait for the prefills of others: an M/D/1 queue."""
    rate = np.nan_to_num(rows.number["rate"])
    busy = np.clip(rate * prefill_s, 0.0, _FULL)
    return np.asarray(0.5 * busy / (1.0 - busy) * prefill_s)
