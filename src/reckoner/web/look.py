"""How the pages look and how they are named to those who listen: one style sheet, one header."""

from __future__ import annotations

import html
from typing import Final

from reckoner.report.svg import SVG_CSS
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
from reckoner.web.mend import INFO, SCRIPT

TITLES: Final = {
    "audit": "Audit",
    "curves": "Curves",
    "prices": "Prices",
    "forecasts": "Forecasts",
    "ledger": "Ledger",
}

# Blue, vermillion and green as inks for words: the palette's hues, darkened or lightened to 4.5:1 on their papers.
_LIGHT: Final = {"info": INFO, "fail": "#a94a00", "pass": "#00694c"}
_DARK: Final = {"info": TONES[0].dark, "fail": TONES[1].dark, "pass": TONES[2].dark}


def _variables(dark: bool) -> str:
    ink, paper, line = (INK_DARK, PAPER_DARK, GRID_DARK) if dark else (INK_LIGHT, PAPER_LIGHT, GRID_LIGHT)
    soft, quiet = ("#1f242a", "#a9b2bd") if dark else ("#f3f5f7", "#4c5561")
    inks = "".join(f"--{name}:{colour};" for name, colour in (_DARK if dark else _LIGHT).items())
    return f"--ink:{ink};--paper:{paper};--line:{line};--soft:{soft};--quiet:{quiet};{inks}"


CSS: Final = f"""\
:root {{ {_variables(False)} --marimo-text-font: {WEB_FONTS}; --marimo-heading-font: {WEB_FONTS}; }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(True)} }} }}
body, #App, .marimo-cell, .output-area {{ background: var(--paper) !important; color: var(--ink); }}
[data-testid="notebook-actions-dropdown"], [class*="top-[25vh]"] {{ display: none !important; }}
:root {{ --content-width-medium: 76rem; }}
#App > div {{ padding: 0 clamp(.9rem, 4vw, 3rem) 3rem !important; }}
.rk {{ font: 16px/1.55 {WEB_FONTS}; color: var(--ink); overflow-wrap: anywhere; }}
.rk h1 {{ font-size: clamp(1.5rem, 1.1rem + 1.6vw, 2.1rem); line-height: 1.2; margin: .6rem 0 .3rem;
  font-weight: 700; }}
.rk h2 {{ font-size: 1.35rem; margin: 1.6rem 0 .5rem; font-weight: 650; }}
.rk h3 {{ font-size: 1.08rem; margin: 1.2rem 0 .3rem; font-weight: 650; }}
.rk p, .rk li {{ max-width: 72ch; margin: .5rem 0; }}
.rk ul, .rk ol {{ padding-left: 1.3rem; list-style: revert; }}
.rk .lead {{ color: var(--quiet); font-size: 1.06rem; }}
.rk .quiet, .rk figcaption {{ color: var(--quiet); max-width: 72ch; }}
.rk a, .rk summary {{ color: var(--info); }}
.rk a {{ text-decoration: underline; }}
.rk summary {{ cursor: pointer; padding: .25rem 0; }}
.rk code, .rk pre {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .92em; }}
.rk pre {{ background: var(--soft); padding: .7rem .9rem; overflow-x: auto; white-space: pre-wrap; }}
.rk nav ul {{ display: flex; flex-wrap: wrap; gap: .2rem .4rem; list-style: none; padding: 0; margin: 0; }}
.rk nav a {{ display: inline-block; padding: .45rem .7rem; border-radius: .4rem; text-decoration: none; }}
.rk nav a:hover {{ background: var(--soft); text-decoration: underline; }}
.rk nav a[aria-current] {{ color: var(--ink); font-weight: 650; box-shadow: inset 0 -3px 0 var(--info); }}
.rk .skip {{ position: absolute; left: -999rem; }}
.rk .skip:focus {{ position: static; }}
.rk table {{ border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }}
.rk .scroll table {{ width: max-content; }}
.rk .scroll td {{ max-width: 24rem; }}
.rk caption {{ text-align: left; color: var(--quiet); padding-bottom: .3rem; }}
.rk th, .rk td {{ padding: .35rem .65rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }}
.rk th {{ background: var(--soft); font-weight: 600; }}
.rk .n {{ text-align: right; white-space: nowrap; }}
.rk .scroll {{ overflow-x: auto; margin: .7rem 0; max-width: 100%; }}
.rk figure {{ margin: 1rem 0; }}
.rk :focus-visible, a:focus-visible, summary:focus-visible {{ outline: 3px solid var(--info); outline-offset: 2px; }}
.rk .cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: .7rem;
  margin: .7rem 0; padding: 0; list-style: none; }}
.rk .card {{ border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .85rem; margin: 0; }}
.rk .card h3, .rk .card h4 {{ margin: 0 0 .3rem; }}
.rk .card {{ max-width: none; }}
.rk .card strong {{ white-space: nowrap; }}
.rk .card.whole {{ grid-column: 1 / -1; columns: 17rem; }}
.rk .card.whole h3 {{ column-span: all; }}
.rk .card p {{ margin: .15rem 0; }}
.rk.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1.5rem; }}
.rk .big {{ font-size: 1.5rem; font-weight: 700; line-height: 1.2; }}
.rk .note {{ border-left: 5px solid var(--info); background: var(--soft); padding: .6rem .9rem; margin: .7rem 0; }}
.rk .note.pass {{ border-left: 5px double var(--pass); }}
.rk .note.fail {{ border-left: 5px solid var(--fail); }}
.rk .note.unknown {{ border-left: 5px dashed var(--quiet); }}
.rk .verdict {{ display: inline-block; font-weight: 650; padding: 0 .45rem; border: 2px solid; border-radius: .3rem;
  white-space: nowrap; }}
.rk .verdict.pass {{ color: var(--pass); }}
.rk .verdict.fail {{ color: var(--fail); border-style: dashed; }}
.rk .verdict.unknown {{ color: var(--quiet); border-style: dotted; }}
.rk .hud {{ display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; border: 2px solid var(--ink); border-radius: .5rem;
  padding: .6rem .9rem; margin: .8rem 0; }}
.rk .hud div {{ display: flex; gap: .4rem; }}
.rk .hud dt {{ color: var(--quiet); }}
.rk .hud dd {{ margin: 0; font-weight: 650; }}
{SVG_CSS}
"""

HEAD: Final = f"<style>{CSS}</style><script>{SCRIPT}</script>"


def header(page: str, lead: str) -> str:
    """Navigation and heading of a page.

    Parameters
    ----------
    page : str
        A key of :data:`TITLES`.
    lead : str
        The sentence under the heading.
    """
    links = "".join(
        f'<li><a href="/{name}/"{" aria-current=page" if name == page else ""}>{title}</a></li>'
        for name, title in TITLES.items()
    )
    return (
        f'<div class="rk"><a class="skip" href="#content">Skip to the content</a>'
        f'<nav aria-label="Pages"><ul>{links}</ul></nav>'
        f'<h1 id="content">{TITLES[page]}</h1><p class="lead">{html.escape(lead)}</p></div>'
    )
