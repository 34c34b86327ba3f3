"""A decoder with seeded random weights: big enough to measure bandwidth, and nothing to download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.weights import Weights, quantise
from reckoner.engines.words import WORDS
from reckoner.errors import InputError, MissingExtraError
from reckoner.files import canonical_json, sha256, write_atomic

# 100,682,496 parameters; the shape is an assumption: at least 100 M, and weights ten times a server core's L3 share.
CONFIG_100M = DecoderConfig(
    vocab_size=16384,
    hidden_size=768,
    intermediate_size=2048,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_key_value_heads=4,
    head_dim=64,
    max_position_embeddings=4096,
    tie_word_embeddings=False,
)
SPECIAL_TOKENS = 259  # <unk>, <s>, </s> and the 256 byte tokens that an SPM vocabulary has
_RECIPE = 1  # part of a cached file's name: raise it when the same seed gives other numbers or another file


def random_weights(config: DecoderConfig = CONFIG_100M, *, seed: int = 0, precision: str = "fp32") -> Weights:
    """Draw a decoder's weights; same arguments, same numbers.

    Each matrix is normal with variance 1 / input size, so that activations keep their size. The output rows of control
    and byte tokens are zero: greedy decoding emits whole words only and never ends early.

    Parameters
    ----------
    config : DecoderConfig
        With ``tie_word_embeddings`` False and a vocabulary above 259.
    precision : str
        ``fp32``, or ``int8`` for the same numbers quantised.
    """
    if config.tie_word_embeddings:
        raise InputError("tie_word_embeddings is true; a random decoder needs its own output rows, set it to false")
    if config.vocab_size <= SPECIAL_TOKENS:
        raise InputError(f"vocab_size is {config.vocab_size}; a random decoder needs more than {SPECIAL_TOKENS}")
    if precision not in ("fp32", "int8"):
        raise InputError(f"precision is {precision!r}; choose fp32 or int8")
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}
    for name, shape in config.tensor_shapes().items():
        if len(shape) == 1:
            tensors[name] = np.ones(shape, np.float32)
        else:
            tensors[name] = rng.standard_normal(shape, np.float32)
            tensors[name] *= np.float32(1 if name.startswith("model.embed") else shape[1] ** -0.5)
    tensors["lm_head.weight"][:SPECIAL_TOKENS] = 0
    weights = Weights(config=config, tensors=MappingProxyType(tensors))
    return quantise(weights) if precision == "int8" else weights


def random_tokenizer(config: DecoderConfig = CONFIG_100M, *, english: bool = False) -> Mapping[str, Any]:
    """``tokenizer.json`` of a vocabulary of whole words.

    Parameters
    ----------
    english : bool
        Begin with frequent English words and all their beginnings, by which llama.cpp's merging finds them: a text of k
        such words is then k tokens.

    Raises
    ------
    InputError
        The vocabulary does not hold them.
    """
    words = config.vocab_size - SPECIAL_TOKENS
    first = list(dict.fromkeys(f"\u2581{word[:end]}" for word in WORDS for end in range(1, len(word) + 1)))
    if english and words < len(first):
        raise InputError(
            f"vocab_size is {config.vocab_size}; with English words it takes {SPECIAL_TOKENS + len(first)}"
        )
    pieces = first + _words(words - len(first)) if english else _words(words)
    return {
        "type": "spm",
        "tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces],
        "scores": [0.0] * SPECIAL_TOKENS + [-float(rank) for rank in range(words)],
        # llama.cpp's token types: 1 normal, 2 unknown, 3 control, 6 byte (llama.h, read 2026-11-20)
        "types": [2, 3, 3] + [6] * 256 + [1] * words,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 0,
        "add_bos": True,
        "add_space_prefix": True,
    }


def random_gguf(
    folder: str | Path, config: DecoderConfig = CONFIG_100M, *, seed: int = 0, precision: str = "fp32",
    english: bool = False,
) -> Path:  # fmt: skip
    """Write the decoder as GGUF under ``folder`` unless it is there already, and return its path.

    The name holds a digest of everything that decides the content. ``english`` as in :func:`random_tokenizer`.
    """
    from reckoner.engines.gguf_file import write_gguf

    recipe = {"config": config.to_mapping(), "seed": seed, "precision": precision, "recipe": _RECIPE}
    if english:
        recipe["english"] = english
    path = Path(folder) / f"random-{precision}-{sha256(canonical_json(recipe))[:12]}.gguf"
    if not path.exists():
        write_gguf(
            random_weights(config, seed=seed, precision=precision), random_tokenizer(config, english=english), path
        )
    return path


def random_folder(folder: str | Path, config: DecoderConfig = CONFIG_100M, *, seed: int = 0) -> Path:
    """Write the decoder as a Hugging Face model folder, which vLLM, SGLang and transformers load.

    Its vocabulary is of whole words, frequent English ones first, so that a prompt of k such words is k tokens and
    prompts differ in every token.

    Parameters
    ----------
    folder : path
        Gets ``config.json``, ``model.safetensors``, ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises
    ------
    MissingExtraError
        safetensors is not installed.
    InputError
        The vocabulary does not hold the special tokens and the English words.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtraError.of("safetensors", "engines") from error
    english = list(dict.fromkeys(WORDS))
    if config.vocab_size < SPECIAL_TOKENS + len(english):
        raise InputError(
            f"vocab_size is {config.vocab_size}; special tokens and English words take {SPECIAL_TOKENS + len(english)}"
        )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    more = [f"w{index}" for index in range(config.vocab_size - SPECIAL_TOKENS - len(english))]
    vocabulary = {token: index for index, token in enumerate([*special, *english, *more])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False}
            for i, token in enumerate(special[:3])
        ],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }  # fmt: skip
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": config.max_position_embeddings,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    shape = config.to_mapping() | {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}
    base = Path(folder)
    write_atomic(base / "config.json", canonical_json(shape))
    write_atomic(base / "tokenizer.json", canonical_json(tokenizer))
    write_atomic(base / "tokenizer_config.json", canonical_json(settings))
    tensors = dict(random_weights(config, seed=seed).tensors)
    write_atomic(base / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    return base


def _words(count: int) -> list[str]:
    return [f"\u2581w{index}" for index in range(count)]
