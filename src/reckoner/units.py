"""Units at the border: text such as ``"3.35 TB/s"`` in, SI floats inside, text out.

Decimal prefixes are powers of 1000 and binary ones (``KiB``) powers of 1024, as IEC 80000-13 has them.
"""

from __future__ import annotations

import math
import re

from reckoner.errors import InputError

_LADDER = (
    ("n", 1e-9),
    ("µ", 1e-6),
    ("m", 1e-3),
    ("", 1.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
)
_SI = {**dict(_LADDER), "u": 1e-6, "K": 1e3}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_BASES = ("FLOP/s", "OP/s", "B/s", "FLOP", "tok/s", "req/s", "B", "W", "s", "Hz", "J", "$/h")
_BINARY_BASES = ("B", "B/s")
_NUMBER = re.compile(r"\s*([-+]?\d[\d_,]*(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


def parse(text: str, base: str) -> float:
    """Read a quantity in the unit ``base`` and return it in SI.

    Parameters
    ----------
    text : str
        A number and a unit with an optional prefix.
    base : str
        The unit expected: one of ``B``, ``B/s``, ``FLOP/s``, ``OP/s``, ``W``, ``s``, ``Hz``, ``J``, ...

    Raises
    ------
    InputError
        Not a number, or another unit than ``base``.

    Examples
    --------
    >>> parse("3.35 TB/s", "B/s")
    3350000000000.0
    >>> parse("512 KiB", "B")
    524288.0
    """
    if base not in _BASES:
        raise InputError(f"unit {base!r} is not known here; use one of {', '.join(_BASES)}")
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a quantity; write a number and a unit such as '3.35 T{base}'")
    value = float(match[1].replace(",", "").replace("_", ""))
    unit = match[2]
    if unit.endswith(base):
        prefix = unit[: len(unit) - len(base)]
        scale = _SI.get(prefix)
        if scale is None and base in _BINARY_BASES:
            scale = _BINARY.get(prefix)
        if scale is not None:
            return value * scale
    raise InputError(f"{text!r} is not in {base}; write for example '{match[1]} G{base}'")


def show(value: float | None, base: str, digits: int = 3) -> str:
    """Write an SI value with the prefix that leaves 1 to 999 in front of the point.

    >>> show(3.35e12, "B/s"), show(0.0123, "s"), show(None, "s")
    ('3.35 TB/s', '12.3 ms', 'unknown')
    """
    if value is None:
        return "unknown"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {base}"
    rounded = abs(float(f"{value:.{digits}g}"))
    prefix, scale = _LADDER[0]
    for candidate, size in _LADDER:
        if rounded >= size:
            prefix, scale = candidate, size
    scaled = value / scale
    whole = len(str(int(abs(float(f"{scaled:.{digits}g}")))))
    return f"{scaled:.{max(digits - whole, 0)}f} {prefix}{base}"
