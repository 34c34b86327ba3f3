"""The lineage of versions as Mermaid text: same registry, same text."""

from __future__ import annotations

from collections.abc import Iterable

from reckoner.registry.version import Version


def mermaid(versions: Iterable[Version]) -> str:
    """Draw parents above children; a withdrawn version is dashed and says so.

    A parent that is not among ``versions`` is drawn as a bare digest, so that no edge is lost.

    Returns
    -------
    str
        A Mermaid ``graph TD``, ending in a newline.
    """
    listed = sorted(versions, key=lambda version: version.digest)
    lines = ["graph TD"]
    for version in listed:
        words = [*version.semvers, version.short]
        if version.status != "promoted":
            words.append(version.status)
        shape = ":::tombstoned" if version.status == "tombstoned" else ""
        lines.append(f'  {_node(version.digest)}["{"<br/>".join(words)}"]{shape}')
    known = {version.digest for version in listed}
    edges = [(version.lineage.parent, version.digest) for version in listed if version.lineage.parent is not None]
    lines += [f'  {_node(parent)}["{parent[:8]}"]' for parent in sorted({edge[0] for edge in edges} - known)]
    lines += [f"  {_node(parent)} --> {_node(child)}" for parent, child in sorted(edges)]
    if any(version.status == "tombstoned" for version in listed):
        lines.append("  classDef tombstoned stroke-dasharray: 5 5")
    return "\n".join(lines) + "\n"


def _node(digest: str) -> str:
    return f"d{digest[:16]}"
