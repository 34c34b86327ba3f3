"""GGUF files of llama.cpp, written from the same weights: F32 or Q8_0, and LoRA adapters."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.weights import Weights
from reckoner.errors import DamagedError, InputError, MissingExtraError, ReckonerError

_MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OTHERS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
_MAGIC = b"GGUF"


def write_gguf(weights: Weights, tokenizer_json: Mapping[str, Any], path: str | Path) -> Path:
    """Write the base model as a Llama-architecture GGUF: same arguments, same bytes.

    INT8 matrices go bit for bit into Q8_0 blocks, everything else as F32. The adapter, if there is one, is left out:
    see :func:`write_lora_gguf`.

    Parameters
    ----------
    weights : Weights
    tokenizer_json : mapping
        Content of ``tokenizer.json``, of type "spm".
    path : path
        Whole afterwards, or untouched.

    Raises
    ------
    InputError
        The tokenizer is of another type, lacks a field or is of another size than the vocabulary.
    ReckonerError
        The disk is full or the folder cannot be written.
    """
    config = weights.config
    _check_tokenizer(tokenizer_json, config)
    writer = _writer()
    writer.add_file_type(7 if weights.precision == "int8" else 0)  # LLAMA_FTYPE_MOSTLY_Q8_0, LLAMA_FTYPE_ALL_F32
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("llama")  # llama.cpp's word for SentencePiece
    writer.add_token_list(tokenizer_json["tokens"])
    writer.add_token_scores(tokenizer_json["scores"])
    writer.add_token_types(tokenizer_json["types"])
    writer.add_bos_token_id(tokenizer_json["bos_id"])
    writer.add_eos_token_id(tokenizer_json["eos_id"])
    writer.add_unk_token_id(tokenizer_json["unk_id"])
    writer.add_add_bos_token(tokenizer_json["add_bos"])
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(tokenizer_json["add_space_prefix"])
    for name in config.tensor_shapes():
        values = _permuted(name, weights.tensors[name], config)
        if weights.is_int8(name):
            scales = _permuted(name, weights.tensors[name + "_scale"], config)
            writer.add_tensor(_gguf_name(name), _q8_0_bytes(values, scales), raw_dtype=_q8_0())
        else:
            writer.add_tensor(_gguf_name(name), values)
    return _write(writer, Path(path))


def write_lora_gguf(weights: Weights, path: str | Path) -> Path:
    """Write the adapter as a GGUF that llama.cpp applies to the base model at run time.

    Raises
    ------
    InputError
        The weights have no adapter.
    ReckonerError
        The disk is full or the folder cannot be written.
    """
    adapter, config = weights.adapter, weights.config
    if adapter is None:
        raise InputError("these weights have no adapter; write_gguf writes all there is")
    writer = _writer()
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", adapter.alpha)
    for name, (a, b) in adapter.pairs.items():
        writer.add_tensor(_gguf_name(name) + ".lora_a", np.ascontiguousarray(a))
        # B makes the rows of q and k, so it is turned as they are; A only reads the input.
        writer.add_tensor(_gguf_name(name) + ".lora_b", _permuted(name, b, config))
    return _write(writer, Path(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFacts:
    """What a GGUF file says of itself, as far as an engine needs it before loading.

    Attributes
    ----------
    kind : str
        ``model`` or ``adapter``.
    context_length : int or None
        Positions of the model; None for an adapter. [token]
    vocab_size : int or None
    eos_id : int or None
        The token at which llama.cpp ends a run.
    """

    kind: str
    context_length: int | None
    vocab_size: int | None
    eos_id: int | None


def check_gguf(path: str | Path) -> GgufFacts:
    """Refuse a file that llama.cpp could not load, before its C++ sees it.

    Raises
    ------
    InputError
        There is no such file.
    DamagedError
        The file is not GGUF, its header cannot be read, or it ends before its last tensor does.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"no file {source}; write it with write_gguf or check the path")
    with source.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise DamagedError(f"{source} begins with {magic!r}, not {_MAGIC!r}; it is not a GGUF file, write it again")
    try:
        # The reader maps the file and makes a view of each tensor: it fails where one would lie beyond the end.
        reader = _gguf().GGUFReader(source)
        facts = GgufFacts(
            kind=_field(reader, "general.type") or "model",
            context_length=_field(reader, "llama.context_length"),
            vocab_size=_field(reader, "llama.vocab_size"),
            eos_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        )
    except (ValueError, IndexError, KeyError, OverflowError, OSError, MemoryError) as error:
        raise DamagedError(f"{source}: {error}; the file is truncated or damaged, write it again") from error
    if not reader.tensors:
        raise DamagedError(f"{source} holds no tensors; write it again")
    return facts


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _check_tokenizer(tokenizer: Mapping[str, Any], config: DecoderConfig) -> None:
    if tokenizer.get("type") != "spm":
        raise InputError(f"tokenizer.json: type is {tokenizer.get('type')!r}; 'spm' is the one that is written to GGUF")
    fields = ("tokens", "scores", "types", "bos_id", "eos_id", "unk_id", "add_bos", "add_space_prefix")
    missing = [field for field in fields if field not in tokenizer]
    if missing:
        raise InputError(f"tokenizer.json lacks {', '.join(missing)}; add them")
    for field in ("tokens", "scores", "types"):
        if len(tokenizer[field]) != config.vocab_size:
            raise InputError(
                f"tokenizer.json: {field} has {len(tokenizer[field])} entries, config.json's vocab_size is "
                f"{config.vocab_size}; they must agree"
            )


def _gguf_name(name: str) -> str:
    if not name.startswith("model.layers."):
        return _OTHERS.get(name, "output.weight")
    layer, _, module = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
    return f"blk.{layer}.{_MODULES[module]}.weight"


def _permuted(name: str, rows: NDArray[Any], config: DecoderConfig) -> NDArray[Any]:
    """Rows of q and k from Hugging Face's order to llama.cpp's.

    Rotary embedding pairs dimension i with i + head_dim / 2 there and 2 i with 2 i + 1 here ("NORM" layout).
    """
    if name.endswith("q_proj.weight"):
        heads = config.num_attention_heads
    elif name.endswith("k_proj.weight"):
        heads = config.num_key_value_heads
    else:
        return np.ascontiguousarray(rows)
    return rows.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _q8_0_bytes(values: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Q8_0 blocks: the float16 scale, then 32 integers; (out, in / 32 * 34) bytes."""
    head = np.ascontiguousarray(scales)[..., None].view(np.uint8)
    body = values.view(np.uint8).reshape(*scales.shape, -1)
    return np.concatenate([head, body], axis=-1).reshape(len(values), -1)


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError.of("gguf", "engines") from error
    return gguf


def _q8_0() -> Any:
    return _gguf().GGMLQuantizationType.Q8_0


def _writer() -> Any:
    return _gguf().GGUFWriter(None, "llama")


def _write(writer: Any, target: Path) -> Path:
    """Stream to a sibling and rename it: a model may be larger than what fits in memory twice."""
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        os.close(handle)
        try:
            writer.write_header_to_file(path=Path(temporary))
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            for file in writer.fout:
                file.flush()
                os.fsync(file.fileno())
        finally:
            writer.close()
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
        temporary = None
    except OSError as error:
        raise ReckonerError(
            f"cannot write {target}: {error.strerror or error}; free some space or choose another folder; "
            "what stood there before is unharmed"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
    return target
