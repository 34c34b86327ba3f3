"""Typed reading of a ``config.json``: every failure names the field, the value seen and the remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reckoner.errors import InputError

_SANE = 10**9  # no width of a real model comes near; a larger one is a typing error
_DEEP = 10_000  # nor any depth; each layer is an object here, so a typing error must not fill the memory


class Fields:
    """A view of a configuration that answers only with values of the type asked for."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw = raw
        self.where = where

    def fail(self, sentence: str) -> InputError:
        """Build an error that begins with the file."""
        return InputError(f"{self.where}: {sentence}")

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(key) is not None

    def _find(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        for key in keys:
            if self.raw.get(key) is not None:
                return key, self.raw[key]
        return keys[0], None

    def layers(self, *keys: str) -> int:
        """Number of layers, under the first of ``keys`` that is present."""
        return self.integer(*(keys or ("num_hidden_layers",)), maximum=_DEEP)

    def integer(self, *keys: str, default: int | None = None, minimum: int = 1, maximum: int = _SANE) -> int:
        """The first of ``keys`` that is present, as a count.

        Raises
        ------
        InputError
            Missing without a default, or not an integer from ``minimum`` to ``maximum``.
        """
        key, value = self._find(keys)
        if value is None:
            if default is None:
                also = f" (or {', '.join(keys[1:])})" if len(keys) > 1 else ""
                raise self.fail(f"{key}{also} is missing; add it")
            return default
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{key} is {value!r}; it must be an integer")
        if not minimum <= value <= maximum:
            raise self.fail(f"{key} is {value}; it must lie in {minimum}..{maximum}")
        return value

    def flag(self, *keys: str, default: bool) -> bool:
        """A boolean field."""
        key, value = self._find(keys)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"{key} is {value!r}; it must be true or false")
        return value

    def integers(self, key: str) -> list[int] | None:
        """A list of integers, or None when absent."""
        value = self.raw.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise self.fail(f"{key} is {value!r}; it must be a list of integers")
        return value

    def words(self, key: str) -> list[str] | None:
        """A list of strings, or None when absent."""
        value = self.raw.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or any(not isinstance(v, str) for v in value):
            raise self.fail(f"{key} is {value!r}; it must be a list of strings")
        return value

    def part(self, key: str) -> Fields:
        """A nested configuration such as ``text_config``."""
        value = self.raw.get(key)
        if not isinstance(value, Mapping):
            raise self.fail(f"{key} is {value!r}; it must be an object")
        return Fields(value, f"{self.where}: {key}")

    def heads(self, hidden: int, *keys: str) -> tuple[int, int]:
        """Query heads and the width of a head: ``head_dim``, or hidden over heads, which must then divide.

        Raises
        ------
        InputError
            ``hidden`` is not a multiple of the heads and ``head_dim`` is missing.
        """
        n_heads = self.integer(*(keys or ("num_attention_heads",)))
        if self.has("head_dim"):
            return n_heads, self.integer("head_dim")
        if hidden % n_heads:
            raise self.fail(
                f"hidden size {hidden} is not divisible by {n_heads} attention heads and head_dim is missing; "
                "add head_dim"
            )
        return n_heads, hidden // n_heads

    def kv_heads(self, n_heads: int, key: str = "num_key_value_heads") -> int:
        """Key-value heads, which must divide the query heads; as many as those when absent."""
        n_kv = self.integer(key, default=n_heads)
        if n_heads % n_kv:
            raise self.fail(f"{key} is {n_kv}, which does not divide {n_heads} attention heads")
        return n_kv
