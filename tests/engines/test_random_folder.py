"""A random decoder as a Hugging Face folder, and its vocabulary of English words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reckoner.catalogue.model import Model
from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.random_decoder import SPECIAL_TOKENS, random_folder, random_gguf, random_tokenizer, random_weights
from reckoner.engines.words import WORDS
from reckoner.errors import InputError

SMALL = DecoderConfig(
    vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=False,
)  # fmt: skip


def test_the_folder_holds_the_same_numbers_as_the_weights(tmp_path):
    from safetensors.numpy import load_file

    folder = random_folder(tmp_path / "model", SMALL, seed=3)
    stored = load_file(folder / "model.safetensors")
    drawn = random_weights(SMALL, seed=3).tensors
    assert stored.keys() == drawn.keys()
    assert all(np.array_equal(stored[name], drawn[name]) for name in drawn)
    assert Model.from_config(folder / "config.json").n_layers == 2


def test_every_english_word_is_one_token_whose_row_may_be_emitted(tmp_path):
    folder = random_folder(tmp_path / "model", SMALL)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(512))
    assert all(vocabulary[word] >= SPECIAL_TOKENS for word in WORDS)


def test_a_vocabulary_too_small_for_the_words_is_refused(tmp_path):
    from dataclasses import replace

    tiny = replace(SMALL, vocab_size=300)
    with pytest.raises(InputError, match="vocab_size is 300"):
        random_folder(tmp_path / "model", tiny)
    with pytest.raises(InputError, match="vocab_size is 300"):
        random_tokenizer(tiny, english=True)


def test_a_gguf_of_english_words_is_another_file(tmp_path):
    from dataclasses import replace

    larger = replace(SMALL, vocab_size=1024)
    plain, english = random_gguf(tmp_path, larger), random_gguf(tmp_path, larger, english=True)
    assert plain != english
    assert len(random_tokenizer(larger, english=True)["tokens"]) == len(random_tokenizer(larger)["tokens"]) == 1024
