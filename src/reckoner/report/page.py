"""One self-contained HTML page: everything inline, nothing fetched, readable on a phone, in the dark and on paper."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reckoner.errors import InputError
from reckoner.files import canonical_json
from reckoner.report.chart import Chart
from reckoner.report.plotly_figure import DRAW_JS, plotly_js, to_div
from reckoner.report.tables import Table, inline, to_html
from reckoner.report.theme import (
    GRID_DARK,
    GRID_LIGHT,
    INK_DARK,
    INK_LIGHT,
    PAPER_DARK,
    PAPER_LIGHT,
    TONES,
    WEB_FONTS,
)

_CSS: Final = f"""\
:root {{ color-scheme: light dark; --ink: {INK_LIGHT}; --paper: {PAPER_LIGHT}; --line: {GRID_LIGHT}; --soft: #f3f5f7;
  --quiet: #4c5561; --accent: {TONES[0].light}; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: {INK_DARK}; --paper: {PAPER_DARK}; --line: {GRID_DARK};
  --soft: #1f242a; --quiet: #a9b2bd; --accent: {TONES[0].dark}; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 {WEB_FONTS}; }}
header, main, footer {{ max-width: 76rem; margin: 0 auto; padding: 0 1rem; }}
header {{ padding-top: 2rem; }}
h1 {{ font-size: clamp(1.5rem, 1.1rem + 1.6vw, 2.2rem); line-height: 1.2; margin: 0 0 .4rem; }}
h2 {{ font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }}
h3 {{ font-size: 1.08rem; margin: 1.8rem 0 .3rem; }}
p, li {{ max-width: 72ch; }}
p.lead {{ font-size: 1.08rem; color: var(--quiet); margin-top: 0; }}
a {{ color: var(--accent); }}
nav ul {{ display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; list-style: none; padding: 0; margin: .8rem 0 0; }}
figure {{ margin: 1.2rem 0; }}
figcaption {{ color: var(--quiet); max-width: 72ch; }}
.plot {{ width: 100%; min-height: 440px; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)); gap: 0 1.6rem; }}
.pair > * {{ min-width: 0; }}
.scroll {{ overflow-x: auto; margin: .8rem 0; }}
.scroll:focus-visible, summary:focus-visible, a:focus-visible {{
  outline: 2px solid var(--accent); outline-offset: 2px; }}
table {{ border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; color: var(--quiet); padding-bottom: .3rem; }}
th, td {{ padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }}
th {{ background: var(--soft); font-weight: 600; }}
.n {{ text-align: right; white-space: nowrap; }}
details {{ margin: .4rem 0; }}
summary {{ cursor: pointer; color: var(--accent); }}
pre {{ background: var(--soft); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }}
code {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .92em; }}
.drawing {{ overflow-x: auto; }}
.drawing svg {{ max-width: none; height: auto; }}
footer {{ color: var(--quiet); font-size: .9rem; padding: 2rem 1rem; }}
@media print {{ .plot {{ break-inside: avoid; }} nav {{ display: none; }} }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """An inline SVG with the words that say what it shows, and its source where there is one."""

    svg: str
    caption: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what stands under it, in order: paragraphs, charts, tables, drawings.

    Parameters
    ----------
    title : str
        The heading; the section's id is made from it.
    parts : tuple of str, Chart, Table, Drawing
        A text is plain words, a blank line between paragraphs; ``**bold**`` and ``code`` in backticks are kept.
    """

    title: str
    parts: tuple[str | Chart | Table | Drawing, ...]

    @property
    def id(self) -> str:
        """Anchor on the page: the title in small letters, digits and dashes.

        >>> Section(title="KV cache: cost curves", parts=()).id
        'kv-cache-cost-curves'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def page(title: str, lead: str, sections: Sequence[Section], *, manifest: Mapping[str, Any]) -> str:
    """The whole page as one HTML text; it needs no network and no other file.

    Parameters
    ----------
    title, lead : str
        The page's heading and the sentence under it.
    sections : sequence of Section
        In reading order.
    manifest : mapping
        What made this page (versions, hardware, digests, times); printed as JSON in the last section.

    Raises
    ------
    InputError
        Two sections or two charts share an id.
    MissingExtraError
        plotly is not installed.
    """
    _refuse_repeats([section.id for section in sections], "sections")
    charts = [part.name for section in sections for part in section.parts if isinstance(part, Chart)]
    _refuse_repeats(charts, "charts")
    links = "".join(f'<li><a href="#{section.id}">{html.escape(section.title)}</a></li>' for section in sections)
    body = "\n".join(_section(section) for section in sections)
    scripts = f"<script>{_script_text(plotly_js())}</script>\n<script>{DRAW_JS}</script>" if charts else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_CSS}</style>
</head>
<body>
<header>
<h1>{html.escape(title)}</h1>
<p class="lead">{inline(lead)}</p>
<nav aria-label="Contents"><ul>{links}<li><a href="#manifest">Manifest</a></li></ul></nav>
</header>
<main>
{body}
<section aria-labelledby="manifest">
<h2 id="manifest">Manifest</h2>
<p>What made this page: the figures above are only as good as these facts.</p>
<details><summary>Show the manifest</summary>
<pre>{html.escape(canonical_json(dict(manifest)))}</pre>
</details>
</section>
</main>
<footer>Written by reckoner. This file is complete in itself: it loads nothing from anywhere.</footer>
{scripts}
</body>
</html>
"""


def _refuse_repeats(ids: Sequence[str], kind: str) -> None:
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise InputError(f"two {kind} of the page share the id {twice[0]!r}; give each its own")


def _script_text(source: str) -> str:
    """A script's text that cannot close its own element."""
    return source.replace("</script", "<\\/script")


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    heading = f'<h2 id="{section.id}">{html.escape(section.title)}</h2>'
    return f'<section aria-labelledby="{section.id}">\n{heading}\n{parts}\n</section>'


def _part(part: str | Chart | Table | Drawing) -> str:
    if isinstance(part, Chart):
        return (
            f"<figure>\n<h3>{html.escape(part.title)}</h3>\n{to_div(part)}\n"
            f"<figcaption>{inline(part.caption)}</figcaption>\n"
            f"<details><summary>The numbers</summary>\n{to_html(part.table, part.title)}\n</details>\n</figure>"
        )
    if isinstance(part, Table):
        return to_html(part)
    if isinstance(part, Drawing):
        source = (
            f"<details><summary>Source</summary>\n<pre>{html.escape(part.source)}</pre>\n</details>\n"
            if part.source
            else ""
        )
        return (
            f'<figure><div class="drawing">{part.svg}</div>\n'
            f"<figcaption>{inline(part.caption)}</figcaption>\n{source}</figure>"
        )
    return "\n".join(f"<p>{inline(paragraph)}</p>" for paragraph in part.split("\n\n"))
