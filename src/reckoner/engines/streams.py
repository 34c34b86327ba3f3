"""Engines in process that give one token after the other: the NumPy decoder, and transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reckoner.engines.tokenizer import Tokenizer
from reckoner.errors import InputError, MissingExtraError
from reckoner.files import read_json


class Stream(Protocol):
    """An engine that continues a text greedily, one sequence at a time."""

    name: str
    context: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def piece(self, token: int) -> str:
        """Text of one token."""

    def tokens(self, ids: Sequence[int], n: int, *, past_end: bool) -> Iterator[int]:
        """At most ``n`` tokens that follow; ``past_end`` bars the end token, so that all ``n`` come."""


class Words:
    """A vocabulary of whole words, as :func:`~reckoner.engines.random_decoder.random_folder` writes it.

    >>> words = Words({"model": {"type": "WordLevel", "vocab": {"<unk>": 0, "the": 1}, "unk_token": "<unk>"}})
    >>> words.encode("the cat"), words.decode([1])
    ([1, 0], ' the')
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self.ids: dict[str, int] = table["model"]["vocab"]
        self.unknown = self.ids[table["model"]["unk_token"]]
        self.texts = {index: word for word, index in self.ids.items()}
        self.eos_id = self.ids.get("</s>", -1)

    def encode(self, text: str) -> list[int]:
        """Token ids of the words of a text."""
        return [self.ids.get(word, self.unknown) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """Words with a space before each."""
        return "".join(f" {self.texts[token]}" for token in ids)


class NumpyStream:
    """The NumPy decoder on a model folder."""

    name = "numpy_decoder"

    def __init__(self, folder: str | Path) -> None:
        from reckoner.engines.numpy_decoder import NumpyDecoder
        from reckoner.engines.weights import load

        table = read_json(Path(folder) / "tokenizer.json")
        if not isinstance(table, dict):
            raise InputError(f"{folder}: tokenizer.json holds no JSON object; restore it")
        kind = table["model"].get("type") if isinstance(table.get("model"), dict) else None
        if kind is not None and kind != "WordLevel":
            raise InputError(f"{folder}: tokenizer.json is a {kind}; the NumPy decoder reads WordLevel and its own spm")
        self.words: Words | Tokenizer = Words(table) if kind else Tokenizer(table)
        self.decoder = NumpyDecoder(load(folder))
        self.context = self.decoder.config.max_position_embeddings

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.words.encode(text)

    def piece(self, token: int) -> str:
        """Text of one token."""
        return self.words.decode([token])

    def tokens(self, ids: Sequence[int], n: int, *, past_end: bool) -> Iterator[int]:
        """Continue greedily with a KV cache."""
        cache = self.decoder.new_cache(len(ids) + n)
        logits = self.decoder.prefill(ids, cache)
        for step in range(n):
            if past_end and self.words.eos_id >= 0:
                logits[self.words.eos_id] = -np.inf
            token = int(logits.argmax())
            if token == self.words.eos_id:
                return
            yield token
            if step < n - 1:
                logits = self.decoder.decode_step(token, cache)


class TransformersStream:
    """A causal language model of Hugging Face's transformers, from a folder on this machine.

    Raises
    ------
    MissingExtraError
        torch or transformers is not installed.
    InputError
        The folder holds no model that they load.
    """

    name = "transformers"

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError.of("transformers", "transformers") from error
        torch.set_num_threads(threads)
        self.torch = torch
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), local_files_only=True, dtype="auto"
            ).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: transformers loads no model from it: {str(error).splitlines()[0]}") from error
        self.context = int(self.model.config.max_position_embeddings)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [int(token) for token in self.tokenizer(text)["input_ids"]]

    def piece(self, token: int) -> str:
        """Text of one token."""
        return f" {self.tokenizer.decode([token])}"

    def tokens(self, ids: Sequence[int], n: int, *, past_end: bool) -> Iterator[int]:
        """Continue greedily with a KV cache."""
        torch, end = self.torch, self.tokenizer.eos_token_id
        step, past = torch.tensor([list(ids)]), None
        with torch.inference_mode():
            for _ in range(n):
                found = self.model(input_ids=step, past_key_values=past, use_cache=True)
                past, logits = found.past_key_values, found.logits[0, -1]
                if past_end and end is not None:
                    logits[end] = float("-inf")
                token = int(logits.argmax())
                if token == end:
                    return
                yield token
                step = torch.tensor([[token]])
