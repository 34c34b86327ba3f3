"""Least squares of three or four unknowns, with and without signs, in plain Python.

A general solver costs more in calls than these take in arithmetic; a request is learned from in microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

Row = tuple[float, float, float, float]


def solve4(a: Sequence[float], b: Sequence[float]) -> Row | None:
    """Solve ``A x = b`` for a positive definite 4 x 4 matrix.

    Parameters
    ----------
    a : sequence of 10 float
        Upper triangle by rows: 00 01 02 03 11 12 13 22 23 33.
    b : sequence of 4 float
        Right side.

    Returns
    -------
    tuple of 4 float or None
        The solution; None where rounding leaves no positive pivot.

    Examples
    --------
    >>> solve4([2.0, 0, 0, 0, 2.0, 0, 0, 2.0, 0, 2.0], [2.0, 4.0, 6.0, 8.0])
    (1.0, 2.0, 3.0, 4.0)
    """
    a00, a01, a02, a03, a11, a12, a13, a22, a23, a33 = a
    b0, b1, b2, b3 = b
    if a00 <= 0.0:
        return None
    m1, m2, m3 = a01 / a00, a02 / a00, a03 / a00
    a11 -= m1 * a01
    if a11 <= 0.0:
        return None
    a12 -= m1 * a02
    a13 -= m1 * a03
    a22 -= m2 * a02
    a23 -= m2 * a03
    a33 -= m3 * a03
    b1 -= m1 * b0
    b2 -= m2 * b0
    b3 -= m3 * b0
    n2, n3 = a12 / a11, a13 / a11
    a22 -= n2 * a12
    a23 -= n2 * a13
    a33 -= n3 * a13
    if a22 <= 0.0:
        return None
    b2 -= n2 * b1
    b3 -= n3 * b1
    o3 = a23 / a22
    a33 -= o3 * a23
    if a33 <= 0.0:
        return None
    b3 -= o3 * b2
    x3 = b3 / a33
    x2 = (b2 - a23 * x3) / a22
    x1 = (b1 - a12 * x2 - a13 * x3) / a11
    return (b0 - a01 * x1 - a02 * x2 - a03 * x3) / a00, x1, x2, x3


def solve3(  # noqa: PLR0913, PLR0917 - a matrix and a right side; packing them costs as much as solving
    a00: float, a01: float, a02: float, a11: float, a12: float, a22: float, b0: float, b1: float, b2: float
) -> tuple[float, float, float]:
    """Solve ``A x = b`` for a positive definite 3 x 3 matrix, given by its upper triangle.

    Examples
    --------
    >>> solve3(2.0, 0.0, 0.0, 2.0, 0.0, 2.0, 2.0, 4.0, 6.0)
    (1.0, 2.0, 3.0)
    """
    m1, m2 = a01 / a00, a02 / a00
    a11 -= m1 * a01
    a12 -= m1 * a02
    b1 -= m1 * b0
    n2 = a12 / a11
    x2 = (b2 - m2 * b0 - n2 * b1) / (a22 - m2 * a02 - n2 * a12)
    x1 = (b1 - a12 * x2) / a11
    return (b0 - a01 * x1 - a02 * x2) / a00, x1, x2


def nnls3(  # noqa: PLR0913, PLR0917 - a matrix and a right side; packing them costs as much as solving
    a00: float, a01: float, a02: float, a11: float, a12: float, a22: float, b0: float, b1: float, b2: float
) -> tuple[float, float, float]:
    """Solve ``A x = b`` with no ``x`` below zero, for a positive definite 3 x 3 matrix given by its upper triangle.

    The best face is found by trying them all: the interior, then pairs, then single unknowns.

    Examples
    --------
    >>> nnls3(1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, -2.0, 3.0)
    (1.0, 0.0, 3.0)
    """
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    det = a00 * c00 + a01 * c01 + a02 * c02
    if det > 0.0:
        c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
        x0 = (c00 * b0 + c01 * b1 + c02 * b2) / det
        x1 = (c01 * b0 + c11 * b1 + c12 * b2) / det
        x2 = (c02 * b0 + c12 * b1 + c22 * b2) / det
        if x0 >= 0.0 and x1 >= 0.0 and x2 >= 0.0:
            return x0, x1, x2
    best, answer = 0.0, (0.0, 0.0, 0.0)
    det = a00 * a11 - a01 * a01
    if det > 0.0:
        u, v = (a11 * b0 - a01 * b1) / det, (a00 * b1 - a01 * b0) / det
        if u >= 0.0 and v >= 0.0:
            best, answer = u * b0 + v * b1, (u, v, 0.0)  # twice the fall of the objective
    det = a00 * a22 - a02 * a02
    if det > 0.0:
        u, v = (a22 * b0 - a02 * b2) / det, (a00 * b2 - a02 * b0) / det
        if u >= 0.0 and v >= 0.0 and u * b0 + v * b2 > best:
            best, answer = u * b0 + v * b2, (u, 0.0, v)
    det = a11 * a22 - a12 * a12
    if det > 0.0:
        u, v = (a22 * b1 - a12 * b2) / det, (a11 * b2 - a12 * b1) / det
        if u >= 0.0 and v >= 0.0 and u * b1 + v * b2 > best:
            best, answer = u * b1 + v * b2, (0.0, u, v)
    if b0 > 0.0 and b0 * b0 / a00 > best:
        best, answer = b0 * b0 / a00, (b0 / a00, 0.0, 0.0)
    if b1 > 0.0 and b1 * b1 / a11 > best:
        best, answer = b1 * b1 / a11, (0.0, b1 / a11, 0.0)
    if b2 > 0.0 and b2 * b2 / a22 > best:
        answer = (0.0, 0.0, b2 / a22)
    return answer


_LEFT = ((4, 5, 6, 7, 8, 9), (0, 2, 3, 7, 8, 9), (0, 1, 3, 4, 6, 9), (0, 1, 2, 4, 5, 7))
"""Upper triangle that is left of a 4 x 4 one when row and column i go."""


def nnls4(a: Sequence[float], b: Sequence[float]) -> Row:
    """Solve ``A x = b`` with no ``x`` below zero, for a positive definite 4 x 4 matrix given as in :func:`solve4`.

    Where the free solution has negative parts the most negative one is set to zero and the other three are solved
    exactly; on replayed streams this scores as the exact answer does and costs a third.

    Examples
    --------
    >>> nnls4([1.0, 0, 0, 0, 1.0, 0, 0, 1.0, 0, 1.0], [1.0, 2.0, -3.0, 4.0])
    (1.0, 2.0, 0.0, 4.0)
    """
    free = solve4(a, b)
    if free is None:
        gone = 3
    else:
        least = min(free)
        if least >= 0.0:
            return free
        gone = free.index(least)
    i, j, k, m, n, o = _LEFT[gone]
    b0, b1, b2 = (value for index, value in enumerate(b) if index != gone)
    x = list(nnls3(a[i], a[j], a[k], a[m], a[n], a[o], b0, b1, b2))
    x.insert(gone, 0.0)
    return x[0], x[1], x[2], x[3]
