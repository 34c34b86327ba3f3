"""Text to token ids and back, from the ``tokenizer.json`` of a model folder.

The vocabulary is llama.cpp's SPM kind with single-character pieces: a token is one character, or one byte of a
character that the vocabulary lacks. No merges exist, so the scores decide nothing and every reader splits a text alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any

from reckoner.errors import InputError
from reckoner.files import read_json

SPACE = "▁"  # U+2581 stands for a space, as in SentencePiece

# llama.cpp's token types: gguf.TokenType of gguf-py, read 2026-11-20
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

_LISTS: tuple[tuple[str, str, tuple[type, ...]], ...] = (
    ("tokens", "texts", (str,)),
    ("scores", "numbers", (int, float)),
    ("types", "integers", (int,)),
)


class Tokenizer:
    """A character vocabulary with byte fallback.

    Parameters
    ----------
    table : mapping
        The content of ``tokenizer.json``: type ("spm"), tokens, scores, types, bos_id, eos_id, unk_id, add_bos,
        add_space_prefix.

    Raises
    ------
    InputError
        Another type, a missing key, lists of different lengths, a piece of several characters, or a missing byte.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        keys = ("tokens", "scores", "types", "bos_id", "eos_id", "unk_id", "add_bos", "add_space_prefix")
        missing = [key for key in ("type", *keys) if key not in table]
        if missing:
            raise InputError(f"tokenizer.json lacks {', '.join(missing)}; add them")
        if table["type"] != "spm":
            raise InputError(f"tokenizer.json: type is {table['type']!r}; these engines read 'spm'")
        if table["add_space_prefix"]:
            raise InputError("tokenizer.json: add_space_prefix is true; these engines add no space, set it to false")
        for key, words, kinds in _LISTS:
            values = table[key]
            if not isinstance(values, list) or not all(type(value) in kinds for value in values):
                raise InputError(f"tokenizer.json: {key} must be a list of {words}; restore it")
        if not all(-inf < score < inf for score in table["scores"]):
            raise InputError("tokenizer.json: a score is not finite; restore it")
        self.tokens: tuple[str, ...] = tuple(table["tokens"])
        self.scores: tuple[float, ...] = tuple(float(score) for score in table["scores"])
        self.types: tuple[int, ...] = tuple(table["types"])
        if not len(self.tokens) == len(self.scores) == len(self.types):
            raise InputError(
                f"tokenizer.json has {len(self.tokens)} tokens, {len(self.scores)} scores and {len(self.types)} types; "
                "give one of each per token"
            )
        for key in ("bos_id", "eos_id", "unk_id"):
            if type(table[key]) is not int or not 0 <= table[key] < len(self.tokens):
                raise InputError(f"tokenizer.json: {key} is {table[key]!r}; it must lie in 0..{len(self.tokens) - 1}")
        if type(table["add_bos"]) is not bool:
            raise InputError(f"tokenizer.json: add_bos is {table['add_bos']!r}; it must be true or false")
        self.bos_id: int = table["bos_id"]
        self.eos_id: int = table["eos_id"]
        self.unk_id: int = table["unk_id"]
        self.add_bos: bool = table["add_bos"]
        self._characters = {t: i for i, t in enumerate(self.tokens) if self.types[i] == NORMAL}
        long = [piece for piece in self._characters if len(piece) != 1]
        if long:
            raise InputError(f"tokenizer.json: piece {long[0]!r} has {len(long[0])} characters; pieces are one each")
        if len(self._characters) != self.types.count(NORMAL):
            raise InputError("tokenizer.json: a piece occurs twice; each character has one token")
        byte_pieces = {f"<0x{byte:02X}>": byte for byte in range(256)}
        foreign = [t for i, t in enumerate(self.tokens) if self.types[i] == BYTE and t not in byte_pieces]
        if foreign:
            raise InputError(f"tokenizer.json: byte token {foreign[0]!r}; give <0x00> to <0xFF>")
        self._byte_of = {i: byte_pieces[t] for i, t in enumerate(self.tokens) if self.types[i] == BYTE}
        self._bytes = {byte: i for i, byte in self._byte_of.items()}
        if len(self._bytes) != 256:
            raise InputError(f"tokenizer.json has {len(self._bytes)} byte tokens; give <0x00> to <0xFF>")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read ``tokenizer.json``."""
        table = read_json(path)
        if not isinstance(table, dict):
            raise InputError(f"{path}: holds a {type(table).__name__}; a tokenizer is one JSON object")
        return cls(table)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def encode(self, text: str, *, bos: bool | None = None) -> list[int]:
        """Token ids of ``text``.

        Parameters
        ----------
        text : str
            Any text; a character outside the vocabulary becomes its UTF-8 bytes.
        bos : bool, optional
            Whether the begin token stands first; by default as the file's ``add_bos`` says. Give False for the
            continuation of a prompt.
        """
        ids = [self.bos_id] if (self.add_bos if bos is None else bos) else []
        for character in text.replace(" ", SPACE):
            known = self._characters.get(character)
            ids += [known] if known is not None else [self._bytes[byte] for byte in character.encode()]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; control tokens give nothing, bytes that are no UTF-8 give U+FFFD.

        ``decode(encode(text)) == text`` for every text without U+2581, the space's own sign.
        """
        raw = bytearray()
        for token in ids:
            if not 0 <= token < len(self.tokens):
                raise InputError(f"token id is {token}; this vocabulary has 0 to {len(self.tokens) - 1}")
            if token in self._byte_of:
                raw.append(self._byte_of[token])
            elif self.types[token] == NORMAL:
                raw += self.tokens[token].replace(SPACE, " ").encode()
        return raw.decode(errors="replace")
