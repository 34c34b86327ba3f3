"""What a training run is made of: shape, hyperparameters, vocabulary; no torch is needed to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reckoner.engines.tokenizer import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN
from reckoner.tutor.corpus import alphabet

SEED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Hyperparameters of one training run; chosen on the validation frames (assumption: no sweep beyond a few runs)."""

    kind: str
    sentences: int
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup: int
    threads: int = 1


BASE = Recipe(kind="base", sentences=40_000, steps=1500, batch=32, learning_rate=3e-3, weight_decay=0.05, warmup=50)
DRILL = Recipe(kind="drill", sentences=16_000, steps=400, batch=32, learning_rate=3e-3, weight_decay=0.0, warmup=20)
SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
}
LORA_R, LORA_ALPHA = 8, 16


def vocabulary(texts: Sequence[str]) -> dict[str, Any]:
    """Build the content of ``tokenizer.json``: control tokens, the 256 bytes, then every character of the texts."""
    characters = alphabet(texts)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL, *([BYTE] * 256)]
    pieces = [SPACE if character == " " else character for character in characters]
    return {
        "type": "spm",
        "tokens": [*tokens, *pieces],
        "scores": [0.0] * len(tokens) + [-float(rank) for rank in range(len(pieces))],
        "types": [*types, *([NORMAL] * len(pieces))],
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 0,
        "add_bos": True,
        "add_space_prefix": False,
    }
