"""Rows of a table of closed-loop runs with tp/pp/dp/ep (the "silicon" schema) become items, two a run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence

from reckoner.catalogue.find import device as find_device
from reckoner.catalogue.find import model as find_model
from reckoner.errors import MissingFigureError, ReckonerError, UnknownNameError
from reckoner.predict.rows import number

_BYTES = {"fp8": 1.0, "fp4": 0.56, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "int4": 0.56}
_PEAKS = {"fp8": ("fp8", "bf16"), "fp4": ("fp4", "fp8", "bf16"), "int8": ("int8", "bf16"), "int4": ("bf16",)}
_ENGINES = {"trtllm": ("trt", "dynamo-trt"), "sglang": ("sglang", "dynamo-sglang"), "vllm": ("vllm", "dynamo-vllm")}
_LARGEST_PREFILL = 16.0  # devices of one prefill worker; larger stated products are tp * ep of the same devices


def is_silicon(columns: Sequence[str]) -> bool:
    """Whether a file has this schema."""
    return {"isl", "osl", "backend", "system", "model_path"} <= set(columns)


def as_items(raw: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Turn runs into items; ``measured`` and ``peer`` (the other tool's prediction) stay empty where a run has none.

    Returns
    -------
    list of dict
        Items in the schema of ``validation/README.md``; ``item`` is the run's id with ``:tpot`` or ``:ttft``.
    """
    out = []
    for run in raw:
        split = run.get("mode") == "disagg"
        shared = _shared(run, split)
        isl, osl = number(run.get("isl")), number(run.get("osl"))
        tpot_kind = "serving_tpot_disagg" if split else "serving_tpot"
        for kind, name, context in ((tpot_kind, "tpot", isl + osl / 2.0), ("serving_ttft", "ttft", isl / 2.0)):
            seconds = number(run.get(f"silicon_{name}_ms")) / 1e3
            peer = number(run.get(f"pred_{name}_ms")) / 1e3
            row = dict(shared, kind=kind, item=f"{run.get('id', '')}:{name}", ctx=_text(context))
            out.append(row | {"measured": _text(seconds), "peer": _text(peer)})
    return out


def _shared(run: Mapping[str, str], split: bool) -> dict[str, str]:
    precision, backend = run.get("precision", ""), run.get("backend", "")
    devices, tp, ep, dp = _layout(run, split)
    concurrency = number(run.get("concurrency"))
    batch = concurrency if concurrency > 0.0 else number(run.get("batch_size"))
    engine = _ENGINES.get(backend, (backend, backend))[split]
    taken = "infx" if "InferenceX" in run.get("origin", "") else "lab"
    return {
        **_model(run.get("model_path", ""), precision),
        **_device(run.get("system", ""), run.get("model_path", ""), precision),
        "engine": engine,
        "dtype": precision,
        "engine_version": run.get("image") or run.get("backend_version", ""),
        "n": _text(devices),
        "n_eff": _text(devices),
        "tp": _text(tp),
        "ep": _text(ep),
        "batch": _text(batch),
        "n_in": run.get("isl", ""),
        "n_out": run.get("osl", ""),
        "scenario": f"closed_loop_concurrency:silicon-{taken}",
        "disagg": str(split),
        "dp_attention": str(dp > 1.0),
        "date": run.get("measured_date", "")[:10],
        "source": f"silicon_{'disagg' if split else 'agg'}",
        "run_id": run.get("id", ""),
    }


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:g}"


def _layout(run: Mapping[str, str], split: bool) -> tuple[float, float, float, float]:
    """Return devices, tp, ep and dp. Some rows state tp * ep of the same devices as tp; the experts' split tells."""
    prefix = "decode_" if split else ""
    tp, dp = _stated(run, prefix + "tp_size"), _stated(run, prefix + "attention_dp_size")
    moe_tp, moe_ep = _stated(run, prefix + "moe_tp_size"), _stated(run, prefix + "moe_ep_size")
    doubled = moe_tp > 1.0 and moe_ep > 1.0 and tp * dp == moe_tp * moe_ep and (split or moe_tp == moe_ep)
    if doubled:
        tp, dp = (max(moe_tp, moe_ep), 1.0) if dp == 1.0 else (1.0, max(moe_tp, moe_ep))
    devices = tp * dp
    if split:
        prefill = _stated(run, "prefill_tp_size") * _stated(run, "prefill_attention_dp_size")
        devices *= _stated(run, "decode_num_workers")
        devices += min(prefill, _LARGEST_PREFILL) * _stated(run, "prefill_num_workers")
    return devices, tp, moe_ep, dp


def _stated(run: Mapping[str, str], name: str) -> float:
    value = number(run.get(name))
    return value if value > 0.0 else 1.0


def _model(name: str, precision: str) -> dict[str, str]:
    try:
        known = find_model(name)
    except ReckonerError:  # a name like a path that is not there: the row is still answered
        return {"model": name}
    per_weight = 0.5598 if "gpt-oss" in name else _BYTES.get(precision, 1.0)  # gpt-oss: mxfp4 experts, bf16 elsewhere
    return {
        "model": known.name,
        "layers": str(known.n_layers),
        "params_b": _text(known.params / 1e9),
        "active_b": _text(known.active_params / 1e9),
        "w_gb": _text(known.params * per_weight / 1e9),
        "kv_b": _text(2.0 * known.kv_elements_per_token),
    }


def _device(name: str, model: str, precision: str) -> dict[str, str]:
    try:
        known = find_device(name)
    except UnknownNameError:
        return {"hardware": name}
    wanted = ("fp4", "bf16") if "gpt-oss" in model else _PEAKS.get(precision, ("bf16",))
    out = {
        "hardware": name,
        "bw_gb_s": _text(known.bandwidth_bytes_per_s / 1e9),
        "mem_gb": _text(known.memory_bytes / 1e9),
    }
    with contextlib.suppress(MissingFigureError):
        out["peak_tflops"] = _text(known.first_peak(wanted)[1] / 1e12)
    return out | ({"tdp_w": _text(known.tdp_w)} if known.tdp_w else {})
