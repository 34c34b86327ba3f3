"""Reads catalogue files one entry at a time: names by a text scan, an entry parsed only when it is asked for.

A catalogue file is TOML in which each entry is one top-level table ``[name]`` and ``aliases`` is an array of plain
strings on one line. Parsing all entries takes tens of milliseconds and a lookup needs one of them, so the text
is cut at its headers first. A test holds this cut equal to a whole parse of each file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from reckoner.errors import DamagedError, UnknownNameError, require

_HEADER = re.compile(r'^\["?([^"\[\]]+)"?\]\s*$', re.MULTILINE)
_ALIASES = re.compile(r"^aliases = (\[.*\])$", re.MULTILINE)


def fold(name: str) -> str:
    """Spelling in which names are compared: lower case, one kind of separator.

    >>> fold("H100_SXM 80GB")
    'h100-sxm-80gb'
    """
    return re.sub(r"[\s_]+", "-", name.strip().lower())


@dataclass(frozen=True, slots=True)
class Entries:
    """All entries of one kind, unparsed: text by canonical name, canonical name by folded alias."""

    kind: str
    sections: dict[str, str] = field(repr=False)
    alias: dict[str, str] = field(repr=False)

    def names(self) -> list[str]:
        """Canonical names, sorted."""
        return sorted(self.sections)

    def has(self, name: str) -> bool:
        """Whether ``name`` is a canonical name or an alias."""
        return fold(name) in self.alias

    def resolve(self, name: str) -> str:
        """Canonical name of ``name``, which may be an alias.

        Raises
        ------
        UnknownNameError
            Nothing answers to it; near misses are named.
        """
        require(self.kind, name, str, "give a name")
        folded = fold(name)
        if folded in self.alias:
            return self.alias[folded]
        raise UnknownNameError.of(self.kind, name, {*self.sections, *self.alias})

    def parse(self, canonical: str) -> dict[str, Any]:
        """Fields of one entry, as TOML has them."""
        return tomllib.loads(self.sections[canonical])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.sections)


def _cut(text: str) -> dict[str, str]:
    """Text of each top-level table, without its header."""
    heads = list(_HEADER.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


@cache
def entries(kind: str, *path: str) -> Entries:
    """Scan the catalogue's file or folder at ``data/<path>``.

    Raises
    ------
    DamagedError
        Two entries claim one name or alias.
    """
    root = files("reckoner.catalogue").joinpath("data", *path)
    sources = (
        [root]
        if root.is_file()
        else sorted((item for item in root.iterdir() if item.name.endswith(".toml")), key=lambda item: item.name)
    )
    sections: dict[str, str] = {}
    alias: dict[str, str] = {}
    for source in sources:
        for name, text in _cut(source.read_text(encoding="utf-8")).items():
            found = _ALIASES.search(text)
            spellings = {fold(name), *(fold(other) for other in (json.loads(found[1]) if found else []))}
            for spelling in spellings:
                owner = alias.setdefault(spelling, name)
                if owner != name or name in sections:
                    raise DamagedError(f"{source.name}: {spelling!r} names both {owner} and {name}; keep one")
            sections[name] = text
    return Entries(kind, sections, alias)
