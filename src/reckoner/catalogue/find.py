"""Names become nouns: device, model, precision and rate by canonical name or alias, with near misses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from os import PathLike
from pathlib import Path

from reckoner.catalogue._entries import entries
from reckoner.catalogue.device import Device, load_device
from reckoner.catalogue.model import Model
from reckoner.catalogue.precision import Precision, load_precision
from reckoner.catalogue.rate import Rate, pick_rate
from reckoner.errors import require


def device(name: str) -> Device:
    """Find a device by canonical name or alias, case-insensitively.

    Raises
    ------
    UnknownNameError
        No such device; near misses are named.

    Examples
    --------
    >>> device("H100").name
    'nvidia-h100-sxm'
    """
    return load_device(entries("device", "devices").resolve(name))


def devices() -> list[str]:
    """Canonical names of all devices, sorted."""
    return entries("device", "devices").names()


def precision(name: str) -> Precision:
    """Find a number format by name or alias.

    >>> precision("NVFP4").bytes_per_element
    0.5625
    """
    return load_precision(entries("precision", "precisions.toml").resolve(name))


def precisions() -> list[str]:
    """Canonical names of all number formats, sorted."""
    return entries("precision", "precisions.toml").names()


@cache
def _built_in(canonical: str) -> Model:
    raw = entries("model", "models").parse(canonical)
    made = Model.from_config(raw["config"], name=canonical)
    return replace(
        made,
        title=raw["title"],
        aliases=tuple(raw.get("aliases", ())),
        source=raw["source"],
        checked=raw["checked"],
        note=raw.get("note", made.note),
    )


def model(name_or_path: str | Path) -> Model:
    """Find a model: a built-in name, a Hugging Face id of one, or the path of a ``config.json`` or its folder.

    Raises
    ------
    UnknownNameError
        Neither a built-in model nor an existing path; near misses are named.
    InputError
        The configuration misses or contradicts itself.

    Examples
    --------
    >>> model("meta-llama/Llama-3.1-8B-Instruct").params
    8030261248
    """
    require("model", name_or_path, (str, PathLike), "give a name or the path of a config.json")
    known = entries("model", "models")
    if isinstance(name_or_path, str) and known.has(name_or_path):
        return _built_in(known.resolve(name_or_path))
    path = Path(name_or_path)
    if path.suffix == ".json" or _stands(path):
        return Model.from_config(path)
    return _built_in(known.resolve(str(name_or_path)))


def _stands(path: Path) -> bool:
    """Whether there is such a path; a name too long for one is none."""
    try:
        return path.exists()
    except OSError:
        return False


def models() -> list[str]:
    """Canonical names of the built-in models, sorted."""
    return entries("model", "models").names()


def published_params(name: str) -> int | None:
    """Exact count of the released weights of a built-in model as its publisher states it, None when unknown."""
    known = entries("model", "models")
    count: int | None = known.parse(known.resolve(name)).get("published")
    return count


def rate(device_name: str, provider: str | None = None, *, spot: bool = False) -> Rate:
    """Find the hourly price of a device.

    Parameters
    ----------
    device_name : str
        Name or alias of a device.
    provider : str, optional
        ``aws``, ``runpod``, ... or ``self-hosted``; by default the (lower) middle of all providers that rent it out.
    spot : bool
        The interruptible price.

    Raises
    ------
    UnknownNameError
        No such device.
    MissingFigureError
        No such price; the providers present are listed.

    Examples
    --------
    >>> rate("h100", "lambdalabs").provider
    'lambdalabs'
    """
    canonical = entries("device", "devices").resolve(device_name)
    if provider is not None:
        require("provider", provider, str, "give a name such as aws or self-hosted")
    return pick_rate(canonical, None if provider is None else provider.strip().lower(), spot)
