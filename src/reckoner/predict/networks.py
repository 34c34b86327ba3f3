"""Vision, speech and other networks on phones, boards, NPUs and microcontrollers: pooled effects of device and network.

A nominal roofline time (:mod:`reckoner.predict.network_work`) times the exponential of pooled deviations: what runs it,
how, on what, and which network; new networks are placed by their multiply-adds, weights and kind, new devices by their
rates in the catalogue.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.files import write_atomic
from reckoner.predict import effects, intervals, network_work, regress, traits
from reckoner.predict.rows import Column, Labels, number

FILE = "networks.json"
KINDS = ("energy_uj", "inverse_throughput_ms", "latency_ms")
SLOPES = (
    *("size", "curve", "weights", "batch", "threads", "clock"),
    *("known", "rate", "rated", "bandwidth", "idle"),
)
POOLS = (
    *("kind", "runtime", "way", "core", "hardware", "config", "stem", "model", "group", "shape"),
    *("way*model", "hardware*way", "kind*hardware", "shape*group"),
    *("way@size", "hardware@size", "hardware@threads", "shape@size"),
    *("group@size", "group@curve", "group@weights", "group@rate", "group@bandwidth", "group@threads", "group@batch"),
)
_NOVELTY = intervals.NOVELTIES
_SHELL = re.compile(r";[^;]*[#$>].*$")  # what a submitter's shell prompt and command line add to a configuration
_FEWEST_PAIRS = 5  # rows of a pair that gets a deviation of its own
_CORES = (
    r"cortex-[amx]\d+\w*|kryo|denver|carmel|mali-?\w*|adreno|rtx|gtx|xeon|epyc|ryzen|loongson|kunpeng|risc-?v|apple"
    r"|hailo-\d+\w?|rk\d+|rv\d+|snapdragon|qcs?\d+|sa\d+|v100|t4|a100|nucleo_[a-z]\d|gap\d|core i\d|celeron|atom"
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of networks: features, labels, and measurements where they are known."""

    feature: Mapping[str, Column]
    label: Mapping[str, Labels]
    measured: Column

    def __len__(self) -> int:
        """Rows."""
        return len(self.measured)

    def take(self, index: NDArray[np.int64]) -> Table:
        """Return the rows at ``index``."""
        return Table(
            {k: v[index] for k, v in self.feature.items()},
            {k: v[index] for k, v in self.label.items()},
            self.measured[index],
        )


def is_networks(columns: Sequence[str]) -> bool:
    """Whether a file has this schema."""
    return {"gmacs", "hardware_raw"} <= set(columns) or {"gmacs", "config"} <= set(columns)


def build(raw: Sequence[Mapping[str, str]]) -> Table:
    """Lay rows out; absent columns and empty fields count as unknown."""
    text = {
        k: np.array([(r.get(k) or "").strip() for r in raw], dtype=object)
        for k in ("kind", "model", "hardware", "hardware_raw", "engine", "weight_dtype", "source", "config")
    }
    details = [f"{h} {d} {c}" for h, d, c in zip(text["hardware"], text["hardware_raw"], text["config"], strict=True)]
    gpu = ["gpu" if _on_gpu(d, e) else "cpu" for d, e in zip(details, text["engine"], strict=True)]
    formats = [traits.number_format(w) for w in text["weight_dtype"]]
    runtime = [(e or h.split(":")[0]).lower() for e, h in zip(text["engine"], text["hardware"], strict=True)]
    label = {
        "kind": text["kind"],
        "source": text["source"],
        "model": np.array([m.lower() for m in text["model"]], dtype=object),
        "stem": np.array([_stem(m) for m in text["model"]], dtype=object),
        "hardware": np.array([_board(h) for h in text["hardware"]], dtype=object),
        "config": np.array([_SHELL.sub("", c) for c in text["config"]], dtype=object),
        "core": np.array([_core(d) for d in details], dtype=object),
        "runtime": np.array(runtime, dtype=object),
        "way": np.array(["|".join(t) for t in zip(runtime, formats, gpu, strict=True)], dtype=object),
    }
    threads = np.array([_first(r"threads?[= ](\d+)|CPU (\d+) threads", d, 1.0) for d in details])
    work = network_work.of(raw, threads)
    label |= {"group": work.group, "shape": work.kind}
    feature = {
        "nominal": np.log(work.nominal_ms),
        "size": np.where(work.known, np.log(work.gmacs) / 2.0, 0.0),
        "curve": np.where(work.known, (np.log(work.gmacs) - 1.0) ** 2 / 8.0, 0.0),
        "known": work.known * 1.0,
        "weights": np.where(work.weighed, (np.log(work.million_weights) - 2.3) / 2.0, 0.0),
        "batch": np.log(work.batch) / 2.0,
        "threads": np.log(threads) / 2.0,
        "idle": np.log(work.awake) / 2.0,
        "clock": np.log(np.array([_first(r"(\d+(?:\.\d+)?) ?GHz", d, 1.5) for d in details])),
        "rated": work.rated * 1.0,
        "rate": np.where(work.rated, np.log(work.ops_per_s / 1e12) / 2.0, 0.0),
        "bandwidth": np.where(work.linked, np.log(work.bytes_per_s / 1e10) / 2.0, 0.0),
    }
    return Table(feature, label, np.array([number(r.get("measured")) for r in raw]))


def _on_gpu(details: str, engine: str) -> bool:
    return "vulkan" in engine.lower() or "[gpu" in details.lower() or bool(re.search(r"gpu=[0-9]", details))


def _first(pattern: str, text: str, otherwise: float) -> float:
    found = re.search(pattern, text, re.IGNORECASE)
    value = next((float(g) for g in found.groups() if g), otherwise) if found else otherwise
    return value if value > 0.0 else otherwise


def _stem(name: str) -> str:
    words = re.split(r"[-_ /(|]", name.lower().rsplit("/", 1)[-1])
    return re.sub(r"(?<=\d)[a-z]$", "", words[0]) or name.lower()


def _board(name: str) -> str:
    """Name of a device; MLPerf Tiny appends formats and operating systems, and prepends compilers."""
    if not name.startswith("MCU:"):
        return name.lower()
    plain = name[4:].rsplit("/", 1)[-1].lower().replace("-", "_")
    return "mcu:" + re.sub(r"_(int8|float|zephyr|tflite.*|cmsis.*|freertos|mbed.*)$", "", plain)


def _core(details: str) -> str:
    found = re.search(_CORES, details.lower())
    return found[0] if found else "other"


def _pieces(table: Table) -> list[tuple[str, Labels | None, Column]]:
    ones = np.ones(len(table))
    out: list[tuple[str, Labels | None, Column]] = [("1", None, ones)]
    for name in SLOPES:
        value = ones
        for part in name.split("*"):
            value = value * table.feature[part]
        out.append((name, None, value))
    for name in POOLS:
        pool, _, feature = name.partition("@")
        columns = [table.label[part] for part in pool.split("*")]
        joined = np.array(["|".join(pair) for pair in zip(*columns, strict=True)], dtype=object)
        out.append((name, joined, table.feature[feature] if feature else ones))
    return out


def vocabulary(table: Table) -> effects.Vocabulary:
    """Give a coefficient to each level with two rows or more."""
    levels: dict[tuple[str, str], dict[str, int]] = {}
    size = 0
    for name, labels, _ in _pieces(table):
        if labels is None:
            kept = {"": size}
        else:
            names, counts = np.unique(labels.astype(str), return_counts=True)
            fewest = _FEWEST_PAIRS if "*" in name else effects.FEWEST
            chosen = [str(n) for n, c in zip(names, counts, strict=True) if c >= fewest]
            kept = {n: size + i for i, n in enumerate(chosen)}
        levels["network", name] = kept
        size += len(kept)
    return effects.Vocabulary(levels, size)


def _parts(table: Table, words: effects.Vocabulary) -> list[effects.Part]:
    out = []
    for name, labels, value in _pieces(table):
        found = words.levels["network", name]
        if labels is None:
            index = np.full(len(table), found[""], dtype=np.int64)
        else:
            index = np.array([found.get(label, -1) for label in labels], dtype=np.int64)
        out.append(effects.Part(0, name, labels is not None, index, value))
    return out


def fit(table: Table, words: effects.Vocabulary, *, precision: Column | None = None) -> regress.Fit:
    """Fit by reweighted least squares; the spread of each pool is learned unless ``precision`` is given."""
    laid = _parts(table, words)
    prior: Column = regress.first_guess(words) if precision is None else precision
    beta: Column = np.zeros(words.size)
    slopes = np.ones((len(table), 1))
    target: Column = np.log(table.measured) - table.feature["nominal"]
    normal = np.diag(prior)
    for _ in range(5 if precision is None else 2):
        residual: Column = target - predict(laid, beta, len(table))
        scaled: Column = (residual / regress.SCALE) ** 2
        weight: Column = (regress.DEGREES + 1.0) / (regress.DEGREES + scaled) / regress.SCALE**2
        normal, right = regress.normal_equations(laid, slopes, weight, residual, beta)
        normal[np.diag_indices(words.size)] += prior
        beta = np.asarray(np.linalg.solve(normal, right), dtype=np.float64)
        if precision is None:
            variance = np.diag(np.linalg.inv(normal))
            prior = regress.learned_precision(words, beta, variance, prior, widest=2.0)
    return regress.Fit(beta, prior, np.diag(np.linalg.inv(normal)) if precision is None else np.zeros(words.size))


def predict(laid: list[effects.Part], beta: Column, n: int) -> Column:
    """Sum of the effects of each row: the logarithm of its quantity over the nominal time."""
    padded = np.append(beta, 0.0)
    out = np.zeros(n)
    for part in laid:
        out += padded[part.index] * part.value
    return out


def apply(table: Table, words: effects.Vocabulary, beta: Column) -> Column:
    """Logarithm of each row's quantity."""
    return table.feature["nominal"] + predict(_parts(table, words), beta, len(table))


def novelty(table: Table, words: effects.Vocabulary) -> NDArray[np.int64]:
    """Index into :data:`reckoner.predict.intervals.NOVELTIES`: what of each row ``words`` has met."""

    def unseen(name: str) -> NDArray[np.bool_]:
        columns = [table.label[part] for part in name.split("*")]
        known = words.levels["network", name]
        return np.array(["|".join(pair) not in known for pair in zip(*columns, strict=True)])

    named = table.label["model"] != ""  # rows without a name are of many networks
    model, device, way = unseen("model") | ~named, unseen("hardware"), unseen("runtime")
    strange = model.astype(int) + device + way
    out = np.full(len(table), _NOVELTY.index("near"))
    out[~unseen("config") & ~unseen("way*model") & named] = _NOVELTY.index("same cell")
    out[model] = _NOVELTY.index("new model")
    out[device] = _NOVELTY.index("new device")
    out[way] = _NOVELTY.index("new engine")
    out[strange > 1] = _NOVELTY.index("new to most")
    return out


@cache
def _packaged() -> tuple[effects.Vocabulary, Column, intervals.Bands]:
    document = json.loads((files("reckoner.predict") / "data" / FILE).read_text(encoding="utf-8"))
    words, beta, _, _ = effects.from_json(document["effects"])
    return words, beta, intervals.Bands.from_json(document["bands"])


def packaged_fit() -> tuple[effects.Vocabulary, regress.Fit]:
    """Return the packaged coefficients, with the spread of each pool that cross-validation starts from."""
    document = json.loads((files("reckoner.predict") / "data" / FILE).read_text(encoding="utf-8"))
    words, beta, _, _ = effects.from_json(document["effects"])
    precision = np.ones(words.size)
    for (_, name), levels in words.levels.items():
        precision[list(levels.values())] = document["spread"][name] ** -2 if levels else 1.0
    return words, regress.Fit(beta, precision, np.zeros(words.size))


def save(
    folder: Path, words: effects.Vocabulary, found: regress.Fit, bands: intervals.Bands, evidence: dict[str, Any]
) -> None:
    """Write what was learned."""
    counts = np.zeros(words.size, dtype=np.int64)
    spread = {n: float(found.precision[next(iter(v.values()))] ** -0.5) for (_, n), v in words.levels.items() if v}
    document = {
        "evidence": evidence,
        "spread": {name: round(sd, 4) for name, sd in spread.items()},
        "effects": effects.to_json(words, found.coefficients, np.sqrt(found.variance), counts),
        "bands": bands.to_json(),
    }
    write_atomic(folder / FILE, json.dumps(document, sort_keys=True, ensure_ascii=False, indent=0) + "\n")


def answer(raw: Sequence[Mapping[str, str]]) -> tuple[Column, Column]:
    """Logarithms of predictions and half-widths of their intervals."""
    table = build(raw)
    words, beta, bands = _packaged()
    new = novelty(table, words)
    width = np.array([bands.width.get(k, bands.everywhere)[i] for k, i in zip(table.label["kind"], new, strict=True)])
    return apply(table, words, beta), width


_FOLDS = 3
_AXES = {"model": "model", "device": "hardware", "source": "source"}


def hold_out(
    table: Table, words: effects.Vocabulary, found: regress.Fit, axis: str
) -> tuple[Column, NDArray[np.int64]]:
    """Predict every row while it is held out: by configuration, or with all rows of its model, device or source.

    Returns
    -------
    log, new : (n,) float, (n,) int
        Logarithm of the prediction, and the novelty that the row had.
    """
    if axis == "cell":
        columns = [table.label[k] for k in ("hardware", "model", "config")]
        keys = ["|".join(row) for row in zip(*columns, strict=True)]
    else:
        keys = list(table.label[_AXES[axis]])
    fold = np.array([zlib.crc32(key.encode()) for key in keys])
    fold = np.unique(fold, return_inverse=True)[1] if axis == "source" else fold % _FOLDS
    log, new = np.zeros(len(table)), np.zeros(len(table), dtype=np.int64)
    for i in np.unique(fold):
        out, rest = np.flatnonzero(fold == i), np.flatnonzero(fold != i)
        kept = table.take(rest)
        refit = fit(kept, words, precision=found.precision)
        log[out] = apply(table.take(out), words, refit.coefficients)
        new[out] = novelty(table.take(out), vocabulary(kept))
    return log, new
