"""Tables as data, written as Markdown or HTML: the same numbers, the same text, everywhere."""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass

from reckoner.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and the interval around it, in the figure's own unit.

    >>> str(Estimate(value=0.752, low=0.688, high=0.807))
    '0.752 [0.688, 0.807]'
    """

    value: float
    low: float
    high: float
    digits: int = 3

    def __post_init__(self) -> None:
        """Refuse an interval that is not finite or is upside down."""
        for name, figure in (("value", self.value), ("low", self.low), ("high", self.high)):
            if not math.isfinite(figure):
                raise InputError(f"estimate {name} is {figure}; write None in the table where there is no figure")
        if self.low > self.high:
            raise InputError(f"estimate low is {self.low}, above high {self.high}; swap them")

    def __str__(self) -> str:
        """Value and interval, to the same number of significant digits."""
        value, low, high = (number(figure, self.digits) for figure in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


_RIGHT = ' class="n"'  # figures stand on the right, units under units
_FIGURE = re.compile(r"[-+]?\d|–$")

Cell = str | int | float | Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A header and rows of cells; numbers stay numbers until they are written."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        """Refuse rows that do not fill the header."""
        for index, row in enumerate(self.rows):
            if len(row) != len(self.headers):
                raise InputError(
                    f"table row {index} has {len(row)} cells for {len(self.headers)} headers "
                    f"({', '.join(self.headers)}); give one cell a header"
                )


def number(value: float, digits: int = 4) -> str:
    """Write a number to ``digits`` significant digits, in plain notation where that stays short.

    >>> number(1234.5678), number(0.00420), number(3.2e-9), number(12.0), number(7)
    ('1,235', '0.0042', '3.2e-09', '12', '7')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-5 <= size < 1e9:
        decimals = max(digits - 1 - math.floor(math.log10(float(f"{size:.{digits - 1}e}"))), 0)
        text = f"{value:,.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits}g}"


def cell_text(cell: Cell) -> str:
    """Write one cell; no figure is a dash, so that it is never taken for zero.

    >>> cell_text(None), cell_text(True and 0.25), cell_text("INT8")
    ('–', '0.25', 'INT8')
    """
    if cell is None:
        return "–"
    if isinstance(cell, (int, float)):
        return number(cell)
    return str(cell)


def _numeric_columns(table: Table) -> tuple[bool, ...]:
    """Tell which columns hold figures only, and so stand on the right."""
    return tuple(
        any(row[index] is not None for row in table.rows) and all(not isinstance(row[index], str) for row in table.rows)
        for index in range(len(table.headers))
    )


def to_markdown(table: Table) -> str:
    r"""Write a table as GitHub Markdown, without a final newline.

    >>> print(to_markdown(Table(headers=("model", "tok/s"), rows=(("fp32", 512.25), ("a|b", None)))))
    | model | tok/s |
    |---|---:|
    | fp32 | 512.2 |
    | a\|b | – |
    """
    rule = "|".join("---:" if right else "---" for right in _numeric_columns(table))
    lines = [_markdown_row(table.headers), f"|{rule}|"]
    lines += [_markdown_row(tuple(cell_text(cell) for cell in row)) for row in table.rows]
    return "\n".join(lines)


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def inline(text: str) -> str:
    """Escape a text for HTML, then give ``**bold**`` and backticked code their elements.

    >>> inline("**a** < `b`")
    '<strong>a</strong> &lt; <code>b</code>'
    """
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


def to_html(table: Table, caption: str = "") -> str:
    """Write a table as HTML that scrolls inside its own box on a narrow screen; all text is escaped."""
    numeric = _numeric_columns(table)
    head = "".join(
        f'<th scope="col"{_RIGHT if right else ""}>{html.escape(header)}</th>'
        for header, right in zip(table.headers, numeric, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{_RIGHT if right or _FIGURE.match(cell_text(cell)) else ''}>{inline(cell_text(cell))}</td>"
            for cell, right in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    label = html.escape(caption or ", ".join(table.headers), quote=True)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>{title}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
