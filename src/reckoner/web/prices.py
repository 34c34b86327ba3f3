"""The Prices page: the price table of ``reckoner cpqu``, with the rate and the price of an error free to move."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from reckoner.errors import InputError, ReckonerError
from reckoner.finops.buckets import BUCKETS, bucket_rows
from reckoner.finops.inputs import CostInputs, load_inputs
from reckoner.finops.table import derive
from reckoner.report.bucket_figures import bucket_chart, bucket_table
from reckoner.report.costs import INPUTS
from reckoner.report.demo_page import price_section
from reckoner.web.views import block, note, sections

WHOLE: Final = "all items"
_MOST_BUCKETS: Final = 8  # more would stand too close in a figure; the table holds them all
DIMENSIONS: Final = (WHOLE, *BUCKETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The frozen inputs, or why there are none to show."""

    inputs: CostInputs | None
    problem: str = ""


def read(folder: Path) -> Frozen:
    """Read the folder; missing or damaged inputs become the sentence that says so."""
    if not (folder / INPUTS).is_file():
        return Frozen(
            inputs=None,
            problem=f"There are no price inputs in `{folder}`. `reckoner demo` measures some, or name another folder "
            "with `reckoner app --prices DIR`.",
        )
    try:
        return Frozen(inputs=load_inputs(folder / INPUTS))
    except ReckonerError as error:
        return Frozen(inputs=None, problem=str(error))


def asked(inputs: CostInputs, *, usd_per_hour: float | None, usd_per_error: float | None) -> CostInputs:
    """The inputs with another rate or another price of an error.

    Raises
    ------
    InputError
        A price is not a number that money can be.
    """
    rate = inputs.rate
    if usd_per_hour is not None and usd_per_hour != rate.usd_per_hour:
        if not (math.isfinite(usd_per_hour) and usd_per_hour > 0):
            raise InputError(f"the rate is {usd_per_hour}; give USD per hour above 0")
        rate = msgspec.structs.replace(
            rate, usd_per_hour=usd_per_hour, comment="your own figure", source="typed on this page"
        )
    error = inputs.usd_per_error if usd_per_error is None else usd_per_error
    if not (math.isfinite(error) and error >= 0):
        raise InputError(f"the price of an error is {error}; give USD of 0 or more")
    return replace(inputs, rate=rate, usd_per_error=error)


def show(
    frozen: Frozen, *, dimension: str = WHOLE, usd_per_hour: float | None = None, usd_per_error: float | None = None
) -> str:
    """Prices of every version, over all items or in each bucket of one dimension."""
    if frozen.inputs is None:
        return note(frozen.problem, "unknown")
    try:
        inputs = asked(frozen.inputs, usd_per_hour=usd_per_hour, usd_per_error=usd_per_error)
    except InputError as error:
        return note(str(error), "fail")
    what_if = (
        ""
        if inputs == frozen.inputs
        else note(
            f"What if: ${inputs.rate.usd_per_hour:g} per hour and ${inputs.usd_per_error:g} per error, in place of the "
            f"recorded ${frozen.inputs.rate.usd_per_hour:g} and ${frozen.inputs.usd_per_error:g}. Nothing is written."
        )
    )
    table = derive(inputs)
    if dimension == WHOLE:
        return what_if + sections([price_section(table)])
    rows = bucket_rows(table, dimension)
    return what_if + block(
        (
            f"Cost per quality unit in each {dimension}: the price of 1,000 tokens divided by the accuracy on that "
            "bucket's items. Intervals join the Wilson interval of the accuracy with that of the price; where they "
            "overlap, the bucket is too small to tell the versions apart.",
            *((bucket_chart(rows, dimension),) if len({row.bucket for row in rows}) <= _MOST_BUCKETS else ()),
            bucket_table(rows, dimension),
        ),
        title=f"CpQU by {dimension}",
    )
