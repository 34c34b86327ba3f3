"""Number formats: how many bytes an element takes with its scales, and in which type it is multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from reckoner.catalogue._entries import entries
from reckoner.errors import InputError

COMPUTE_DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4")
"""Types that a device can state a peak rate for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A storage format of weights or caches.

    Parameters
    ----------
    bits : float
        Bits of one element itself, without scales.
    overhead_bytes : float
        Scales, zero points and minima, spread over the elements that share them. [byte/element]
    compute : tuple of str
        Types in which it is multiplied, the usual one first. A device is asked for them in this order through
        :meth:`reckoner.catalogue.device.Device.first_peak`, which says which one it took.
    source, checked : str, date
        Where the format is defined, and when that was read.
    """

    name: str
    title: str
    bits: float
    overhead_bytes: float
    compute: tuple[str, ...]
    source: str
    checked: date
    aliases: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Hold the invariants of a format."""
        if not 0 < self.bits <= 64:
            raise InputError(f"precision {self.name}: bits is {self.bits:g}; it must lie in (0, 64]")
        if not 0 <= self.overhead_bytes < 1:
            raise InputError(f"precision {self.name}: overhead_bytes is {self.overhead_bytes:g}; it must lie in [0, 1)")
        unknown = sorted(set(self.compute) - set(COMPUTE_DTYPES))
        if unknown or not self.compute:
            raise InputError(f"precision {self.name}: compute is {list(self.compute)}; use {', '.join(COMPUTE_DTYPES)}")

    @property
    def bytes_per_element(self) -> float:
        """Bytes of one element with its share of the scales."""
        return self.bits / 8 + self.overhead_bytes


@cache
def load_precision(canonical: str) -> Precision:
    """Read one entry of ``data/precisions.toml``.

    >>> load_precision("q8_0").bytes_per_element == 34 / 32
    True
    """
    raw = entries("precision", "precisions.toml").parse(canonical)
    scale_bytes, block = raw.get("scale", (0, 1))
    return Precision(
        name=canonical,
        title=raw["title"],
        bits=float(raw["bits"]),
        overhead_bytes=scale_bytes / block,
        compute=tuple(raw["compute"]),
        source=raw["source"],
        checked=raw["checked"],
        aliases=tuple(raw.get("aliases", ())),
        note=raw.get("note", ""),
    )
