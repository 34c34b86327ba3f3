"""The learned prior of a design: pooled effects of its device, engine, formats and model become one Efficiency."""

from __future__ import annotations

from functools import cache

import numpy as np

from reckoner.design import Design, Num, Workload
from reckoner.predict import effects, learned
from reckoner.predict.efficiency import NAMES, Efficiency
from reckoner.predict.intervals import NOVELTIES, novelty
from reckoner.predict.quantities import EFFECTS, basis, efficiency
from reckoner.predict.rows import build
from reckoner.predict.traits import family, tier

_DATE = "2026-06"
"""Date assumed of an engine whose version is not stated. Assumption: recent, within the evidence."""
_NORMAL_90 = 1.6449  # standard deviations from the centre to the edge of a 90 % interval of a normal distribution


def efficiency_for(design: Design, workload: Workload | None = None) -> Efficiency:
    """Efficiency that public measurements suggest for a design.

    Parameters
    ----------
    design : Design
        Device, model, formats and engine; of numeric axes the middle counts, for efficiencies vary slowly.
    workload : Workload, optional
        Lengths of prompts and answers.

    Returns
    -------
    Efficiency
        With ``sigma`` and ``covariance`` from errors on held-out rows as new as this design, and ``n`` the
        measurements behind it that share its device and engine.

    Examples
    --------
    >>> from reckoner.catalogue.find import device, model
    >>> found = efficiency_for(Design(model=model("llama-3.1-8b"), device=device("h100")))
    >>> 0.3 < found.mbu < 1.1
    True
    """
    asked = workload if workload is not None else Workload()
    serving, m, d = design.serving, design.model, design.device
    batch, devices = _middle(serving.batch), _middle(serving.tp * serving.pp)
    bytes_each = design.weights_format.bytes_per_element
    single = batch <= 1.0 or tier(family(serving.engine, "", "", "")) != "serve"
    row = {
        "model": m.name,
        "hardware": d.name,
        "engine": serving.engine,
        "engine_version": serving.engine_version,
        "dtype": serving.weights,
        "layers": str(m.n_layers),
        "params_b": str(m.params / 1e9),
        "active_b": str(m.active_params / 1e9),
        "w_gb": str(m.params * bytes_each / 1e9),
        "kv_b": str(m.kv_elements_per_token * design.kv_format.bytes_per_element),
        "n": str(devices),
        "n_eff": str(devices),
        "tp": str(_middle(serving.tp)),
        "ep": str(_middle(serving.ep)),
        "batch": str(batch),
        "n_in": str(_middle(asked.prompt_tokens)),
        "n_out": str(_middle(asked.output_tokens)),
        "bw_gb_s": str(d.bandwidth_bytes_per_s / 1e9),
        "mem_gb": str(d.memory_bytes / 1e9),
        "peak_tflops": str(design.peak_flop_per_s / 1e12),
        "tdp_w": str(d.tdp_w) if d.tdp_w else "",
        "date": _DATE,
        "scenario": "single_stream" if single else "closed_loop_concurrency:random_range_ratio0.8",
    }
    return _found(tuple(sorted(row.items())), single)


def _middle(axis: Num) -> float:
    return float(np.exp(np.mean(np.log(axis))))


@cache
def _found(key: tuple[tuple[str, str], ...], single: bool) -> Efficiency:
    kinds = ("decode_b1", "prefill_b1") if single else ("serving_tpot", "serving_ttft")
    rows = build([dict(key) | {"kind": kind} for kind in kinds])
    prior = learned.packaged()
    base = basis(rows)
    laid = effects.parts(rows, base, prior.words)
    effects_ = effects.apply(laid, prior.coefficients, 2)
    decode, prefill = (dict(zip(EFFECTS, row, strict=True)) for row in effects_)
    new = novelty(rows, prior.known, np.zeros(2))
    widths = prior.bands.half_width(rows, new) / _NORMAL_90
    sigma = float(widths[0])
    extra = max(float(widths[1]) ** 2 - sigma**2, 0.0)  # what a prefill varies more than a decode step
    covariance = np.zeros((len(NAMES), len(NAMES)))
    for name in ("mfu", "layer_prefill"):
        covariance[NAMES.index(name), NAMES.index(name)] = extra
    eff = efficiency(effects_)
    slow, late = (float(np.exp(row["whole"])) for row in (decode, prefill))
    of = {name: np.asarray(getattr(eff, name)) for name in (*NAMES, "queue")}
    return Efficiency(
        mbu=min(float(of["mbu"][0]) / slow, 1.0),
        mbu_kv=min(float(of["mbu_kv"][0]) / slow, 1.0),
        mfu=min(float(of["mfu"][1]) / late, 1.0),
        mfu_decode=min(float(of["mfu_decode"][0]) / slow, 1.0),
        layer=float(of["layer"][0]) * slow,
        layer_prefill=float(of["layer_prefill"][1]) * late,
        link=float(of["link"][0]) / slow,
        queue=float(of["queue"][1]),
        covariance=covariance,
        sigma=sigma,
        source=f"{prior.evidence['rows']} public measurements, {prior.evidence['dated']}; {NOVELTIES[int(new[0])]}",
        n=prior.known.pairs.get("|".join((rows.label["family"][0], rows.label["hardware"][0])), 0),
    )
