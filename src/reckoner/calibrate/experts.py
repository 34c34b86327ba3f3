"""The forecasters that are mixed: decayed least squares of the time itself, and of its logarithm."""

from __future__ import annotations

import math
from typing import Any

from reckoner.calibrate.solve import nnls3, nnls4, solve3, solve4

NU = 3.0
"""Degrees of freedom of the Student law of log residuals: one timeout in a hundred moves nothing."""

FIRST_VARIANCE = 1.0
"""Variance of a log residual before any is seen. Chosen on the replayed streams: with less, the first outcomes pass for
outliers of the prior."""

PRIOR_WEIGHT = 0.0125 / 4.0
"""Evidence for the prior, in requests: it never decays, so a direction never seen stays where the prior put it."""

OVERSHOOT = 0.7
"""Log residual above which ``1/f^2`` would let an underestimate shout: from there on the weight is ``1/(f y)``."""

RIDGE = (0.01, 1.0, 1.0, 1.0)
"""Evidence, in requests, that the prior needs no factor and its shape no correction. Chosen on the replayed streams:
more of it makes the first forecasts worse."""

TINY = 1e-3
"""Least time that a forecast may fall to. [ms]"""


class _Expert:
    """Decayed sums of four regressors, the answer read from them, and the scatter around it."""

    __slots__ = ("answer", "decay", "left", "n", "right", "variance")

    def __init__(self, decay: float, answer: tuple[float, float, float, float]) -> None:
        self.decay = decay
        self.left = [0.0] * 10
        self.right = [0.0] * 4
        self.answer = answer
        self.variance = FIRST_VARIANCE
        self.n = 0

    def _weight(self, residual: float) -> float:
        """Student weight of a log residual; learns the scatter on the way."""
        self.n += 1
        square = residual * residual
        variance = self.variance
        weight = (NU + 1.0) / (NU + square / variance)
        variance += (0.02 if self.n > 44 else 1.0 / (self.n + 5.0)) * (weight * square - variance)
        self.variance = variance if variance > 1e-6 else 1e-6
        return weight

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        raise NotImplementedError

    def absorb(self, other: _Expert) -> None:
        """Add another expert's sums, as if both had seen all requests."""
        self.left = [a + b for a, b in zip(self.left, other.left, strict=True)]
        self.right = [a + b for a, b in zip(self.right, other.right, strict=True)]
        total = self.n + other.n
        if total:
            self.variance += (other.variance - self.variance) * other.n / total
        self.n = total

    def to_list(self) -> list[Any]:
        """Plain values for the state file."""
        return [self.decay, self.n, self.variance, self.left, self.right]

    def _restore(self, values: list[Any]) -> None:
        _, n, variance, left, right = values
        self.n, self.variance = int(n), float(variance)
        self.left, self.right = [float(v) for v in left], [float(v) for v in right]
        if len(self.left) != 10 or len(self.right) != 4:
            raise ValueError("an expert has ten sums on the left and four on the right")


class Linear(_Expert):
    """Time as overhead + prompt + completion + load, none of them negative.

    Regressors come multiplied with the prior's coefficients, so an answer of 1 says that the prior was right.
    """

    __slots__ = ("target",)

    def __init__(self, decay: float, target: tuple[float, float, float, float]) -> None:
        super().__init__(decay, target)
        self.target = target

    def learn(self, u: tuple[float, float, float, float], said: float, actual: float, log_actual: float) -> None:
        """Take in one request: regressors, log of the forecast just made for it, time [ms] and its logarithm."""
        u0, u1, u2, u3 = u
        forecast = math.exp(said)
        residual = log_actual - said
        weight = self._weight(residual) / (forecast * (actual if residual > OVERSHOOT else forecast))
        d = self.decay
        a, b = self.left, self.right
        w0, w1, w2 = weight * u0, weight * u1, weight * u2
        a[0] = a0 = d * a[0] + w0 * u0
        a[1] = a1 = d * a[1] + w0 * u1
        a[2] = a2 = d * a[2] + w0 * u2
        a[4] = a4 = d * a[4] + w1 * u1
        a[5] = a5 = d * a[5] + w1 * u2
        a[7] = a7 = d * a[7] + w2 * u2
        b[0] = b0 = d * b[0] + w0 * actual
        b[1] = b1 = d * b[1] + w1 * actual
        b[2] = b2 = d * b[2] + w2 * actual
        k, target = PRIOR_WEIGHT, self.target
        if u3 == 0.0 and a[9] == 0.0:  # no load was ever reported: three unknowns
            self.answer = (
                *nnls3(
                    (a0 + k, a1, a2, a4 + k, a5, a7 + k), (b0 + k * target[0], b1 + k * target[1], b2 + k * target[2])
                ),
                target[3],
            )
            return
        w3 = weight * u3
        a[3] = a3 = d * a[3] + w0 * u3
        a[6] = a6 = d * a[6] + w1 * u3
        a[8] = a8 = d * a[8] + w2 * u3
        a[9] = a9 = d * a[9] + w3 * u3
        b[3] = b3 = d * b[3] + w3 * actual
        self.answer = nnls4(
            [a0 + k, a1, a2, a3, a4 + k, a5, a6, a7 + k, a8, a9 + k],
            [b0 + k * target[0], b1 + k * target[1], b2 + k * target[2], b3 + k * target[3]],
        )

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        k, a = PRIOR_WEIGHT, self.left
        right = [b + k * t for b, t in zip(self.right, self.target, strict=True)]
        full = [a[0] + k, a[1], a[2], a[3], a[4] + k, a[5], a[6], a[7] + k, a[8], a[9] + k]
        if a[9] == 0.0:
            x = nnls3((full[0], full[1], full[2], full[4], full[5], full[7]), (right[0], right[1], right[2]))
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

    def learn(self, z: tuple[float, float, float], said: float, log_prior: float, log_actual: float) -> None:
        """Take in one request: log regressors, log of the forecast just made, of the prior's and of the time."""
        z1, z2, z3 = z
        ratio = log_actual - log_prior
        w = self._weight(log_actual - said)
        d = self.decay
        a, b = self.left, self.right
        w1, w2 = w * z1, w * z2
        a[0] = a0 = d * a[0] + w
        a[1] = a1 = d * a[1] + w1
        a[2] = a2 = d * a[2] + w2
        a[4] = a4 = d * a[4] + w1 * z1
        a[5] = a5 = d * a[5] + w1 * z2
        a[7] = a7 = d * a[7] + w2 * z2
        b[0] = b0 = d * b[0] + w * ratio
        b[1] = b1 = d * b[1] + w1 * ratio
        b[2] = b2 = d * b[2] + w2 * ratio
        r0, r1, r2, _ = RIDGE
        if z3 == 0.0 and a[9] == 0.0:  # no load was ever reported: three unknowns
            self.answer = (*solve3((a0 + r0, a1, a2, a4 + r1, a5, a7 + r2), (b0, b1, b2)), 0.0)
            return
        w3 = w * z3
        a[3] = d * a[3] + w3
        a[6] = d * a[6] + w1 * z3
        a[8] = d * a[8] + w2 * z3
        a[9] = d * a[9] + w3 * z3
        b[3] = d * b[3] + w3 * ratio
        self.read_out()

    def read_out(self) -> None:
        """Compute the answer from the sums, after they were added to or restored."""
        a, (r0, r1, r2, r3) = self.left, RIDGE
        answer = solve4([a[0] + r0, a[1], a[2], a[3], a[4] + r1, a[5], a[6], a[7] + r2, a[8], a[9] + r3], self.right)
        if answer is not None:
            self.answer = answer

    @classmethod
    def from_list(cls, values: list[Any]) -> Ratio:
        """Read what :meth:`to_list` wrote."""
        expert = cls(float(values[0]))
        expert._restore(values)
        expert.read_out()
        return expert
