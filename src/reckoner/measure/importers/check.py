"""The audit of an imported run: every law, errors first."""

from __future__ import annotations

from reckoner.measure.importers.check_gaps import check_gaps
from reckoner.measure.importers.check_latency import check_latency
from reckoner.measure.importers.check_load import check_load
from reckoner.measure.importers.check_numbers import check_numbers
from reckoner.measure.importers.findings import SEVERITIES, Finding
from reckoner.measure.importers.imported import Imported


def check(run: Imported) -> tuple[Finding, ...]:
    """Audit one run.

    Returns
    -------
    tuple of Finding
        Errors, then warnings, then notes; empty when every law that could be tried holds and nothing is missing.
    """
    found = [*check_latency(run), *check_gaps(run), *check_load(run), *check_numbers(run)]
    return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))
