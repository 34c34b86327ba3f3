"""Rows of published measurements (``validation/README.md``) become columns with nothing left missing."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue.find import device as find_device
from reckoner.catalogue.find import model as find_model
from reckoner.errors import InputError, ReckonerError, UnknownNameError
from reckoner.physics.arrays import asfloats
from reckoner.predict import traits
from reckoner.predict.terms import KERNELS
from reckoner.predict.work import shape_of

Column = NDArray[np.float64]
Labels = NDArray[np.object_]

KINDS = {
    "decode_b1": "decode",
    "decode_static": "batch",
    "prefill_b1": "prefill",
    "prefill_static": "prefill",
    "e2e_static": "e2e",
    "offline_tput": "offline",
    "server_tput": "offline",
    "energy_per_tok_offline": "offline",
    "serving_tpot": "tpot",
    "openloop_tpot": "tpot",
    "serving_tpot_disagg": "tpot_disagg",
    "serving_tput": "tput",
    "serving_ttft": "ttft",
    "openloop_ttft": "ttft",
    "energy_per_tok": "energy",
    "memory_gb": "memory",
}
"""Kinds of quantity, and the group of kinds that share effects."""

NUMBERS = (
    *("layers", "w_gb", "params_b", "active_b", "kv_b", "n", "n_eff", "batch", "n_in", "n_out", "ctx"),
    *("bw_gb_s", "mem_gb", "peak_tflops", "tdp_w", "rate", "tp", "pp", "ep"),
)
TEXTS = (
    *("item", "kind", "model", "hardware", "engine", "engine_family", "dtype", "kv_dtype", "scenario"),
    *("engine_version", "date", "disagg", "dp_attention"),
)

_BYTES = {"f16": 2.0, "fp32": 4.0, "fp8": 1.0, "int8": 1.06, "w8a8": 1.0, "q6": 0.75, "q3": 0.43, "q2": 0.3}
PLAUSIBLE = {
    "layers": (0.5, 1e4),
    **dict.fromkeys(("w_gb", "params_b", "active_b"), (1e-5, 1e6)),
    "kv_b": (1e-3, 1e9),
    **dict.fromkeys(("n", "n_eff", "tp", "pp", "ep"), (0.0, 1e6)),
    "batch": (0.0, 1e7),
    **dict.fromkeys(("n_in", "n_out", "ctx"), (0.0, 1e9)),
    **dict.fromkeys(("bw_gb_s", "mem_gb", "tdp_w"), (1e-6, 1e8)),
    "peak_tflops": (1e-9, 1e8),
    "rate": (1e-9, 1e9),
}
"""Smallest and largest input that can be meant; anything else counts as not stated. Assumption: orders of magnitude
beyond what is built."""
_ROUTED = 0.95
"""Routed share of the weights of sparse models that the catalogue does not know. Assumption: Qwen3-30B-A3B's."""
_RIDGE = {"cpu": 20.0, "mobile": 40.0, "apu": 200.0}
"""FLOP per byte assumed where a row states no peak. Assumption: vector units of CPUs, matrix units elsewhere (100)."""
_VOCAB = 32000.0
"""Vocabulary of models that the catalogue does not know. Assumption: Llama 2's."""
_PROMPTS = {
    "lm-arena-chat": 250.0,
    "chat": 150.0,
    "gpqa": 250.0,
    "image-chat": 1500.0,
    "code": 200.0,
    "sourcegraph-fim": 1500.0,
    "mllm_text_generation/chat": 1500.0,
    "video-chat": 6000.0,
}
"""Prompt lengths assumed for tasks that publish none (ML.ENERGY). Assumption: order of magnitude only. [token]"""
_LINK_GB_S = 32.0
"""Link assumed where the catalogue has none: PCIe 4.0 x16, one direction. [GB/s]"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of equal length: numbers without gaps, labels, and how much of each row had to be assumed.

    Parameters
    ----------
    number : mapping of str to (n,) float
        Inputs, filled; ``measured`` and ``peer`` may hold NaN.
    label : mapping of str to (n,) str
        Names as given, and the categories made of them.
    assumed : (n,) int
        Inputs that were missing and matter.
    """

    number: Mapping[str, Column]
    label: Mapping[str, Labels]
    assumed: NDArray[np.int64]

    def __len__(self) -> int:
        """Rows."""
        return len(self.assumed)

    def take(self, index: NDArray[np.int64]) -> Rows:
        """Return the rows at ``index``, in that order."""
        return Rows(
            {k: v[index] for k, v in self.number.items()},
            {k: v[index] for k, v in self.label.items()},
            self.assumed[index],
        )


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file, gzipped or not; see :func:`each_row`."""
    return list(each_row(path))


def each_row(path: str | Path) -> Generator[dict[str, str], None, None]:
    """Read a CSV file row by row, gzipped or not; memory does not grow with the file.

    Raises
    ------
    InputError
        The file cannot be read, is no CSV in UTF-8, or names a column twice.
    """
    try:
        with Path(path).open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            binary = gzip.GzipFile(fileobj=file) if packed else file
            with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as lines:
                reader = csv.DictReader(lines)
                names = [name.strip() for name in reader.fieldnames or ()]
                twice = sorted({name for name in names if name and names.count(name) > 1})
                if twice:
                    raise InputError(f"{path}: column {' and '.join(twice)} stands twice in the header; keep one")
                reader.fieldnames = names
                yield from reader
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, csv.Error) as error:
        raise InputError(f"{path}: {error}; give a CSV file in UTF-8, gzipped or not") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; give a CSV file of items") from error


def number(text: str | None) -> float:
    """Read a number; NaN where there is none.

    >>> number("3.5"), number("")
    (3.5, nan)
    """
    try:
        value = float(text or "nan")
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


def kind_of(row: Mapping[str, str]) -> str:
    """Kind of a row, however it is padded or cased.

    >>> kind_of({"kind": " Decode_b1 "}), kind_of({})
    ('decode_b1', '')
    """
    return (row.get("kind") or "").strip().lower()


def build(raw: Sequence[Mapping[str, str]]) -> Rows:
    """Fill and label rows.

    Parameters
    ----------
    raw : sequence of mapping
        One mapping from column to text a row. A column may be absent, a field empty.

    Raises
    ------
    InputError
        A row's ``kind`` is unknown.
    """
    for line, row in enumerate(raw, start=2):
        if kind_of(row) not in KINDS:
            raise InputError(f"line {line}: kind is {row.get('kind')!r}; use one of {', '.join(KINDS)}")
    num = {k: np.array([number(r.get(k)) for r in raw]) for k in (*NUMBERS, "measured", "peer")}
    for name, (low, high) in PLAUSIBLE.items():
        num[name] = np.where((num[name] >= low) & (num[name] <= high), num[name], np.nan)
    lab = {k: _labels((r.get(k) or "").strip() for r in raw) for k in (*TEXTS, "source", "run_id")}
    lab["kind"] = _labels(map(kind_of, raw))
    _categories(lab)
    lab["model"] = _labels(map(_model_name, lab["model"]))
    lab["hardware"] = _labels(map(_device_name, lab["hardware"]))
    vital = ("w_gb", "params_b", "n", "bw_gb_s", "n_in", "n_out")
    assumed = np.sum([~np.isfinite(num[k]) for k in vital], axis=0) + (lab["hardware"] == "") + (lab["model"] == "")
    _fill_model(num, lab)
    _fill_device(num, lab)
    _fill_workload(num, lab)
    num["year"] = np.array([traits.year(when) for when in lab["date"]])
    sparse = num["share"] < 0.97
    lab["attention"] = _labels(
        traits.attention_kind(name, bool(moe)) for name, moe in zip(lab["model"], sparse, strict=True)
    )
    num["kernels"] = np.array([KERNELS[kind] for kind in lab["attention"]])
    return Rows(num, lab, np.asarray(assumed, dtype=np.int64))


@cache
def _model_name(name: str) -> str:
    """Canonical name where the catalogue knows the model, so that its copies are pooled."""
    try:
        return find_model(name).name if name else ""
    except ReckonerError:
        return name


@cache
def _device_name(name: str) -> str:
    try:
        return find_device(name).name if name else ""
    except UnknownNameError:
        return name


def _made_as(name: str) -> str:
    try:
        return find_device(name).device_class if name else ""
    except UnknownNameError:
        return ""


def _labels(values: Iterable[str]) -> Labels:
    return np.array(list(values), dtype=object)


def _categories(lab: dict[str, Labels]) -> None:
    columns = (lab["engine"], lab["engine_family"], lab["hardware"], lab["scenario"])
    lab["family"] = _labels(traits.family(*row) for row in zip(*columns, strict=True))
    lab["tier"] = _labels(map(traits.tier, lab["family"]))
    lab["engine"] = _labels(name.lower() for name in lab["engine"])
    made = [_made_as(name) for name in lab["hardware"]]
    lab["class"] = _labels(map(traits.device_class, lab["hardware"], made))
    lab["generation"] = _labels(map(traits.generation, lab["hardware"], made))
    lab["vendor"] = _labels(map(traits.vendor, lab["hardware"]))
    lab["format"] = _labels(map(traits.number_format, lab["dtype"]))
    lab["setting"] = _labels(map(traits.setting, lab["scenario"]))
    lab["group"] = _labels(KINDS[kind] for kind in lab["kind"])
    lab["timed"] = _labels(map(traits.timed, lab["group"], lab["setting"]))


def _fallback(column: Column, otherwise: Column | float) -> Column:
    return np.where(np.isfinite(column), column, otherwise)


def _fill_model(num: dict[str, Column], lab: dict[str, Labels]) -> None:
    named = np.array([_size_in_name(name) for name in lab["model"]])
    bits = np.array([_BYTES.get(kind, 0.56) for kind in lab["format"]])
    params = _fallback(num["params_b"], _fallback(num["w_gb"] / bits, named))
    params = np.maximum(params, 1e-3)
    active = np.maximum(_fallback(num["active_b"], params), 1e-3)
    weights = _fallback(num["w_gb"], params * bits)
    exl2 = [re.match(r"exl2-([\d.]+)bpw", name) for name in lab["dtype"]]  # these rows state one size for all widths
    for i, found in enumerate(exl2):
        if found:
            weights[i] = params[i] * float(found[1]) / 8.0
    layers = np.where(num["layers"] > 0.0, num["layers"], np.clip(np.round(16.0 * params**0.33), 4.0, 128.0))
    num["params_b"], num["active_b"], num["layers"] = params, active, layers
    num["w_gb"] = np.maximum(weights, 1e-3)
    num["share"] = np.clip(active / params, 0.01, 1.0)
    num["hidden"] = np.sqrt(active * 1e9 / (12.0 * layers))  # 12 h^2 weights a layer
    num["kv_b"] = _fallback(num["kv_b"], 4.0 * layers * num["hidden"] / 4.0)  # four query heads share a cache head
    _fill_structure(num, lab)


_STRUCTURE = ("pair", "prompt_pair", "windowed", "window", "expert_share", "awake", "kv_heads", "vocab", "tables_b")


def _fill_structure(num: dict[str, Column], lab: dict[str, Labels]) -> None:
    """What the catalogue knows of a model beyond its size; of other models the commonest."""
    known = {name: _structure(name) for name in set(lab["model"])}
    look = np.array([known[name] for name in lab["model"]]).reshape(-1, len(_STRUCTURE))
    attention = 4.0 * num["layers"] * num["hidden"]
    sparse = num["share"] < 0.97
    routed = np.maximum(num["share"] - (1.0 - _ROUTED), 0.0) / _ROUTED
    otherwise = (
        *(attention, attention, np.zeros(len(routed)), np.full(len(routed), np.inf)),
        *(np.where(sparse, _ROUTED, 0.0), np.where(sparse, np.maximum(routed, 0.01), 1.0), np.full(len(routed), 8.0)),
        *(np.full(len(routed), _VOCAB), 2.0 * _VOCAB * num["hidden"] / 1e9),
    )
    for name, column, usual in zip(_STRUCTURE, look.T, otherwise, strict=True):
        num[name] = np.where(np.isnan(column), usual, column)


@cache
def _structure(name: str) -> tuple[float, ...]:
    """Figures of :data:`_STRUCTURE` of a model; NaN for one that the catalogue does not know."""
    try:
        found = find_model(name) if name else None
    except ReckonerError:
        found = None
    if found is None:
        return (float("nan"),) * len(_STRUCTURE)
    shape = shape_of(found, 1.0, 1.0)
    pair, prompt_pair, windowed_pair, windowed, full, routed = (
        float(asfloats(v))
        for v in (
            *(shape.pair_flops, shape.prefill_pair_flops, shape.windowed_pair_flops),
            *(shape.windowed_kv_bytes_per_token, shape.kv_bytes_per_token, shape.expert_bytes),
        )
    )
    return (
        pair + windowed_pair,
        prompt_pair + windowed_pair,
        windowed / max(full + windowed, 1.0),
        float("inf") if found.window is None else float(found.window),
        routed / float(found.params),
        max(found.n_active, 1) / max(found.n_experts, 1),
        float(asfloats(shape.kv_heads)),
        float(found.vocab),
        (found.parts["embedding"] + found.parts["lm_head"]) / 1e9,
    )


def _size_in_name(name: str) -> float:
    found = re.search(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b\b", name.lower())
    if not found:
        return 7.0
    return float(found[1] or 1.0) * float(found[2])


def _fill_device(num: dict[str, Column], lab: dict[str, Labels]) -> None:
    figures = {name: _device_figures(name) for name in set(lab["hardware"])}
    look = np.array([figures[name] for name in lab["hardware"]]).reshape(-1, 6)
    num["bw_gb_s"] = np.maximum(_fallback(num["bw_gb_s"], _fallback(look[:, 0], 500.0)), 0.1)
    num["mem_gb"] = np.maximum(_fallback(num["mem_gb"], _fallback(look[:, 1], 24.0)), 0.01)
    num["tdp_w"] = np.maximum(_fallback(num["tdp_w"], _fallback(look[:, 2], 200.0)), 0.1)
    num["link_gb_s"] = _fallback(look[:, 3], _LINK_GB_S)
    ridge = np.array([_RIDGE.get(kind, 100.0) for kind in lab["class"]])
    single = np.where(lab["format"] == "fp32", look[:, 4], np.nan)  # rows state the 16-bit peak for these too
    peak = _fallback(np.fmin(num["peak_tflops"], single), _fallback(look[:, 5], num["bw_gb_s"] * ridge / 1e3))
    num["peak_tflops"] = np.maximum(peak, 1e-4)


def _device_figures(name: str) -> tuple[float, ...]:
    nan = float("nan")
    try:
        found = find_device(name)
    except UnknownNameError:
        return (nan,) * 6
    link = found.link_bytes_per_s / 1e9 if found.link_bytes_per_s else nan
    peaks = found.peak_flop_per_s
    single = peaks.get("fp32", nan)
    half = max(peaks.get("bf16", 0.0), peaks.get("fp16", 0.0)) or single
    return (
        *(found.bandwidth_bytes_per_s / 1e9, found.memory_bytes / 1e9, found.tdp_w or nan, link),
        *(single / 1e12, half / 1e12),
    )


def _fill_workload(num: dict[str, Column], lab: dict[str, Labels]) -> None:
    num["n"] = np.maximum(_fallback(num["n"], _fallback(num["tp"], 1.0)), 1.0)
    num["n_eff"] = np.clip(_fallback(num["n_eff"], num["n"]), 1.0, num["n"])
    prompt, output = np.maximum(_fallback(num["n_in"], 0.0), 0.0), np.maximum(_fallback(num["n_out"], 0.0), 0.0)
    steady = lab["setting"] == "closed_loop_steady_state"
    for i in np.flatnonzero(steady & (prompt == 0.0)):
        task = lab["scenario"][i].split(":", 1)[-1]
        prompt[i] = next((size for name, size in _PROMPTS.items() if task.endswith(name)), 250.0)
        num["ctx"][i] = prompt[i] + output[i] / 2.0
    num["n_in"], num["n_out"] = prompt, np.maximum(output, 1.0)
    stated = np.nan_to_num(num["ctx"]) > 0.0
    num["ctx"] = np.where(stated, num["ctx"], np.maximum(prompt + output / 2.0, 128.0))
    num["disagg"] = ((lab["disagg"] == "True") | (lab["kind"] == "serving_tpot_disagg")) * 1.0
    # The silicon table holds means, InferenceX medians: 1.5 times apart over 525 runs that both publish (2026-11-21).
    num["averaged"] = np.array([":silicon" in name for name in lab["scenario"]]) * 1.0
    num["dp"] = (lab["dp_attention"] == "True") * 1.0
