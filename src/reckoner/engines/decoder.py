"""A Llama-architecture decoder on disk: its configuration, its tensors, and how a damaged file is refused.

A model folder holds ``config.json`` (Hugging Face keys), ``model.safetensors`` (Hugging Face tensor names),
``tokenizer.json`` and, for an adapted model, ``adapter_config.json`` + ``adapter_model.safetensors`` (PEFT names).

INT8 weights are blocks of 32 along the input axis, symmetric, one float16 scale a block: ``X.weight`` is int8 of shape
(out, in) and ``X.weight_scale`` float16 of shape (out, in / 32). This is llama.cpp's Q8_0, so both engines run the same
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from reckoner.errors import InputError

INT8_BLOCK = 32  # ggml's QK8_0: ggml-common.h of llama.cpp, read 2026-11-20

_KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
}
_LARGEST = 2**31 - 1  # GGUF stores these sizes as 32-bit integers; none comes near
LARGEST_FLOAT = 3.4e38  # both engines compute in float32
# Options of a Llama config.json that change the arithmetic: refused, never ignored.
_PLAIN = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "rope_scaling": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Shape of a Llama-architecture decoder, under the names of Hugging Face's ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            words, kinds = _KINDS[str(field.type)]
            if type(value) not in kinds:  # isinstance would take true for an integer
                raise InputError(f"config.json: {field.name} is {value!r}; it must be {words}")
            if kinds != (bool,) and not 0 < value < math.inf:
                raise InputError(f"config.json: {field.name} is {value!r}; it must be above 0")
            if kinds == (int,) and value > _LARGEST:
                raise InputError(f"config.json: {field.name} is {value!r}; it must be at most {_LARGEST}")
            if float in kinds and value > LARGEST_FLOAT:
                raise InputError(f"config.json: {field.name} is {value!r:.40}; a float32 holds at most 3.4e38")
        if self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"config.json: num_attention_heads is {self.num_attention_heads}, not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}; choose a divisor"
            )
        if self.head_dim % 2:
            raise InputError(f"config.json: head_dim is {self.head_dim}; rotary embedding needs an even one")

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Read the keys of a Hugging Face ``config.json`` with ``model_type`` "llama".

        Raises
        ------
        InputError
            Another architecture, or a missing key; the message names it.
        """
        if config.get("model_type") != "llama":
            raise InputError(
                f"config.json: model_type is {config.get('model_type')!r}; these engines run 'llama' decoders only"
            )
        for key, plain in _PLAIN.items():
            if config.get(key, plain) not in (plain, None):
                raise InputError(f"config.json: {key} is {config[key]!r}; these engines run {plain!r} only")
        values = {name: config[name] for name in cls.__slots__ if name in config}
        hidden, heads = values.get("hidden_size"), values.get("num_attention_heads")
        if "head_dim" not in values and type(hidden) is int and type(heads) is int and heads > 0:
            values["head_dim"] = hidden // heads
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]
        if missing:
            raise InputError(f"config.json lacks {', '.join(missing)}; add them")
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return the ``config.json`` that :meth:`from_mapping` reads back."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", **values}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that ``model.safetensors`` must hold, with its shape, under Hugging Face's names."""
        d, f, kv = self.hidden_size, self.intermediate_size, self.num_key_value_heads * self.head_dim
        q = self.num_attention_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, d)}
        for layer in range(self.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            shapes |= {
                prefix + "input_layernorm.weight": (d,),
                prefix + "self_attn.q_proj.weight": (q, d),
                prefix + "self_attn.k_proj.weight": (kv, d),
                prefix + "self_attn.v_proj.weight": (kv, d),
                prefix + "self_attn.o_proj.weight": (d, q),
                prefix + "post_attention_layernorm.weight": (d,),
                prefix + "mlp.gate_proj.weight": (f, d),
                prefix + "mlp.up_proj.weight": (f, d),
                prefix + "mlp.down_proj.weight": (d, f),
            }
        shapes["model.norm.weight"] = (d,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, d)
        return shapes
