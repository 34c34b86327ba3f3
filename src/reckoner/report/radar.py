"""Shares by name on spokes around a middle: how each of a few things was practised."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

from reckoner.audit.report_card import Practice
from reckoner.report.page import Drawing
from reckoner.report.svg_parts import line, symbol, words
from reckoner.report.tables import Table

_SIZE: Final = (420.0, 350.0)
_RADIUS: Final = 112.0
_RINGS: Final = (0.25, 0.5, 0.75, 1.0)


def radar(shares: Mapping[str, Sequence[float | None]], names: Sequence[str], *, caption: str) -> Drawing:
    """One closed line for each series, with a point on each spoke that has a share.

    Parameters
    ----------
    shares : mapping of str to sequence of float or None
        By series: a share of 0 to 1 for each name; None leaves the spoke without a point.
    names : sequence of str
        Of the spokes, clockwise from the top.
    """
    middle = (_SIZE[0] / 2, _SIZE[1] / 2 + 14)
    parts = []
    for ring in _RINGS:
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(middle, i, len(names), ring) for i in range(len(names))))
        parts.append(f'<polygon points="{corners}" fill="none" stroke="var(--fig-grid)"/>')
    for index, name in enumerate(names):
        x, y = _at(middle, index, len(names), 1.0)
        parts.append(line(*middle, x, y, stroke="var(--fig-grid)"))
        far_x, far_y = _at(middle, index, len(names), 1.12)
        anchor = "middle" if abs(far_x - middle[0]) < 8 else "start" if far_x > middle[0] else "end"
        parts.append(words(far_x, far_y + 4, name, anchor=anchor))
    parts.append(words(middle[0] + 4, middle[1] - _RADIUS * 0.5 + 4, "50%", css="halo"))
    for tone, (title, values) in enumerate(shares.items()):
        points = [None if v is None else _at(middle, i, len(names), v) for i, v in enumerate(values)]
        parts.append(f'<g class="tone-{tone}">{_outline(points, tone)}')
        for place, point in enumerate(points):
            value = values[place]
            if point is not None and value is not None:
                told = html.escape(f"{title}, {names[place]}: {100 * value:.0f}%")
                parts.append(f"<g>{symbol(tone, *point)}<title>{told}</title></g>")
        x = 12.0 + 200.0 * tone
        parts.append(f"{symbol(tone, x, 12.0)}</g>{words(x + 12, 16.0, title)}")
    label = html.escape(caption, quote=True)
    svg = (
        f'<svg viewBox="0 0 {_SIZE[0]:.0f} {_SIZE[1]:.0f}" role="img" aria-label="{label}" '
        f'style="max-width:{_SIZE[0]:.0f}px">{"".join(parts)}</svg>'
    )
    return Drawing(svg=svg, caption=caption)


def practice_radar(practice: Sequence[Practice]) -> Drawing:
    """Right predictions and constraints hit, over the seven invariants."""
    return radar(
        {
            "predictions right": [one.share_right for one in practice],
            "constraints hit": [one.share_hit for one in practice],
        },
        [one.invariant for one in practice],
        caption="Share of labs with a right prediction, and share in which a constraint was hit, by invariant. A spoke "
        "without a point was not practised: that is unknown, not half right.",
    )


def practice_table(practice: Sequence[Practice]) -> Table:
    """The numbers of :func:`practice_radar`."""
    rows = tuple((one.invariant, one.n, one.right if one.n else None, one.hits if one.n else None) for one in practice)
    return Table(headers=("Invariant", "Labs done", "Predictions right", "Constraints hit"), rows=rows)


def _at(middle: tuple[float, float], index: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * index / count - math.pi / 2
    return middle[0] + _RADIUS * share * math.cos(angle), middle[1] + _RADIUS * share * math.sin(angle)


def _outline(points: Sequence[tuple[float, float] | None], tone: int) -> str:
    """Lines between neighbours that both have a point."""
    dash = "" if tone == 0 else "7 4"
    return "".join(
        line(*here, *after, stroke="var(--c)", width=2.2, dash=dash)
        for here, after in zip(points, [*points[1:], points[0]], strict=True)
        if here is not None and after is not None
    )
