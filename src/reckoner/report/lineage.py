"""The lineage graph as an inline SVG, so that a page shows it without Mermaid's own script."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Final

from reckoner.errors import InputError
from reckoner.report.page import Drawing

_NODE: Final = re.compile(r'(?P<id>\w+)\["(?P<label>.*)"\](?P<dashed>:::tombstoned)?')
_EDGE: Final = re.compile(r"(?P<parent>\w+) --> (?P<child>\w+)")
_WIDTH: Final = 168
_HEIGHT: Final = 62
_GAP: Final = 44


def lineage_drawing(mermaid: str) -> Drawing:
    """Draw the Mermaid text of the registry's lineage: parents above children, a withdrawn version dashed.

    Raises
    ------
    InputError
        A line is neither a node nor an edge, or an edge has an end that is no node.
    """
    nodes, dashed, edges = _read(mermaid)
    places = _places(nodes, edges)
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + 2
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + 2
    arrows = "".join(_arrow(places[parent], places[child]) for parent, child in edges)
    boxes = "".join(_box(places[node], label, node in dashed) for node, label in nodes.items())
    told = _told(nodes, edges)
    svg = (
        f'<svg role="img" aria-label="{html.escape(told, quote=True)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-size="14">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="currentColor"/></marker></defs>'
        f"{arrows}{boxes}</svg>"
    )
    return Drawing(svg=svg, caption=told, source=mermaid)


def _read(mermaid: str) -> tuple[dict[str, tuple[str, ...]], set[str], list[tuple[str, str]]]:
    nodes: dict[str, tuple[str, ...]] = {}
    dashed: set[str] = set()
    edges: list[tuple[str, str]] = []
    for number, line in enumerate(mermaid.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(("graph ", "classDef ")):
            continue
        if node := _NODE.fullmatch(text):
            nodes[node["id"]] = tuple(node["label"].split("<br/>"))
            if node["dashed"]:
                dashed.add(node["id"])
        elif edge := _EDGE.fullmatch(text):
            edges.append((edge["parent"], edge["child"]))
        else:
            raise InputError(
                f"lineage, line {number}: {text!r} is neither a node nor an edge; use the registry's own text"
            )
    for ends in edges:
        for end in ends:
            if end not in nodes:
                raise InputError(f"lineage: {end!r} has an edge but no node; use the registry's own text")
    return nodes, dashed, edges


def _places(nodes: Mapping[str, tuple[str, ...]], edges: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Left and top of each box: one row per generation, in the order of the versions' names."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:  # a lineage has no cycle: as many passes as there are nodes settle the longest path
        for parent, child in edges:
            depth[child] = max(depth[child], min(depth[parent] + 1, len(nodes)))
    rows: dict[int, list[str]] = {}
    for node in sorted(nodes, key=lambda node: nodes[node]):
        rows.setdefault(depth[node], []).append(node)
    widest = max((len(row) for row in rows.values()), default=0)
    places = {}
    for level, row in rows.items():
        left = (widest - len(row)) * (_WIDTH + _GAP) // 2
        for index, node in enumerate(row):
            places[node] = (left + index * (_WIDTH + _GAP) + 1, level * (_HEIGHT + _GAP) + 1)
    return places


def _arrow(parent: tuple[int, int], child: tuple[int, int]) -> str:
    x1, y1 = parent[0] + _WIDTH // 2, parent[1] + _HEIGHT
    x2, y2 = child[0] + _WIDTH // 2, child[1] - 2
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def _box(place: tuple[int, int], label: Sequence[str], dashed: bool) -> str:
    x, y = place
    dash = ' stroke-dasharray="5 5"' if dashed else ""
    step = 19
    top = y + _HEIGHT / 2 - (len(label) - 1) * step / 2
    lines = "".join(
        f'<text x="{x + _WIDTH // 2}" y="{top + index * step:g}" text-anchor="middle" dominant-baseline="central" '
        f'fill="currentColor" font-weight="{400 if index else 600}">{html.escape(words)}</text>'
        for index, words in enumerate(label)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="var(--soft)" stroke="currentColor"'
        f"{dash}/>{lines}"
    )


def _told(nodes: Mapping[str, tuple[str, ...]], edges: Sequence[tuple[str, str]]) -> str:
    """The same graph in a sentence."""
    parts = [f"{nodes[child][0]} was made from {nodes[parent][0]}" for parent, child in edges]
    roots = [label[0] for node, label in nodes.items() if node not in {child for _, child in edges}]
    said = [f"{', '.join(sorted(roots))} {'stands' if len(roots) == 1 else 'stand'} at the root"] if roots else []
    return "; ".join([*said, *sorted(parts)]) + "." if nodes else "The registry is empty."
