"""Devices: memory, bandwidth, dense peaks by type, links and power, each with a source and a date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from types import MappingProxyType
from typing import Any

from reckoner.catalogue._entries import entries
from reckoner.catalogue.precision import COMPUTE_DTYPES
from reckoner.errors import InputError, MissingFigureError
from reckoner.units import parse

TIERS = ("cloud", "workstation", "edge", "mobile", "tinyml", "cpu")
CLASSES = ("gpu", "accelerator", "soc", "npu", "cpu", "mcu", "fpga")

_UNITS = {
    "memory": ("memory_bytes", "B"),
    "bandwidth": ("bandwidth_bytes_per_s", "B/s"),
    "flash": ("flash_bytes", "B"),
    "sram": ("sram_bytes", "B"),
    "link": ("link_bytes_per_s", "B/s"),
    "tdp": ("tdp_w", "W"),
    "idle": ("idle_w", "W"),
    "clock": ("clock_hz", "Hz"),
}
_OPTIONAL = ("flash_bytes", "sram_bytes", "link_bytes_per_s", "tdp_w", "idle_w", "clock_hz", "n_cores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as its maker describes it.

    Parameters
    ----------
    tier : str
        Where it is used: cloud, workstation, edge, mobile, tinyml or cpu.
    device_class : str
        What it is: gpu, accelerator, soc, npu, cpu, mcu or fpga.
    memory_bytes : float
        Memory that holds weights and caches; a microcontroller's SRAM. [byte]
    bandwidth_bytes_per_s : float
        Peak bandwidth of that memory. [byte/s]
    peak_flop_per_s : mapping of str to float
        Dense peak by type; integer types count an operation as a FLOP. The 2:4 sparse headline is twice this. [FLOP/s]
    link_bytes_per_s : float, optional
        Bandwidth to its peers in one direction, all links together (makers print both directions added). [byte/s]
    flash_bytes, sram_bytes : float, optional
        Flash that stores weights, and on-chip memory that a compiler can place tensors in. [byte]
    tdp_w, idle_w : float, optional
        Board or package power limit, and power with nothing running. [W]
    """

    name: str
    title: str
    tier: str
    device_class: str
    vendor: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    peak_flop_per_s: Mapping[str, float]
    source: str
    checked: date
    flash_bytes: float | None = None
    sram_bytes: float | None = None
    link_bytes_per_s: float | None = None
    link_kind: str = ""
    tdp_w: float | None = None
    idle_w: float | None = None
    clock_hz: float | None = None
    n_cores: int | None = None
    year: int | None = None
    aliases: tuple[str, ...] = ()
    note: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Hold the invariants of a device."""
        for name, value, allowed in (("tier", self.tier, TIERS), ("device_class", self.device_class, CLASSES)):
            if value not in allowed:
                raise InputError(f"device {self.name}: {name} is {value!r}; use {', '.join(allowed)}")
        if not self.memory_bytes >= 0:
            raise InputError(f"device {self.name}: memory_bytes is {self.memory_bytes!r}; it must be at least 0")
        if not self.bandwidth_bytes_per_s > 0:
            raise InputError(
                f"device {self.name}: bandwidth_bytes_per_s is {self.bandwidth_bytes_per_s!r}; it must be positive"
            )
        for dtype, rate in self.peak_flop_per_s.items():
            if dtype not in COMPUTE_DTYPES:
                raise InputError(f"device {self.name}: peak of {dtype!r}; use {', '.join(COMPUTE_DTYPES)}")
            if not rate > 0:
                raise InputError(f"device {self.name}: peak of {dtype} is {rate!r}; it must be positive")
        for name in _OPTIONAL:
            figure = self._optional(name)
            if figure is not None and not figure > 0:
                raise InputError(f"device {self.name}: {name} is {figure!r}; it must be positive, or absent if unknown")
        if not isinstance(self.peak_flop_per_s, MappingProxyType):
            object.__setattr__(self, "peak_flop_per_s", MappingProxyType(dict(self.peak_flop_per_s)))

    def __hash__(self) -> int:
        """Hash by what tells devices apart; the mapping of peaks has no hash of its own."""
        return hash((self.name, self.memory_bytes, self.bandwidth_bytes_per_s))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to worker processes: a mapping proxy alone cannot."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return _rebuild, ({**fields, "peak_flop_per_s": dict(self.peak_flop_per_s)},)

    def _optional(self, name: str) -> float | None:
        value: float | None = getattr(self, name)
        return value

    def peak(self, dtype: str) -> float:
        """Dense peak of exactly this type, never another type's, in FLOP/s.

        Raises
        ------
        MissingFigureError
            The maker states no such peak; those present are listed.
        """
        rate = self.peak_flop_per_s.get(dtype)
        if rate is None:
            present = ", ".join(self.peak_flop_per_s) or "none"
            raise MissingFigureError(
                f"{self.name} has no {dtype} peak; present: {present}. Compute in one of those or take another device"
            )
        return rate

    def first_peak(self, dtypes: Iterable[str]) -> tuple[str, float]:
        """First type of ``dtypes`` that the device states a peak for, with that peak.

        Takes the ``compute`` order of a :class:`~reckoner.catalogue.precision.Precision`; the type is returned so that
        a caller can say which one it was.

        Raises
        ------
        MissingFigureError
            None of them is present.
        """
        wanted = tuple(dtypes)
        for dtype in wanted:
            if dtype in self.peak_flop_per_s:
                return dtype, self.peak_flop_per_s[dtype]
        present = ", ".join(self.peak_flop_per_s) or "none"
        raise MissingFigureError(
            f"{self.name} has no peak of {', '.join(wanted)}; present: {present}. Store the weights in a format that "
            "multiplies in one of those or take another device"
        )

    def figure(self, name: str) -> float:
        """An optional figure that must be there, such as ``tdp_w``.

        Raises
        ------
        MissingFigureError
            It is absent; those present are listed.
        """
        if name in ("memory_bytes", "bandwidth_bytes_per_s"):
            return self.memory_bytes if name == "memory_bytes" else self.bandwidth_bytes_per_s
        present = [other for other in _OPTIONAL if self._optional(other) is not None]
        if name not in present:
            raise MissingFigureError(
                f"{self.name} has no {name}; present: {', '.join(['memory_bytes', 'bandwidth_bytes_per_s', *present])}"
            )
        value = self._optional(name)
        assert value is not None
        return value


def _rebuild(fields: dict[str, Any]) -> Device:
    return Device(**fields)


@cache
def load_device(canonical: str) -> Device:
    """Read one entry of ``data/devices/``; the text of its figures is parsed with units.

    >>> h100 = load_device("nvidia-h100-sxm")
    >>> h100.peak("bf16"), h100.bandwidth_bytes_per_s
    (989400000000000.0, 3350000000000.0)
    """
    raw = entries("device", "devices").parse(canonical)
    figures = {target: parse(raw[key], base) for key, (target, base) in _UNITS.items() if key in raw}
    peaks = {dtype: parse(text, "OP/s" if dtype.startswith("int") else "FLOP/s") for dtype, text in raw["peak"].items()}
    return Device(
        name=canonical,
        title=raw["title"],
        tier=raw["tier"],
        device_class=raw["class"],
        vendor=raw["vendor"],
        peak_flop_per_s=peaks,
        link_kind=raw.get("link_kind", ""),
        n_cores=raw.get("cores"),
        year=raw.get("year"),
        source=raw["source"],
        checked=raw["checked"],
        aliases=tuple(raw.get("aliases", ())),
        note=raw.get("note", ""),
        memory_bytes=figures.pop("memory_bytes"),
        bandwidth_bytes_per_s=figures.pop("bandwidth_bytes_per_s"),
        **figures,
    )
