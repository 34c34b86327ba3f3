"""The audit to take away: Markdown, JSON and one HTML file that opens offline, each naming what is incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reckoner import __version__
from reckoner.audit.advise import Advice
from reckoner.audit.lesson import Locked, Reveal
from reckoner.audit.run import Audit
from reckoner.files import canonical_json
from reckoner.report.audit import audit_page, markdown, missing
from reckoner.report.lesson import incomplete, lesson_json, lesson_section
from reckoner.report.page import Section

Told = tuple[Locked, Reveal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Everything that an audit's download holds."""

    audit: Audit
    advice: Advice | None
    first: Told | None
    second: Told | None
    reflection: Mapping[str, str]

    @property
    def incomplete(self) -> list[str]:
        """What the lesson still lacks; what the plan leaves open stands in the report itself."""
        return incomplete(self.first, self.second, self.reflection)

    def _extra(self) -> tuple[Section, ...]:
        lesson = lesson_section(self.first, self.second, self.reflection)
        parts = tuple(self.incomplete) or ("Nothing.",)
        return lesson, Section(title="Incomplete", parts=parts)

    def markdown(self) -> bytes:
        """``audit.md``."""
        return markdown(self.audit, self.advice, extra=self._extra()).encode()

    def json(self) -> bytes:
        """``audit.json``: what ``reckoner audit --json`` prints, and the lesson."""
        document = self.audit.to_dict() | ({} if self.advice is None else {"advice": self.advice.to_dict()})
        document["lesson"] = lesson_json(self.first, self.second, self.reflection)
        document["incomplete"] = [*self.incomplete, *missing(self.audit)]
        return canonical_json(document).encode()

    def html(self) -> bytes:
        """``audit.html``."""
        manifest = {"reckoner": __version__, "plan": self.audit.to_dict()["plan"]}
        return audit_page(self.audit, self.advice, manifest=manifest, extra=self._extra()).encode()
