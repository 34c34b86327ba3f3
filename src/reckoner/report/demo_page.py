"""The demo's ``report.html``: what was graded, priced and measured, from the artefacts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reckoner.evaluate.report import Report
from reckoner.finops.cost import Interval
from reckoner.finops.inputs import parse_inputs
from reckoner.finops.table import CostTable, derive
from reckoner.measure.curve_results import CurvesResult, TargetCurves
from reckoner.report.costs import answer_note, answer_table, interval_note, interval_table, seed_table, span
from reckoner.report.costs_words import best_accuracy, best_cpqu, caveat, limits, recommendation
from reckoner.report.curves_figures import latency_chart, memory_chart
from reckoner.report.curves_text import (
    crossover_paragraph,
    latency_paragraph,
    law_table,
    memory_paragraph,
    memory_table,
    method_paragraph,
)
from reckoner.report.demo_figures import accuracy_chart, prefill_chart, price_chart, speed_chart, tense_chart
from reckoner.report.lineage import lineage_drawing
from reckoner.report.page import Section, page
from reckoner.report.tables import Table

TITLE = "What it costs to serve the grammar tutor"


def demo_page(
    *,
    curves: CurvesResult | None,
    costs: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    lineage_mermaid: str,
    manifest: Mapping[str, Any],
) -> str:
    """Write the whole page as one HTML text that opens offline.

    Parameters
    ----------
    curves : CurvesResult or None
        A finished run of cost curves; None where none was run.
    costs : mapping
        ``cost_inputs.json``; prices are derived from it as the table's are.
    evaluation : mapping of str to mapping
        Each version's evaluation report as :meth:`reckoner.evaluate.report.Report.to_json` gives it, by semver.
    lineage_mermaid : str
        The registry's lineage.
    manifest : mapping
        What made these figures; shown as JSON at the end.

    Raises
    ------
    InputError, MixedSetsError, DamagedError
        An artefact is not whole.
    MissingExtraError
        plotly is not installed.
    """
    table = derive(parse_inputs(dict(costs)))
    reports = {semver: Report.from_json(value) for semver, value in sorted(evaluation.items())}
    sections = [
        _summary(table),
        _accuracy(reports),
        price_section(table),
        *(() if curves is None else (curves_section(curves, curves.targets),)),
        Section(
            title="Lineage",
            parts=("Which version was made from which, by content digest.", lineage_drawing(lineage_mermaid)),
        ),
    ]
    lead = (
        f"{len(table.rows)} versions of one small language model, registered, graded, measured and priced on this "
        f"machine at ${table.inputs.rate.usd_per_hour:g} per hour."
    )
    return page(TITLE, lead, sections, manifest=manifest)


def _summary(table: CostTable) -> Section:
    return Section(title="In short", parts=(seed_table(table), best_cpqu(table), recommendation(table)))


def _accuracy(reports: Mapping[str, Report]) -> Section:
    rows = []
    for semver, report in reports.items():
        graded = report.accuracy
        rows.append(
            (
                semver,
                span(graded.accuracy, Interval(value=graded.accuracy, low=graded.low, high=graded.high), 3),
                graded.correct,
                graded.n,
                report.ece,
                report.brier,
                *[(report.pass_at_k or {}).get(k) for k in _ks(reports)],
            )
        )
    headers = ("Version", "Accuracy [95%]", "Right", "Of", "ECE", "Brier", *(f"pass@{k}" for k in _ks(reports)))
    return Section(
        title="Accuracy",
        parts=(
            "A version fills the blank of every probe greedily; only the exact word counts. ECE and Brier judge the "
            "probabilities that it gives to the candidates; pass@k the chance that one of k sampled answers is right.",
            Table(headers=headers, rows=tuple(rows)),
            accuracy_chart(reports),
            tense_chart(reports),
        ),
    )


def _ks(reports: Mapping[str, Report]) -> tuple[int, ...]:
    """The k of every pass@k that some version has."""
    return tuple(sorted({k for report in reports.values() for k in report.pass_at_k or {}}))


def price_section(table: CostTable) -> Section:
    """What the versions cost, how sure that is, and which one to serve."""
    warning, lost = caveat(table)
    prefill = prefill_chart(table)
    return Section(
        title="Price and advice",
        parts=(
            price_chart(table),
            best_accuracy(table),
            warning,
            *(() if lost is None else (lost,)),
            interval_table(table),
            interval_note(table),
            speed_chart(table),
            *(() if prefill is None else (prefill,)),
            answer_table(table),
            answer_note(table),
            limits(table),
        ),
    )


def curves_section(curves: CurvesResult, targets: Sequence[TargetCurves]) -> Section:
    """What the KV cache costs and saves, on the decoders and engines that are asked for."""
    return Section(
        title="KV cache",
        parts=(
            method_paragraph(curves),
            latency_paragraph(targets),
            *(latency_chart(one) for one in targets),
            law_table(targets),
            crossover_paragraph(targets),
            memory_paragraph(targets),
            *(memory_chart(one) for one in targets),
            memory_table(targets),
        ),
    )
