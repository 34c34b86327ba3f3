"""The forecasters that are mixed: decayed least squares of the time itself, and of its logarithm."""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

from reckoner.calibrate.solve import Row, nnls3, nnls4, solve3, solve4

NU = 3.0
"""Degrees of freedom of the Student law of log residuals: one timeout in a hundred moves nothing."""

FIRST_VARIANCE = 1.0
"""Variance of a log residual before any is seen. Chosen on the replayed streams: with less, the first outcomes pass for
outliers of the prior."""

PRIOR_WEIGHT = 0.0125 / 4.0
"""Evidence for the prior, in requests: it never decays, so a direction never seen stays where the prior put it."""

OVERSHOOT = 0.7
"""Log residual above which ``1/f^2`` would let an underestimate shout: from there on the weight is ``1/(f y)``."""

RIDGE0, RIDGE1 = 0.01, 1.0
"""Evidence, in requests, that the prior needs no factor and its shape no correction. Chosen on the replayed streams:
more of it makes the first forecasts worse."""

TINY = 1e-3
"""Least time that a forecast may fall to. [ms]"""


class _Expert:
    """Decayed sums of four regressors, the answer read from them, and the scatter around it."""

    __slots__ = ("answer", "decay", "left", "n", "right", "variance")

    def __init__(self, decay: float, answer: tuple[float, float, float, float]) -> None:
        self.decay = decay
        self.left: tuple[float, ...] = (0.0,) * 10  # upper triangle by rows: 00 01 02 03 11 12 13 22 23 33
        self.right: Row = (0.0, 0.0, 0.0, 0.0)
        self.answer = answer
        self.variance = FIRST_VARIANCE
        self.n = 0

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        raise NotImplementedError

    def absorb(self, other: _Expert) -> None:
        """Add another expert's sums, as if both had seen all requests."""
        self.left = tuple(a + b for a, b in zip(self.left, other.left, strict=True))
        (a0, a1, a2, a3), (b0, b1, b2, b3) = self.right, other.right
        self.right = a0 + b0, a1 + b1, a2 + b2, a3 + b3
        total = self.n + other.n
        if total:
            self.variance += (other.variance - self.variance) * other.n / total
        self.n = total

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.decay, self.n, self.variance, list(self.left), list(self.right)]

    def _restore(self, values: list[Any]) -> None:
        _, n, variance, left, right = values
        self.n, self.variance = int(n), float(variance)
        if len(left) != 10 or len(right) != 4:
            raise ValueError("an expert has ten sums on the left and four on the right")
        self.left = tuple(float(v) for v in left)
        self.right = float(right[0]), float(right[1]), float(right[2]), float(right[3])


class Linear(_Expert):
    """Time as overhead + prompt + completion + load, none of them negative.

    Regressors come multiplied with the prior's coefficients, so an answer of 1 says that the prior was right.
    """

    __slots__ = ("target",)

    def __init__(self, decay: float, target: tuple[float, float, float, float]) -> None:
        super().__init__(decay, target)
        self.target = target

    def learn(
        self, u: tuple[float, float, float, float], said: float, judged: float, actual: float, log_actual: float
    ) -> float:
        """Take in one request and return the odds of its time under the forecast that is judged.

        Written out, and so is :meth:`Ratio.learn`: five experts learn each request, and calls cost more than sums.

        Parameters
        ----------
        u : tuple of 4 float
            Regressors.
        said, judged : float
            Logs of what this expert says now, and of what it said when the request began.
        actual, log_actual : float
            Time [ms] and its logarithm.
        """
        variance = self.variance
        miss = log_actual - judged
        odds = 1.0 + miss * miss / (NU * variance)
        odds = 1.0 / (odds * odds * sqrt(variance))  # (1 + t^2 / nu)^(-(nu + 1) / 2) with nu = 3
        self.n = n = self.n + 1
        residual = log_actual - said
        square = residual * residual
        student = (NU + 1.0) / (NU + square / variance)
        variance += (0.02 if n > 44 else 1.0 / (n + 5.0)) * (student * square - variance)
        self.variance = variance if variance > 1e-6 else 1e-6
        forecast = exp(said)
        weight = student / (forecast * (actual if residual > OVERSHOOT else forecast))
        d, k = self.decay, PRIOR_WEIGHT
        u0, u1, u2, u3 = u
        t0, t1, t2, t3 = self.target
        a00, a01, a02, a03, a11, a12, a13, a22, a23, a33 = self.left
        b0, b1, b2, b3 = self.right
        w0, w1, w2 = weight * u0, weight * u1, weight * u2
        a00 = d * a00 + w0 * u0
        a01 = d * a01 + w0 * u1
        a02 = d * a02 + w0 * u2
        a11 = d * a11 + w1 * u1
        a12 = d * a12 + w1 * u2
        a22 = d * a22 + w2 * u2
        b0 = d * b0 + w0 * actual
        b1 = d * b1 + w1 * actual
        b2 = d * b2 + w2 * actual
        if u3 == 0.0 and a33 == 0.0:  # no load was ever reported: three unknowns
            x0, x1, x2 = nnls3(a00 + k, a01, a02, a11 + k, a12, a22 + k, b0 + k * t0, b1 + k * t1, b2 + k * t2)
            self.answer = x0, x1, x2, t3
        else:
            w3 = weight * u3
            a03 = d * a03 + w0 * u3
            a13 = d * a13 + w1 * u3
            a23 = d * a23 + w2 * u3
            a33 = d * a33 + w3 * u3
            b3 = d * b3 + w3 * actual
            self.answer = nnls4(
                (a00 + k, a01, a02, a03, a11 + k, a12, a13, a22 + k, a23, a33 + k),
                (b0 + k * t0, b1 + k * t1, b2 + k * t2, b3 + k * t3),
            )
        self.left = a00, a01, a02, a03, a11, a12, a13, a22, a23, a33
        self.right = b0, b1, b2, b3
        return odds if odds > 1e-20 else 1e-20

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        k, a = PRIOR_WEIGHT, self.left
        right = [b + k * t for b, t in zip(self.right, self.target, strict=True)]
        full = [a[0] + k, a[1], a[2], a[3], a[4] + k, a[5], a[6], a[7] + k, a[8], a[9] + k]
        if a[9] == 0.0:
            x = nnls3(full[0], full[1], full[2], full[4], full[5], full[7], right[0], right[1], right[2])
            self.answer = (*x, self.target[3])
        else:
            self.answer = nnls4(full, right)

    @classmethod
    def from_list(cls, values: list[Any], target: tuple[float, float, float, float]) -> Linear:
        """Read what :meth:`to_list` wrote."""
        expert = cls(float(values[0]), target)
        expert._restore(values)
        expert.read_out()
        return expert


class Ratio(_Expert):
    """Log of (time / prior forecast) as a line in the logs of prompt, completion and load: a prior of another shape."""

    __slots__ = ()

    def __init__(self, decay: float) -> None:
        super().__init__(decay, (0.0, 0.0, 0.0, 0.0))

    def learn(
        self, z: tuple[float, float, float], said: float, judged: float, log_prior: float, log_actual: float
    ) -> float:
        """Take in one request and return the odds of its time under the forecast that is judged.

        As :meth:`Linear.learn`, with log regressors and the log of the prior's forecast.
        """
        variance = self.variance
        miss = log_actual - judged
        odds = 1.0 + miss * miss / (NU * variance)
        odds = 1.0 / (odds * odds * sqrt(variance))
        self.n = n = self.n + 1
        residual = log_actual - said
        square = residual * residual
        w = (NU + 1.0) / (NU + square / variance)
        variance += (0.02 if n > 44 else 1.0 / (n + 5.0)) * (w * square - variance)
        self.variance = variance if variance > 1e-6 else 1e-6
        ratio = log_actual - log_prior
        d = self.decay
        z1, z2, z3 = z
        a00, a01, a02, a03, a11, a12, a13, a22, a23, a33 = self.left
        b0, b1, b2, b3 = self.right
        w1, w2 = w * z1, w * z2
        a00 = d * a00 + w
        a01 = d * a01 + w1
        a02 = d * a02 + w2
        a11 = d * a11 + w1 * z1
        a12 = d * a12 + w1 * z2
        a22 = d * a22 + w2 * z2
        b0 = d * b0 + w * ratio
        b1 = d * b1 + w1 * ratio
        b2 = d * b2 + w2 * ratio
        if z3 == 0.0 and a33 == 0.0:  # no load was ever reported: three unknowns
            self.left = a00, a01, a02, a03, a11, a12, a13, a22, a23, a33
            self.right = b0, b1, b2, b3
            x0, x1, x2 = solve3(a00 + RIDGE0, a01, a02, a11 + RIDGE1, a12, a22 + RIDGE1, b0, b1, b2)
            self.answer = x0, x1, x2, 0.0
        else:
            w3 = w * z3
            self.left = (
                a00, a01, a02, d * a03 + w3, a11, a12, d * a13 + w1 * z3, a22, d * a23 + w2 * z3, d * a33 + w3 * z3
            )  # fmt: skip
            self.right = b0, b1, b2, d * b3 + w3 * ratio
            self.read_out()
        return odds if odds > 1e-20 else 1e-20

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        a, r = self.left, RIDGE1
        answer = solve4((a[0] + RIDGE0, a[1], a[2], a[3], a[4] + r, a[5], a[6], a[7] + r, a[8], a[9] + r), self.right)
        if answer is not None:
            self.answer = answer

    @classmethod
    def from_list(cls, values: list[Any]) -> Ratio:
        """Read what :meth:`to_list` wrote."""
        expert = cls(float(values[0]))
        expert._restore(values)
        expert.read_out()
        return expert
