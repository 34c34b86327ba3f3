"""The learned prior of items: pooled effects, residuals of known configurations and interval widths, as dated data."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.files import write_atomic
from reckoner.predict import effects, kriging
from reckoner.predict.intervals import Bands, Known, novelty
from reckoner.predict.quantities import basis, log_quantity, sequences_inside
from reckoner.predict.rows import Column, Rows

EFFECTS_FILE = "effects.json"
NEIGHBOURS_FILE = "neighbours.npz"
_ROUNDS = 15  # halvings of the distance to the settled batch


@dataclass(frozen=True, slots=True)
class Learned:
    """What fitting leaves behind.

    Parameters
    ----------
    words, coefficients : Vocabulary, (m,) float
        Pooled effects.
    known : Known
        Names met.
    smoother : Smoother
        Residuals of known configurations.
    bands : Bands
        Interval widths.
    evidence : mapping
        Date, rows, sources, seed.
    """

    words: effects.Vocabulary
    coefficients: NDArray[np.float64]
    known: Known
    smoother: kriging.Smoother
    bands: Bands
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answers:
    """Logarithms of predictions, half-widths of their 90 % intervals, and how new each row was."""

    log: Column
    half_width: Column
    new: NDArray[np.int64]


def answer_rows(rows: Rows, prior: Learned) -> Answers:
    """Predict rows: physics with pooled effects, then what is known of like configurations."""
    rows = _settled(rows, prior)
    base = basis(rows)
    laid = effects.parts(rows, base, prior.words)
    pooled = log_quantity(rows, base, effects.apply(laid, prior.coefficients, len(rows)))
    mean, explained = kriging.smooth(prior.smoother, kriging.points(rows, base))
    new = novelty(rows, prior.known, explained)
    return Answers(pooled + mean, prior.bands.half_width(rows, new), new)


def _settled(rows: Rows, prior: Learned) -> Rows:
    """Give rows with an arrival rate and no batch the batch that they settle at."""
    open_ = np.flatnonzero((np.nan_to_num(rows.number["rate"]) > 0.0) & ~np.isfinite(rows.number["batch"]))
    if not len(open_):
        return rows
    part = rows.take(open_)
    as_tpot = {"kind": "openloop_tpot", "group": "tpot", "timed": "tpot"}
    label = {k: np.full_like(v, as_tpot[k]) if k in as_tpot else v for k, v in part.label.items()}
    inside = np.full(len(open_), 8.0)
    for _ in range(_ROUNDS):
        guess = Rows(dict(part.number) | {"batch": inside}, label, part.assumed)
        base = basis(guess)
        u = effects.apply(effects.parts(guess, base, prior.words), prior.coefficients, len(guess))
        inside = 0.5 * inside + 0.5 * sequences_inside(guess, log_quantity(guess, base, u))
    batch = rows.number["batch"].copy()
    batch[open_] = inside
    return Rows(dict(rows.number) | {"batch": batch}, rows.label, rows.assumed)


def save(prior: Learned, folder: Path, sd: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Write the prior: readable JSON for effects, names and widths, compressed arrays for neighbours."""
    document = {
        "evidence": prior.evidence,
        "effects": effects.to_json(prior.words, prior.coefficients, sd, counts),
        "known": prior.known.to_json(),
        "bands": prior.bands.to_json(),
    }
    write_atomic(folder / EFFECTS_FILE, json.dumps(document, sort_keys=True, ensure_ascii=False, indent=0) + "\n")
    smoother, known = prior.smoother, prior.smoother.known
    arrays: dict[str, NDArray[Any]] = {
        "place": known.place.astype(np.float32),
        "size": known.size.astype(np.float32),
        "year": (known.year - _YEAR0).astype(np.float32),
        "weight": smoother.weight.astype(np.float32),
        "noise": smoother.noise.astype(np.float16),
    }
    for name, column in {"block": known.block, **known.label}.items():
        names, codes = np.unique(column.astype(str), return_inverse=True)
        arrays[f"{name}_names"], arrays[f"{name}_codes"] = names, codes.astype(np.uint16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(folder / NEIGHBOURS_FILE, buffer.getvalue())


_YEAR0 = 2025.0 / kriging.SCALES["year"]


def load(folder: Path) -> Learned:
    """Read what :func:`save` wrote."""
    document = json.loads((folder / EFFECTS_FILE).read_text(encoding="utf-8"))
    words, coefficients, _, _ = effects.from_json(document["effects"])
    with np.load(folder / NEIGHBOURS_FILE, allow_pickle=False) as data:
        labels = {
            key.removesuffix("_names"): data[key][data[key.replace("_names", "_codes")]].astype(object)
            for key in data.files
            if key.endswith("_names")
        }
        block = labels.pop("block")
        known = kriging.Points(
            block,
            data["place"].astype(np.float64),
            data["size"].astype(np.float64),
            data["year"].astype(np.float64) + _YEAR0,
            labels,
        )
        smoother = kriging.Smoother(known, data["weight"].astype(np.float64), data["noise"].astype(np.float64))
    known_names = Known.from_json(document["known"])
    return Learned(words, coefficients, known_names, smoother, Bands.from_json(document["bands"]), document["evidence"])


@cache
def packaged() -> Learned:
    """Return the prior that ships with the package."""
    return load(Path(str(files("reckoner.predict") / "data")))
