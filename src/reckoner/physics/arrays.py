"""Numbers that broadcast: a plain float where a scalar came in, an array of float64 otherwise.

Every formula in this room is written once and serves both. NumPy's scalars cost about ten times what Python's floats
do, so a scalar stays a float all the way through.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = float | NDArray[np.float64]


def asfloats(value: ArrayLike) -> Floats:
    """Return ``value`` as a float, or as an array of float64 when it has axes.

    >>> asfloats(3), asfloats([1, 2])
    (3.0, array([1., 2.]))
    """
    if type(value) is float:  # by far the commonest
        return value
    if isinstance(value, (int, float)):
        return float(value)
    array = np.asarray(value, dtype=np.float64)
    return array if array.ndim else float(array)


def maximum(a: Floats, b: Floats) -> Floats:
    """Return the larger of two, element by element.

    >>> maximum(1.0, 2.0)
    2.0
    """
    if type(a) is float and type(b) is float:
        return a if a >= b else b
    return asfloats(np.maximum(a, b))


def minimum(a: Floats, b: Floats) -> Floats:
    """Return the smaller of two, element by element.

    >>> minimum(1.0, 2.0)
    1.0
    """
    if type(a) is float and type(b) is float:
        return a if a <= b else b
    return asfloats(np.minimum(a, b))


def where(condition: bool | NDArray[np.bool_], yes: Floats, no: Floats) -> Floats:
    """Choose element by element; both branches have been computed already.

    >>> where(True, 1.0, 2.0)
    1.0
    """
    if condition is True or condition is False or isinstance(condition, np.bool_):
        return yes if condition else no
    return np.where(condition, yes, no)


def ceil(value: Floats) -> Floats:
    """Round up.

    >>> ceil(1.2)
    2.0
    """
    return float(math.ceil(value)) if isinstance(value, float) and math.isfinite(value) else asfloats(np.ceil(value))


def floor(value: Floats) -> Floats:
    """Round down.

    >>> floor(1.8)
    1.0
    """
    return -ceil(-value)


def exp(value: Floats) -> Floats:
    """Raise e to ``value``.

    >>> exp(0.0)
    1.0
    """
    return math.exp(value) if isinstance(value, float) else np.exp(value)


def log(value: Floats) -> Floats:
    """Natural logarithm of a positive number.

    >>> log(1.0)
    0.0
    """
    return math.log(value) if isinstance(value, float) else np.log(value)


def log2(value: Floats) -> Floats:
    """Binary logarithm of a positive number.

    >>> log2(8.0)
    3.0
    """
    return math.log2(value) if isinstance(value, float) else np.log2(value)


def sqrt(value: Floats) -> Floats:
    """Square root of a number that is not negative.

    >>> sqrt(9.0)
    3.0
    """
    return math.sqrt(value) if isinstance(value, float) else np.sqrt(value)


def power(base: Floats, exponent: Floats) -> Floats:
    """Raise a number that is not negative to ``exponent``.

    >>> power(2.0, 3.0)
    8.0
    """
    if isinstance(base, float) and isinstance(exponent, float):
        return math.pow(base, exponent)
    return np.power(base, exponent)
