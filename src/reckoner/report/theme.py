"""The looks of every figure and page: colours, dashes, symbols, sizes.

A series is told apart by colour, by dash and by symbol, so that colour is never the only sign. The palette is a part
of M. Okabe and K. Ito, "Color Universal Design" (2008), as Wong, Nature Methods 8, 441 (2011) prints it: each at least
3:1 on white, distinct in all three colour visions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """How one series looks, in both drawing libraries and on a dark page."""

    light: str
    dark: str
    plotly_dash: str
    plotly_symbol: str
    mpl_dash: str | tuple[int, tuple[float, ...]]
    mpl_symbol: str
    hatch: str


# The dark shades are the same hues, lightened to at least 4.5:1 on PAPER_DARK (our own choice, 2026-11-21).
TONES: Final[tuple[Tone, ...]] = (
    Tone(
        light="#0072B2",
        dark="#56B4E9",
        plotly_dash="solid",
        plotly_symbol="circle",
        mpl_dash="-",
        mpl_symbol="o",
        hatch="",
    ),
    Tone(
        light="#D55E00",
        dark="#F28E4B",
        plotly_dash="dash",
        plotly_symbol="square",
        mpl_dash="--",
        mpl_symbol="s",
        hatch="//",
    ),
    Tone(
        light="#009E73",
        dark="#2FC79A",
        plotly_dash="dashdot",
        plotly_symbol="triangle-up",
        mpl_dash="-.",
        mpl_symbol="^",
        hatch="..",
    ),
    Tone(
        light="#000000",
        dark="#F0F0F0",
        plotly_dash="longdash",
        plotly_symbol="diamond",
        mpl_dash=(0, (8.0, 3.0)),
        mpl_symbol="D",
        hatch="xx",
    ),
)

INK_LIGHT: Final = "#1b1f24"
INK_DARK: Final = "#e6e6e6"
PAPER_LIGHT: Final = "#ffffff"
PAPER_DARK: Final = "#15181c"
GRID_LIGHT: Final = "#d9dde2"
GRID_DARK: Final = "#3a4048"

FONT: Final = "DejaVu Sans"  # ships inside matplotlib: the same glyphs on every machine
WEB_FONTS: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'

MANY_TICKS: Final = 12  # with more points than this on a logarithmic axis, their labels would touch

PNG_DPI: Final = 144
PNG_SIZE_IN: Final = (8.0, 5.0)


def tone(index: int) -> Tone:
    """The look of the series at ``index``; the four looks repeat.

    >>> tone(0).light, tone(5).light
    ('#0072B2', '#D55E00')
    """
    return TONES[index % len(TONES)]


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two ``#rrggbb`` colours, 1 to 21 (WCAG 2.2, "contrast ratio").

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, "relative luminance")."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = ((c / 12.92) if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
