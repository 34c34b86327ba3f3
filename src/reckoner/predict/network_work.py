"""What a network does and what its device can do: multiply-adds, weights, rates, and the nominal time of a roofline.

Whatever a row leaves out is looked up: multiply-adds and weights of well-known networks in
``data/network_shapes.csv``, rates of devices in the catalogue.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from reckoner.catalogue import find
from reckoner.catalogue.device import Device
from reckoner.errors import ReckonerError
from reckoner.predict.rows import Column, Labels, number

_FILE = "network_shapes.csv"
"""Multiply-adds and weights by the beginning of a name, to two digits: recalled from papers and model cards and scaled
by pixels to the collections' input sizes, not read again (assumption, 2026-11-21). They only place a name whose row
states no multiply-adds. Kinds: dense or depthwise convolutions, attention, full width throughout, one token a time."""

_RATES = {
    "cpu": 0.1e12, "vulkan": 1e12, "qnn": 20e12, "hailo": 20e12, "rknn": 1e12, "mcu": 0.5e9, "gpu": 60e12,
}  # fmt: skip
"""Operations a second where the catalogue has none, by what runs the network. Assumption: a middling device."""

_CALL_MS = {"cpu": 0.06, "vulkan": 0.3, "qnn": 0.045, "hailo": 0.03, "rknn": 0.3, "mcu": 0.15, "gpu": 0.6}
"""Nominal cost of a call, by what runs the network. Assumption: the unit of a fitted effect. [ms]"""

_USUAL_GMACS = 4.0  # of a network whose name says nothing (assumption)
_USUAL_CORES = 4.0
_MEANT = (1e-9, 1e9)  # multiply-adds beyond are a slip of the pen
_MOST_CORES = 256
_NARROW = ("int8", "fp16", "fp32")
_TYPES = {
    "int8": _NARROW, "w8a8": _NARROW, "w8a16": _NARROW, "w8a16_mixed_int16": _NARROW,
    "tf32": ("tf32", "fp32"), "fp32": ("fp32", "fp16", "int8"),
}  # fmt: skip
_FLOATS = ("fp16", "bf16", "fp32", "int8")  # what "float" and "fp32/fp16" run in where the device has it
_CORES = re.compile(r"[x*×] ?(\d+)\b(?!-)|(\d+)-core\b|\bD(\d+)a?s\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NetworkWork:
    """Columns of rows; figures that are unknown hold a stand-in where ``known``, ``weighed``, ... is false."""

    group: Labels
    kind: Labels
    known: NDArray[np.bool_]
    gmacs: Column
    weighed: NDArray[np.bool_]
    million_weights: Column
    batch: Column
    rated: NDArray[np.bool_]
    ops_per_s: Column
    linked: NDArray[np.bool_]
    bytes_per_s: Column
    awake: Column
    nominal_ms: Column


@lru_cache(maxsize=1)
def _shapes() -> tuple[tuple[str, float, float, str], ...]:
    text = (files("reckoner.predict") / "data" / _FILE).read_text(encoding="utf-8")
    rows = [
        (row["prefix"], float(row["gmacs"]), float(row["million_weights"]), row["kind"])
        for row in csv.DictReader(text.splitlines())
    ]
    return tuple(sorted(rows, key=lambda row: -len(row[0])))  # the longest beginning that fits decides


@lru_cache(maxsize=4096)
def shape(name: str) -> tuple[float, float, str]:
    """Multiply-adds in thousand millions (NaN: unknown), million weights (0: unknown) and kind of a network.

    >>> shape("yolov8s-seg"), shape("no such network")
    ((21.3, 11.8, 'dense'), (nan, 0.0, 'unknown'))
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    for prefix, gmacs, weights, kind in _shapes():
        if plain.startswith(prefix):
            return gmacs, weights, kind
    return float("nan"), 0.0, "unknown"


@lru_cache(maxsize=4096)
def _device(name: str) -> Device | None:
    try:
        return find.device(name)
    except ReckonerError:
        return None


def group(engine: str, hardware: str) -> str:
    """What runs a network, from its engine and device.

    >>> group("ncnn-vulkan", ""), group("qaihub/tflite", ""), group("", "MCU:NUCLEO_L4R5ZI")
    ('vulkan', 'qnn', 'mcu')
    """
    name = engine.lower()
    for part, found in (("vulkan", "vulkan"), ("ncnn", "cpu"), ("qaihub", "qnn"), ("hailo", "hailo"), ("rknn", "rknn")):
        if part in name:
            return found
    if hardware.startswith("MCU"):
        return "mcu"
    found_device = _device(hardware)
    kind = "" if found_device is None else found_device.device_class
    return {"cpu": "cpu", "mcu": "mcu", "gpu": "gpu", "npu": "qnn"}.get(kind, "gpu")


def _rate(device: Device, how: str, number_format: str) -> float:
    """Operations a second of the part of a device that runs the network; NaN where the catalogue has another part's."""
    wrong = {"vulkan": ("cpu",), "cpu": ("gpu", "soc", "npu")}
    if device.device_class in wrong.get(how, ()):
        return float("nan")
    wanted = _TYPES.get(number_format, _FLOATS)
    if how == "cpu":
        wanted = _FLOATS
    for name in wanted:
        if name in device.peak_flop_per_s:
            halved = 2.0 if name == "int8" and wanted[0] != "int8" else 1.0
            return device.peak_flop_per_s[name] / halved
    return float("nan")


def cores(hardware: str) -> float:
    """Cores that the name of a device states; a middling number where it states none.

    >>> cores("Rockchip RK3588 (Cortex-A76 2.4GHz x 4 + Cortex-A55 1.8GHz x 4)"), cores("Raspberry Pi")
    (8.0, 4.0)
    """
    counts = [int(next(part for part in found if part)) for found in _CORES.findall(hardware)]
    total = sum(count for count in counts if count <= _MOST_CORES)
    return float(total) if total else _USUAL_CORES


def of(raw: Sequence[Mapping[str, str]], threads: Column) -> NetworkWork:
    """Look up and add up the work of rows of ``validation/nn_items.csv.gz``.

    Parameters
    ----------
    raw : sequence of mapping
        Rows, absent columns and empty fields counting as unknown.
    threads : (n,) float
        Threads that each row states, 1 where it states none.
    """
    text = [{k: (row.get(k) or "").strip() for k in ("model", "hardware", "engine", "weight_dtype")} for row in raw]
    shapes = [shape(row["model"]) for row in text]
    stated = np.array([number(row.get("gmacs")) for row in raw], dtype=np.float64)
    gmacs = np.where(stated > 0.0, stated, np.array([found[0] for found in shapes]))
    known = np.isfinite(gmacs) & (gmacs > 0.0)
    gmacs = np.where(known, np.clip(gmacs, *_MEANT), _USUAL_GMACS)
    weights = np.array([found[1] for found in shapes])
    weighed = weights > 0.0
    batch = np.array([number(row.get("batch_or_concurrency")) for row in raw], dtype=np.float64)
    batch = np.where(batch > 0.0, np.minimum(batch, _MEANT[1]), 1.0)
    groups = [group(row["engine"], row["hardware"]) for row in text]
    devices = [_device(row["hardware"]) for row in text]
    rate = np.array(
        [
            float("nan") if device is None else _rate(device, how, row["weight_dtype"].lower())
            for device, how, row in zip(devices, groups, text, strict=True)
        ]
    )
    rated = np.isfinite(rate)
    rate = np.where(rated, rate, np.array([_RATES[how] for how in groups]))
    bandwidth = np.array([float("nan") if device is None else device.bandwidth_bytes_per_s for device in devices])
    linked = np.isfinite(bandwidth)
    bandwidth = np.where(linked, bandwidth, 1e10)
    on_cpu = np.array([how == "cpu" for how in groups])
    share = np.array(
        [
            cores(row["hardware"]) if device is None or device.n_cores is None else float(device.n_cores)
            for device, row in zip(devices, text, strict=True)
        ]
    )
    awake = np.where(on_cpu, np.clip(threads / share, 1e-3, 1.0), 1.0)
    each = np.array([row.get("kind") == "inverse_throughput_ms" for row in raw])  # the time of one of the batch
    compute_ms = 2e12 * gmacs * np.where(each, 1.0, batch) / (rate * awake)
    size = np.array([1.0 if "8" in row["weight_dtype"] else 2.0 for row in text])
    kept_on_chip = np.array([how == "hailo" for how in groups])
    read_ms = np.where(weighed & ~kept_on_chip, 1e9 * size * weights / bandwidth, 0.0)
    call_ms = np.array([_CALL_MS[how] for how in groups])
    return NetworkWork(
        group=np.array(groups, dtype=object), kind=np.array([found[2] for found in shapes], dtype=object),
        known=known, gmacs=gmacs, weighed=weighed, million_weights=np.where(weighed, weights, 10.0), batch=batch,
        rated=rated, ops_per_s=rate, linked=linked, bytes_per_s=bandwidth, awake=awake,
        nominal_ms=compute_ms + read_ms + call_ms,
    )  # fmt: skip
