"""A value inside a document together with its path, so that an error can say where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reckoner.errors import InputError

MOST = 1e20
"""No time, count or rate of a run is larger, nanoseconds since 1970 included; squares of it are still finite."""


class FieldError(InputError):
    """A field of a document is missing or cannot be meant; begins with its path, the caller adds the file."""


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value and its path from the top, ``$``.

    >>> Node({"a": [1.5]}, "$")["a"].items()[0].number()
    1.5
    """

    value: Any
    path: str = "$"

    def has(self, *keys: str) -> bool:
        """Whether it is an object with all of these keys."""
        return isinstance(self.value, dict) and all(key in self.value for key in keys)

    def get(self, *keys: str) -> Node | None:
        """What lies below; None where any step is missing or null."""
        found: Any = self.value
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return None if found is None else Node(found, ".".join((self.path, *keys)))

    def __getitem__(self, key: str) -> Node:
        found = self.get(key)
        if found is None:
            raise FieldError(f"{self.path}.{key} is missing; the file is not whole or of another version")
        return found

    def first(self, *keys: str) -> Node | None:
        """The first of these keys that is there."""
        return next((found for key in keys if (found := self.get(key)) is not None), None)

    def items(self) -> list[Node]:
        """Elements of a list."""
        if not isinstance(self.value, list):
            raise self.refused("a list is expected")
        return [Node(one, f"{self.path}[{index}]") for index, one in enumerate(self.value)]

    def fields(self) -> Iterator[tuple[str, Node]]:
        """Entries of an object; nothing where it is none."""
        if isinstance(self.value, dict):
            for key, one in self.value.items():
                yield key, Node(one, f"{self.path}.{key}")

    def text(self) -> str:
        """Its text."""
        if not isinstance(self.value, str):
            raise self.refused("a text is expected")
        return self.value

    def number(self, scale: float = 1.0) -> float:
        """A finite number that is not negative, times ``scale``."""
        value = self.value
        if isinstance(value, str):  # llmperf writes smallest and largest values as texts
            try:
                value = float(value)
            except ValueError:
                raise self.refused("a number is expected") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.refused("a number is expected")
        if not 0 <= value <= MOST:
            raise self.refused(f"a finite number of at least 0 and at most {MOST:g} is expected; the file is broken")
        return float(value) * scale

    def count(self) -> int:
        """A whole number that is not negative."""
        value = self.number()
        if value != int(value):
            raise self.refused("a whole number is expected")
        return int(value)

    def numbers(self, scale: float = 1.0) -> tuple[float, ...]:
        """A list of finite numbers that are not negative, times ``scale``."""
        if not isinstance(self.value, list):
            raise self.refused("a list of numbers is expected")
        if all(type(one) in (int, float) for one in self.value):
            values = np.asarray(self.value)
            if values.size == 0 or (values.dtype != object and values.min() >= 0 and values.max() <= MOST):
                return tuple((values.astype(np.float64) * scale).tolist())
        return tuple(one.number(scale) for one in self.items())

    def refused(self, why: str) -> FieldError:
        """The error that says what stands here and why that cannot be."""
        seen = repr(self.value)
        return FieldError(f"{self.path} is {seen if len(seen) <= 60 else seen[:57] + '...'}; {why}")


def number(node: Node | None, scale: float = 1.0) -> float | None:
    """The number there, or None where nothing is."""
    return None if node is None else node.number(scale)


def count(node: Node | None) -> int | None:
    """The whole number there, or None where nothing is."""
    return None if node is None else node.count()


def text(node: Node | None) -> str | None:
    """The text there, or None where there is none or an empty one."""
    return node.value if node is not None and isinstance(node.value, str) and node.value else None


def quantiles(median: float | None) -> dict[float, float]:
    """Percentiles so far: the median where one is stated.

    >>> quantiles(2.0), quantiles(None)
    ({0.5: 2.0}, {})
    """
    return {} if median is None else {0.5: median}


def same_length(nodes: Sequence[Node | None]) -> int:
    """Length that all these lists share.

    Raises
    ------
    FieldError
        Two of them differ; the message names both.
    """
    told = [node for node in nodes if node is not None]
    lengths = [len(node.items()) for node in told]
    for node, length in zip(told, lengths, strict=True):
        if length != lengths[0]:
            raise FieldError(
                f"{node.path} has {length} entries but {told[0].path} has {lengths[0]}; one a request is expected"
            )
    return lengths[0] if lengths else 0
