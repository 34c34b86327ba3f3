"""The Curves page: a finished run of ``reckoner curves``, with the report's own paragraphs and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reckoner.errors import ReckonerError
from reckoner.measure.curve_results import CurvesResult
from reckoner.report.curves_figures import label
from reckoner.report.demo_page import curves_section
from reckoner.web.views import note, sections


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of cost curves, or why there is none to show."""

    result: CurvesResult | None
    problem: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Its decoders on their engines, in words."""
        return () if self.result is None else tuple(label(one) for one in self.result.targets)


def read(folder: Path) -> Run:
    """Read the folder; a missing or damaged run becomes the sentence that says so."""
    if not (folder / "manifest.json").is_file():
        return Run(
            result=None,
            problem=f"There is no finished run in `{folder}`. Measure one in about a minute with "
            f"`reckoner curves --quick --out {folder}`, or name another folder with `reckoner app --curves DIR`.",
        )
    try:
        return Run(result=CurvesResult.read(folder))
    except ReckonerError as error:
        return Run(result=None, problem=str(error))


def show(run: Run, which: str = "all") -> str:
    """The run's paragraphs, figures and tables, for all decoders or the one that is named."""
    if run.result is None:
        return note(run.problem, "unknown")
    chosen = tuple(one for one in run.result.targets if which in ("all", label(one)))
    return sections([curves_section(run.result, chosen or run.result.targets)])
