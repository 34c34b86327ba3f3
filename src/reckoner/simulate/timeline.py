"""Gaps between the tokens of one request, taken apart from the events that all requests share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAME_S = 1e-9  # clocks closer than this are the same moment, told by different sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Gaps in a row, each longer by the same amount than the one before.

    Parameters
    ----------
    n : int
        Gaps.
    first_s, growth_s : float
        The first one, and what each adds. [s]
    """

    n: int
    first_s: float
    growth_s: float = 0.0

    @property
    def longest_s(self) -> float:
        """The last gap, or the first where they do not grow, in s."""
        return self.first_s + self.growth_s * (self.n - 1)

    @property
    def total_s(self) -> float:
        """All of them together, in s."""
        return self.n * (self.first_s + 0.5 * self.growth_s * (self.n - 1))

    def spread(self) -> Floats:
        """Every gap, in s."""
        return np.asarray(self.first_s + self.growth_s * np.arange(self.n), dtype=np.float64)


class Timeline:
    """Events by replica, and by request those that send it back."""

    def __init__(self, log: Floats) -> None:
        from reckoner.simulate import kernel_layout as layout

        rows = log.reshape(-1, layout.N_LOG)
        kind = rows[:, layout.LOG_KIND]
        self.steps: dict[int, Floats] = {}
        steps = rows[kind > 0]
        for replica in np.unique(steps[:, layout.LOG_REPLICA]).astype(int).tolist():
            mine = steps[steps[:, layout.LOG_REPLICA] == replica]
            self.steps[replica] = mine[:, layout.LOG_START_S :]
        self.breaks: dict[int, list[float]] = {}
        for row in rows[kind < 0]:
            self.breaks.setdefault(int(row[layout.LOG_STEPS]), []).append(float(row[layout.LOG_START_S]))

    def runs(self, row: int, replica: int, first_s: float, finish_s: float, steps: int) -> list[Run]:
        """Gaps of a request, from its first token to its last, ``steps`` later."""
        moments = [first_s, *self.breaks.get(row, []), finish_s]
        found: list[Run] = []
        left, told_s = steps, first_s
        for begins_s, ends_s in zip(moments[::2], moments[1::2], strict=True):
            if begins_s > told_s:  # sent back: the next token comes when its cache has been computed anew
                found.append(Run(n=1, first_s=begins_s - told_s))
                left -= 1
            for run in self._between(replica, begins_s, ends_s):
                if left > 0:  # a padded batch goes on after its shorter answers
                    found.append(run if run.n <= left else replace(run, n=left))
                    left -= found[-1].n
            told_s = ends_s
        return found

    def _between(self, replica: int, begins_s: float, ends_s: float) -> list[Run]:
        rows = self.steps.get(replica, np.zeros((0, 4)))
        first, last = np.searchsorted(rows[:, 0], (begins_s - _SAME_S, ends_s - _SAME_S))
        found: list[Run] = []
        told_s = begins_s
        for start_s, steps, one_s, growth_s in rows[first:last].tolist():
            n, waited_s = int(steps), start_s - told_s
            whole = Run(n=n, first_s=one_s, growth_s=growth_s)
            if waited_s > _SAME_S:  # prompts went first
                found.append(Run(n=1, first_s=waited_s + one_s))
                if n > 1:
                    found.append(Run(n=n - 1, first_s=one_s + growth_s, growth_s=growth_s))
            else:
                found.append(whole)
            told_s = start_s + whole.total_s
        return found
