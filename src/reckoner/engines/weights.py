"""Weights of a Llama-architecture decoder: read from safetensors, every tensor checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reckoner.engines.decoder import INT8_BLOCK, LARGEST_FLOAT, DecoderConfig
from reckoner.errors import DamagedError, InputError, MissingExtraError
from reckoner.files import read_json

Float32s = NDArray[np.float32]
ROLES = ("config.json", "model.safetensors", "tokenizer.json", "adapter_config.json", "adapter_model.safetensors")
_PEFT_PREFIX = "base_model.model."
# Variants of LoRA that compute something else than W x + (alpha / r) B (A x): refused, never approximated.
_OTHER_LORA = ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """A LoRA adapter: ``W x`` becomes ``W x + (alpha / rank) B (A x)``.

    Attributes
    ----------
    rank, alpha : int, float
        PEFT's ``r`` and ``lora_alpha``.
    pairs : mapping of str to (A, B)
        By the name of the tensor adapted; A is (rank, in) and B is (out, rank), float32.

    References
    ----------
    .. [1] E. Hu et al., "LoRA", ICLR 2022, eq. 3. arXiv:2106.09685
    """

    rank: int
    alpha: float
    pairs: Mapping[str, tuple[Float32s, Float32s]]

    @property
    def scale(self) -> float:
        """Factor of the low-rank term, alpha / rank."""
        return self.alpha / self.rank

    @property
    def nbytes(self) -> int:
        """Bytes of all A and B [byte]."""
        return sum(a.nbytes + b.nbytes for a, b in self.pairs.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """A decoder in memory, under Hugging Face's tensor names.

    Attributes
    ----------
    config : DecoderConfig
    tensors : mapping of str to array
        float32, or int8 beside a float16 ``X.weight_scale`` (see :mod:`reckoner.engines.decoder`).
    adapter : Adapter or None
    """

    config: DecoderConfig
    tensors: Mapping[str, NDArray[Any]]
    adapter: Adapter | None = None

    def is_int8(self, name: str) -> bool:
        """Whether tensor ``name`` is stored as INT8 blocks."""
        return self.tensors[name].dtype == np.int8

    def matrix(self, name: str) -> Float32s:
        """Tensor ``name`` as float32; INT8 blocks are multiplied out."""
        values = self.tensors[name]
        if values.dtype != np.int8:
            return values
        return dequantise_q8_0(values, self.tensors[name + "_scale"])

    @property
    def precision(self) -> str:
        """``int8`` when any matrix is stored so, else ``fp32``."""
        return "int8" if any(self.is_int8(name) for name in self.tensors) else "fp32"

    @property
    def parameters(self) -> int:
        """Number of parameters of the base model; block scales and the adapter are not counted."""
        return sum(int(np.prod(shape)) for shape in self.config.tensor_shapes().values())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored, scales and adapter included [byte]."""
        return sum(t.nbytes for t in self.tensors.values()) + (self.adapter.nbytes if self.adapter else 0)

    @property
    def decode_read_bytes(self) -> int:
        """Bytes that one decode step reads, as stored: everything, less the embedding table when it is not the output.

        One row of an untied embedding table is looked up, not streamed [byte].
        """
        if self.config.tie_word_embeddings:
            return self.nbytes
        table = "model.embed_tokens.weight"
        scales = self.tensors.get(table + "_scale")
        return self.nbytes - self.tensors[table].nbytes - (0 if scales is None else scales.nbytes)


def load(source: str | Path | Mapping[str, Path]) -> Weights:
    """Read a decoder and its adapter, if it has one.

    Parameters
    ----------
    source : path or mapping of str to Path
        A model folder, or the file of each role: ``config.json``, ``model.safetensors`` and, for an adapted model,
        ``adapter_config.json`` with ``adapter_model.safetensors``.

    Raises
    ------
    InputError
        A file is missing, or is of an architecture, a data type or a kind of adapter that these engines do not run.
    DamagedError
        A file is truncated, lacks a tensor or has one too many, or a tensor has a wrong shape or holds NaN.
    """
    files = source if isinstance(source, Mapping) else _roles(Path(source))
    config = DecoderConfig.from_mapping(_read_config(_file(files, "config.json")))
    path = _file(files, "model.safetensors")
    tensors = _read_tensors(path)
    _check(path, tensors, config)
    adapter = None
    if "adapter_config.json" in files or "adapter_model.safetensors" in files:
        adapter = _read_adapter(_file(files, "adapter_config.json"), _file(files, "adapter_model.safetensors"), config)
    return Weights(config=config, tensors=MappingProxyType(tensors), adapter=adapter)


def quantise_q8_0(array: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Quantise to INT8 in blocks of 32 along the last axis: ggml's Q8_0, bit for bit.

    Parameters
    ----------
    array : (..., in) float
        ``in`` is a multiple of 32.

    Returns
    -------
    values : (..., in) int8
    scales : (..., in / 32) float16
        Largest magnitude of the block / 127.

    References
    ----------
    .. [1] ``quantize_row_q8_0_ref``, ggml-quants.c of llama.cpp, read 2026-11-20.
    """
    size = array.shape[-1]
    if size % INT8_BLOCK:
        raise InputError(
            f"INT8 needs an input size that is a multiple of {INT8_BLOCK}, not {size}; pad it or keep FP32"
        )
    blocks = np.asarray(array, np.float32).reshape(*array.shape[:-1], size // INT8_BLOCK, INT8_BLOCK)
    scales = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    scaled = blocks * inverse
    # C's roundf: half away from zero; numpy's rint would send 0.5 to 0.
    values = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)
    return values.reshape(array.shape), scales[..., 0].astype(np.float16)


def dequantise_q8_0(values: NDArray[np.int8], scales: NDArray[np.float16]) -> Float32s:
    """Multiply INT8 blocks out to float32; the inverse of :func:`quantise_q8_0` up to rounding."""
    blocks = values.reshape(*scales.shape, INT8_BLOCK).astype(np.float32)
    blocks *= scales.astype(np.float32)[..., None]
    return blocks.reshape(values.shape)


def quantise(weights: Weights) -> Weights:
    """Store every matrix as INT8 blocks; vectors (the norms) stay float32."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in weights.tensors.items():
        if tensor.ndim == 2 and tensor.dtype == np.float32:
            tensors[name], tensors[name + "_scale"] = quantise_q8_0(tensor)
        else:
            tensors[name] = tensor
    return Weights(config=weights.config, tensors=MappingProxyType(tensors), adapter=weights.adapter)


def _roles(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"no model folder {folder}; give a folder with config.json and model.safetensors")
    return {role: folder / role for role in ROLES if (folder / role).exists()}


def _file(files: Mapping[str, Path], role: str) -> Path:
    if role not in files:
        raise InputError(f"the model lacks {role}; it has {', '.join(sorted(files)) or 'no files'}")
    return Path(files[role])


def _read_config(path: Path) -> Mapping[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise DamagedError(f"{path} holds a {type(config).__name__}, not a JSON object; restore it")
    return config


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file; float16 is widened to float32 (exactly), scales stay float16."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError.of("safetensors", "engines") from error
    if not path.is_file():
        raise InputError(f"no file {path}; check the path")
    tensors: dict[str, NDArray[Any]] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in sorted(file.keys()):
                kind = file.get_slice(name).get_dtype()
                if kind not in ("F32", "F16", "I8"):
                    raise InputError(f"{path}: {name} is {kind}; these engines read F32, F16 and I8, convert it")
                tensor = file.get_tensor(name)
                widen = kind == "F16" and not name.endswith("_scale")
                tensors[name] = tensor.astype(np.float32) if widen else tensor
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path}: {error}; the file is truncated or is not safetensors, restore it") from error
    for name, tensor in tensors.items():
        if tensor.dtype != np.int8 and not np.isfinite(tensor).all():
            count = int(tensor.size - np.isfinite(tensor).sum())
            raise DamagedError(f"{path}: {name} holds {count} NaN or infinite values; restore the file")
    return tensors


def _check(path: Path, tensors: Mapping[str, NDArray[Any]], config: DecoderConfig) -> None:
    if config.num_hidden_layers > len(tensors):  # an absurd number would take minutes and gigabytes to spell out
        raise DamagedError(
            f"{path} holds {len(tensors)} tensors, too few for config.json's num_hidden_layers "
            f"{config.num_hidden_layers}; restore the right file"
        )
    shapes = config.tensor_shapes()
    for name in tuple(shapes):
        if name in tensors and tensors[name].dtype == np.int8:
            shapes[name + "_scale"] = (*shapes[name][:-1], shapes[name][-1] // INT8_BLOCK)
            if len(shapes[name]) != 2 or shapes[name][-1] % INT8_BLOCK:
                raise DamagedError(
                    f"{path}: {name} of shape {shapes[name]} is int8; INT8 is for matrices whose input size is a "
                    f"multiple of {INT8_BLOCK}, store it as float32"
                )
    missing = sorted(shapes.keys() - tensors.keys())
    if missing:
        raise DamagedError(f"{path} lacks {_first(missing)}; config.json asks for it, restore the file")
    extra = sorted(tensors.keys() - shapes.keys())
    if extra:
        raise DamagedError(f"{path} holds {_first(extra)}, which config.json does not know; restore the right file")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise DamagedError(f"{path}: {name} has shape {tensors[name].shape}, config.json asks for {shape}")
        allowed = ("float16",) if name.endswith("_scale") else ("float32", "int8")
        if tensors[name].dtype.name not in allowed:
            raise DamagedError(f"{path}: {name} is {tensors[name].dtype}; it must be {' or '.join(allowed)}")


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _read_adapter(config_path: Path, path: Path, config: DecoderConfig) -> Adapter:
    settings = _read_config(config_path)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0):
        raise InputError(f"{config_path}: r is {rank!r}; the rank is an integer above 0")
    if isinstance(alpha, bool) or not (isinstance(alpha, (int, float)) and 0 < alpha <= LARGEST_FLOAT):
        raise InputError(f"{config_path}: lora_alpha is {alpha!r:.40}; it is a number above 0 that a float32 holds")
    for key in _OTHER_LORA:
        if settings.get(key):
            raise InputError(f"{config_path}: {key} is {settings[key]!r}; these engines apply plain LoRA only")
    shapes = config.tensor_shapes()
    tensors = _read_tensors(path)
    found: dict[str, dict[str, Float32s]] = {}
    for name, tensor in tensors.items():
        module, _, side = name.removeprefix(_PEFT_PREFIX).removesuffix(".weight").rpartition(".lora_")
        target = module + ".weight"
        if side not in ("A", "B") or len(shapes.get(target, ())) != 2 or not target.startswith("model.layers."):
            raise DamagedError(f"{path}: {name} adapts no matrix of a layer of this model; restore the right adapter")
        wanted = (rank, shapes[target][1]) if side == "A" else (shapes[target][0], rank)
        if tensor.shape != wanted:
            raise DamagedError(f"{path}: {name} has shape {tensor.shape}, {config_path.name} asks for {wanted}")
        if tensor.dtype != np.float32:
            raise DamagedError(f"{path}: {name} is {tensor.dtype}; adapter tensors must be float32 or float16")
        found.setdefault(target, {})[side] = tensor
    if not found:
        raise DamagedError(f"{path} holds no tensors; restore the adapter or remove {config_path.name}")
    for target, sides in found.items():
        if len(sides) != 2:
            raise DamagedError(f"{path}: {target} has lora_{min(sides)} alone; A and B come in pairs, restore the file")
    pairs = {target: (found[target]["A"], found[target]["B"]) for target in sorted(found)}
    return Adapter(rank=rank, alpha=float(alpha), pairs=MappingProxyType(pairs))
