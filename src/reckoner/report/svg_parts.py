"""Elements of a drawing: lines, paths, symbols and words of SVG, in CSS pixels."""

from __future__ import annotations

import html
from collections.abc import Sequence


def path(points: Sequence[tuple[float, float | None]], *, dash: str, width: float) -> str:
    """A line through points, broken at gaps."""
    parts, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{" ".join(parts)}" fill="none" stroke="var(--c)" stroke-width="{width}"{dashed}/>'


def symbol(tone: int, x: float, y: float, size: float = 5.0) -> str:
    """The mark of a tone: circle, square, triangle, diamond."""
    if tone == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="var(--c)"/>'
    shapes = {
        1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        2: ((0, -1.25), (1.15, 0.9), (-1.15, 0.9)),
        3: ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    }
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in shapes[tone])
    return f'<polygon points="{corners}" fill="var(--c)"/>'


def line(x0: float, y0: float, x1: float, y1: float, *, stroke: str, width: float = 1.0, dash: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{stroke}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def words(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> str:
    """Words at a place."""
    named = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{html.escape(text)}</text>'
