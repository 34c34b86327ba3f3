"""The request calibrator's statistics as one plain SQL aggregate, so that logs are fitted where they lie.

The statement uses nothing but arithmetic, ``CASE``, ``EXP``, ``LN``, ``AVG``, ``SUM``, ``COUNT`` and a join of
subqueries: DuckDB, PostgreSQL, SQLite and Spark run it unchanged. Its sums are those of
:class:`reckoner.calibrate.experts.Linear` at a fixed forecast, and they are taken around each model's mean prompt and
completion, or the squares of 200,000-token prompts would leave nothing of the differences between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reckoner.calibrate.experts import FIRST_VARIANCE, NU, OVERSHOOT
from reckoner.errors import InputError

FIELDS = ("model", "prompt_tokens", "completion_tokens", "e2e_s")
# Rows outside these are refused and counted: assumptions, the same as the ledger's.
_MAX_TOKENS = 10**9
_MAX_SECONDS = 10**7
_DRAW = (104729.38196601125, 0.6180339887498949, 0.7548776662466927)
"""Multiples of seconds, prompt and completion: a prime plus an irrational part, and two irrational numbers."""

_SUMS = [
    "n",
    "mean_p",
    "mean_c",
    "w",
    "wp",
    "wc",
    "wpp",
    "wpc",
    "wcc",
    "wy",
    "wpy",
    "wcy",
    "wyy",
    "urr",
    "ratio",
    "wff",
    "bend",
]


class Source(Protocol):
    """Somewhere that answers SQL about one table of requests."""

    @property
    def relation(self) -> str:
        """What stands after FROM."""
        ...

    @property
    def expressions(self) -> Mapping[str, str]:
        """SQL of each of :data:`FIELDS`."""
        ...

    @property
    def where(self) -> str | None:
        """Condition on its rows."""
        ...

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Answer a query."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The forecast that rows are weighted by.

    Attributes
    ----------
    overhead_s, s_per_prompt_token, s_per_completion_token : float
        What a request is expected to take. [s]
    variance : float or None
        Scatter of ``ln(y / f)`` that the Student weights expect; None weights by ``1 / f^2`` alone.
    prompt_0, completion_0 : float or None
        Landmark that is subtracted; None takes each model's mean inside the statement.
    slope : float or None
        ``bend / wff`` where a sample has told it; the statement then leaves both out, for they cost a fifth.
    """

    overhead_s: float
    s_per_prompt_token: float
    s_per_completion_token: float
    variance: float | None = None
    prompt_0: float | None = None
    completion_0: float | None = None
    slope: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Sums over one model's requests, prompts and completions counted from a landmark.

    ``w`` are weights, ``p`` and ``c`` tokens less the landmark, ``y`` seconds, ``f`` the reference's forecast, ``r``
    the log residual ``ln(y/f)`` and ``u`` its Student weight: ``wpy`` is the sum of ``w p y``, ``ratio`` that of
    ``y / f``. ``bend / wff`` is how far a better forecast moves the answer less than the forecast itself.
    """

    model: str
    n: int
    mean_p: float
    mean_c: float
    w: float
    wp: float
    wc: float
    wpp: float
    wpc: float
    wcc: float
    wy: float
    wpy: float
    wcy: float
    wyy: float
    urr: float
    ratio: float
    wff: float = 0.0
    bend: float = 0.0


def number(value: float) -> str:
    """Write a float so that every engine reads a double: ``1.0`` is a decimal in some, ``1.0e0`` in none.

    >>> number(0.5), number(300.0)
    ('5.0e-01', '3.0e+02')
    """
    text = repr(float(value))
    mantissa, _, exponent = f"{float(value):.17e}".partition("e")
    for digits in range(1, 17):
        short = f"{float(value):.{digits}e}"
        if float(short) == float(text):
            return short
    return f"{mantissa}e{exponent}"


def text(value: str) -> str:
    """Write a string literal.

    Most engines read a doubled quote as one; Spark joins the two halves without it. ``CHR(39)`` is a quote to all.

    Raises
    ------
    InputError
        The name has a backslash, which engines read differently.

    >>> print(text("llama-3.1-8b"), text("it's"))
    'llama-3.1-8b' ('it' || CHR(39) || 's')
    """
    if "\\" in value:
        raise InputError(f"model is {value!r}; a backslash means different things to different databases, rename it")
    literal = "'" + value.replace("'", "' || CHR(39) || '") + "'"
    return f"({literal})" if "'" in value else literal


def aggregate_sql(source: Source, reference: Reference | Mapping[str, Reference]) -> str:
    """Statement that sums a table of requests into one row a model.

    Parameters
    ----------
    source : Source
        Whose relation and expressions are read.
    reference : Reference or mapping of str to Reference
        One for all models, landmarks found inside; or one for each model, landmarks given.
    """
    return _sums_sql(_requests_sql(source), reference)


def count_sql(source: Source) -> str:
    """Statement that counts all rows, also those that cannot be used."""
    where = f" WHERE {source.where}" if source.where else ""
    return f"SELECT COUNT(*) FROM {source.relation}{where}"


def sample_sql(source: Source, share: float, most: int) -> str:
    """Statement that returns about a ``share`` of the usable rows: (model, prompt, completion, seconds).

    A row is drawn by what it says, never by chance: the same log gives the same rows, in any engine and at any number
    of threads. The draw is the fractional part of an irrational multiple, which spreads evenly (H. Weyl, 1916).

    Parameters
    ----------
    share : float
        At most 0.5: some engines round where others cut off.
    most : int
        Rows returned at most, where many rows are alike.
    """
    ahead = ", ".join(f"q.{name} AS {name}" for name in ("model", "p", "c", "y"))
    mixed = " + ".join(f"q.{name} * {number(by)}" for name, by in zip(("y", "p", "c"), _DRAW, strict=True))
    part = "(s - CAST(s AS BIGINT))"
    return (
        f"SELECT model, p, c, y FROM (SELECT {ahead}, {mixed} AS s FROM ({_requests_sql(source)}) q) t "
        f"WHERE {part} >= 0 AND {part} < {number(share)} LIMIT {most}"
    )


def _requests_sql(source: Source) -> str:
    """Usable rows as doubles. EXP(0) is the one spelling of a double 1 that all engines share."""
    told = source.expressions
    # NaN and infinity are above every number in these engines, and NULL in SQLite: the upper bounds refuse them
    usable = (
        f"{told['model']} IS NOT NULL"
        f" AND {told['prompt_tokens']} BETWEEN 0 AND {_MAX_TOKENS}"
        f" AND {told['completion_tokens']} BETWEEN 0 AND {_MAX_TOKENS}"
        f" AND {told['e2e_s']} > 0 AND {told['e2e_s']} <= {_MAX_SECONDS}"
    )
    where = f"{usable} AND ({source.where})" if source.where else usable
    return (
        f"SELECT {told['model']} AS model, {told['prompt_tokens']} * EXP(0) AS p, "
        f"{told['completion_tokens']} * EXP(0) AS c, {told['e2e_s']} * EXP(0) AS y FROM {source.relation} WHERE {where}"
    )


def _sums_sql(requests: str, reference: Reference | Mapping[str, Reference]) -> str:
    if isinstance(reference, Reference):
        landmark = f"SELECT model, AVG(p) AS p0, AVG(c) AS c0 FROM ({requests}) m GROUP BY model"
        o, a, b = (
            number(reference.overhead_s),
            number(reference.s_per_prompt_token),
            number(reference.s_per_completion_token),
        )
        v = number(reference.variance if reference.variance is not None else 1.0)
        robust, bent = reference.variance is not None, reference.slope is None
    else:
        bent = any(one.slope is None for one in reference.values())
        landmark = " UNION ALL ".join(_reference_row(model, reference[model]) for model in sorted(reference))
        o, a, b, v, robust = "l.o", "l.a", "l.b", "l.v", True
    over = f"r > {number(OVERSHOOT)}"
    if robust:
        student = f"{number(NU + 1)} / ({number(NU)} + r * r / v)"
        weight = f"u * CASE WHEN {over} THEN 1 / (f * y) ELSE 1 / (f * f) END"
        # by how much the weighted miss u (g - 1) / f, or u (1 - 1/g) / f, moves with the forecast
        bend = (
            f"u * (CASE WHEN {over} THEN 1 ELSE 2 * g - 1 END - "
            f"{number(2.0 / (NU + 1))} * r * u / v * CASE WHEN {over} THEN 1 - 1 / g ELSE g - 1 END)"
        )
    else:
        student, weight, bend = "EXP(0)", "1 / (f * f)", "EXP(0)"
    also = f", SUM(w * f * f) AS wff, SUM({bend}) AS bend" if bent else ""
    return f"""
SELECT model, COUNT(*) AS n, MIN(p0) AS p0, MIN(c0) AS c0,
       SUM(w) AS w, SUM(wp) AS wp, SUM(wc) AS wc, SUM(wp * p) AS wpp, SUM(wp * c) AS wpc, SUM(wc * c) AS wcc,
       SUM(wy) AS wy, SUM(wy * p) AS wpy, SUM(wy * c) AS wcy, SUM(wy * y) AS wyy,
       SUM(u * r * r) AS urr, SUM(g) AS ratio{also}
FROM (SELECT model, p0, c0, p, c, y, f, g, r, u, v, w, w * p AS wp, w * c AS wc, w * y AS wy
FROM (SELECT model, p0, c0, p, c, y, f, g, r, u, v, {weight} AS w
FROM (SELECT model, p0, c0, p, c, y, f, g, r, v, {student} AS u
FROM (SELECT model, p0, c0, p, c, y, f, g, v, LN(g) AS r
FROM (SELECT model, p0, c0, p, c, y, f, y / f AS g, v
FROM (SELECT q.model AS model, l.p0 AS p0, l.c0 AS c0, q.p - l.p0 AS p, q.c - l.c0 AS c, q.y AS y, {v} AS v,
             {o} + {a} * q.p + {b} * q.c AS f
FROM ({requests}) q JOIN ({landmark}) l ON l.model = q.model) s1) s2) s3) s4) s5) s6
GROUP BY model ORDER BY model"""


def _reference_row(model: str, reference: Reference) -> str:
    parts = {
        "p0": reference.prompt_0,
        "c0": reference.completion_0,
        "o": reference.overhead_s,
        "a": reference.s_per_prompt_token,
        "b": reference.s_per_completion_token,
        "v": FIRST_VARIANCE if reference.variance is None else reference.variance,
    }
    for part, value in parts.items():
        if value is None or not math.isfinite(value):
            raise InputError(f"reference of {model}: {part} is {value}; references by model give every number")
    columns = ", ".join(f"{number(value or 0.0)} * EXP(0) AS {part}" for part, value in parts.items())
    return f"SELECT {text(model)} AS model, {columns}"


def statistics(source: Source, reference: Reference | Mapping[str, Reference]) -> dict[str, Statistics]:
    """Run the aggregate and read its rows, by model."""
    found = {}
    for model, *sums in source.run(aggregate_sql(source, reference)):
        values: dict[str, Any] = {name: float(value) for name, value in zip(_SUMS, sums, strict=False)}
        values["n"] = int(values["n"])
        found[str(model)] = Statistics(model=str(model), **values)
    return found
