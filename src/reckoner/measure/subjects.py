"""What a cost curve is measured on: one decoder on one engine, whose single decode step can be timed at any context."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.kvcache import KVCache
from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.engines.random_decoder import random_tokenizer, random_weights
from reckoner.engines.weights import ROLES, Weights, load
from reckoner.errors import EngineError, InputError
from reckoner.files import read_json, sha256_file

EngineName = Literal["numpy", "llamacpp"]
FRAGMENT = 8  # tokens of the fragment that prompts repeat: only the cost is measured, not the answer
FLOAT32_BYTES = 4
_LLAMA_CONTEXT_STEP = 256  # llama.cpp rounds a context up to this (llama-context.cpp, GGML_PAD; read 2026-11-21)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetId:
    """A target as results name it: by content, not by the place it lay in.

    Attributes
    ----------
    files : mapping of str to str
        SHA-256 of each file of the model folder; empty for a random decoder, which ``config`` and ``seed`` determine.
    """

    name: str
    engine: EngineName
    config: DecoderConfig | None
    seed: int
    files: Mapping[str, str]

    @property
    def key(self) -> str:
        """Short name of the pair, for files and tables."""
        return f"{self.name}-{self.engine}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One curve: a decoder and the engine that runs it.

    Attributes
    ----------
    name : str
        What the results call the decoder.
    folder, files, config
        Exactly one of: its model folder; the path of each role of such a folder (``config.json``, ...); the shape of a
        decoder with random weights drawn from ``seed``.
    """

    name: str
    engine: EngineName
    folder: str | None = None
    files: Mapping[str, str] | None = None
    config: DecoderConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.folder, self.files, self.config)) != 1:
            raise InputError(
                f"target {self.name}: give a model folder, the files of one, or a random decoder's config, one of these"
            )
        if self.engine not in ("numpy", "llamacpp"):
            raise InputError(f"target {self.name}: engine is {self.engine!r}; choose numpy or llamacpp")
        if not self.name or "/" in self.name:
            raise InputError(f"target name is {self.name!r}; it names files, write a word without slashes")

    def roles(self) -> dict[str, Path]:
        """Files by role; empty for a random decoder.

        Raises
        ------
        InputError
            The folder is no model folder, or a file is not there.
        """
        if self.config is not None:
            return {}
        if self.files is not None:
            roles = {role: Path(path) for role, path in self.files.items()}
        else:
            folder = Path(str(self.folder))
            roles = {role: folder / role for role in ROLES if (folder / role).exists()}
        for role in ("config.json", "model.safetensors", "tokenizer.json"):
            if role not in roles or not roles[role].is_file():
                raise InputError(f"target {self.name}: {role} is not there; give a whole model folder")
        return roles

    def identity(self) -> TargetId:
        """Name, engine and content."""
        digests = {role: sha256_file(path) for role, path in self.roles().items()}
        return TargetId(name=self.name, engine=self.engine, config=self.config, seed=self.seed, files=digests)

    def weights(self, context: int) -> Weights:
        """Load or draw the weights; positions are raised to ``context`` where the model was made for fewer."""
        weights = load(self.roles()) if self.config is None else random_weights(self.config, seed=self.seed)
        config = weights.config
        if config.max_position_embeddings >= context:
            return weights
        # Nonsense beyond the trained length, but the cost of a step does not depend on what it computes.
        return dataclasses.replace(weights, config=dataclasses.replace(config, max_position_embeddings=context))

    def tokenizer(self) -> Any:
        """``tokenizer.json`` as a mapping."""
        if self.config is not None:
            return random_tokenizer(self.config)
        return read_json(self.roles()["tokenizer.json"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Shape and sizes that the theory needs, as the engine runs the model.

    Attributes
    ----------
    s_max : int
        Capacity of the cache. [token]
    dtype, kv_dtype : str
        Of the weights and of the cache in memory.
    read_bytes : int
        Weights that one decode step streams. [byte]
    """

    name: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden: int
    ffn: int
    vocab: int
    parameters: int
    s_max: int
    dtype: str
    kv_dtype: str
    kv_bytes_per_element: int
    read_bytes: int


class Subject(Protocol):
    """A decoder that has every context prefilled and waits to be timed."""

    model: ModelInfo

    def cached_s(self, s: int) -> float:
        """Seconds of one decode step at context ``s`` with the cache."""

    def uncached_s(self, s: int) -> float:
        """Seconds of the same step without: ``s + 1`` tokens run afresh."""

    def difference(self, s: int) -> float | None:
        """Largest difference of logits between the last step of each kind; None where there are none."""

    def close(self) -> None:
        """Free what it holds."""


def prompt(vocab: int, length: int, seed: int) -> list[int]:
    """``length`` token ids: a short seeded fragment over and over, clear of the control tokens at the front."""
    fragment = np.random.default_rng(seed).integers(min(300, vocab // 2), vocab, FRAGMENT)
    return [int(fragment[index % FRAGMENT]) for index in range(length)]


def info(target: Target, weights: Weights, s_max: int) -> ModelInfo:
    """Describe ``weights`` as ``target``'s engine holds them."""
    config = weights.config
    numpy_engine = target.engine == "numpy"
    table = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return ModelInfo(
        name=target.name,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        vocab=config.vocab_size,
        parameters=weights.parameters,
        s_max=s_max,
        dtype="float32" if numpy_engine or weights.precision == "fp32" else weights.precision,
        kv_dtype="float32",  # in both engines, so that their caches are the same bytes
        kv_bytes_per_element=FLOAT32_BYTES,
        # The NumPy engine multiplies INT8 out, so it streams float32 whatever the file holds.
        read_bytes=FLOAT32_BYTES * (weights.parameters - table) if numpy_engine else weights.decode_read_bytes,
    )


def open_subject(target: Target, s_points: Sequence[int], *, seed: int, folder: Path) -> Subject:
    """Load the decoder and prefill every context of ``s_points``; files that an engine needs go to ``folder``."""
    if target.engine == "numpy":
        return NumpySubject(target, s_points, seed=seed)
    return LlamaSubject(target, s_points, seed=seed, folder=folder)


class NumpySubject:
    """The transparent engine: the same ``forward``, given a cache or None."""

    def __init__(self, target: Target, s_points: Sequence[int], *, seed: int) -> None:
        s_max = max(s_points)
        weights = target.weights(s_max + 1)
        self.model = info(target, weights, s_max)
        self._decoder = NumpyDecoder(weights)
        self._ids = prompt(weights.config.vocab_size, s_max + 1, seed)
        # Contexts share their beginning, so one prefill passes through all of them; each keeps a copy of the cache.
        running = self._decoder.new_cache(s_max + 1)
        self._caches: dict[int, KVCache] = {}
        for s in sorted(s_points):
            self._decoder.prefill(self._ids[running.cursor : s], running)
            self._caches[s] = copy.deepcopy(running)
        self._logits: dict[tuple[str, int], Any] = {}

    def cached_s(self, s: int) -> float:
        """Decode the token after ``s``, then put the cursor back, so that the context never grows."""
        cache = self._caches[s]
        start = time.perf_counter_ns()
        logits = self._decoder.decode_step(self._ids[s], cache)
        elapsed = time.perf_counter_ns() - start
        cache.rewind(s)
        self._logits["cached", s] = logits
        return elapsed / 1e9

    def uncached_s(self, s: int) -> float:
        """Run ``s + 1`` tokens without a cache; only the last position meets the output matrix, as in a real step."""
        start = time.perf_counter_ns()
        logits = self._decoder.forward(self._ids[: s + 1], None, last_only=True)[-1]
        elapsed = time.perf_counter_ns() - start
        self._logits["uncached", s] = logits
        return elapsed / 1e9

    def difference(self, s: int) -> float | None:
        """Largest difference of logits over their largest magnitude; None before both kinds have run."""
        cached, uncached = self._logits.get(("cached", s)), self._logits.get(("uncached", s))
        if cached is None or uncached is None:
            return None
        return float(np.abs(cached - uncached).max() / np.abs(uncached).max())

    def close(self) -> None:
        """Nothing to free."""


class LlamaSubject:
    """llama.cpp: one engine for each context, so that every context stays in a cache, all on the same mapped weights.

    Times are the engine's own: of the one step after the first new token with the cache, of the whole prompt without.
    """

    def __init__(self, target: Target, s_points: Sequence[int], *, seed: int, folder: Path) -> None:
        longest = max(s_points)
        files, self.model = llama_files(target, longest, folder)
        self._ids = prompt(self.model.vocab, longest + 1, seed)
        self._engines = {s: start_llama(files, s + 2) for s in sorted(s_points)}
        for s, engine in self._engines.items():
            engine.prefill_ms(self._ids[:s])
        self._fresh = start_llama(files, longest + 2)

    def cached_s(self, s: int) -> float:
        """Seconds of one decode step; the last prompt token runs again before it, untimed."""
        timings = self._engines[s].timings(self._ids[:s], max_new_tokens=2, reuse_prompt=True)
        if timings["cache_n"] != s - 1:
            raise EngineError(
                f"llama.cpp reused {timings['cache_n']} of {s - 1} tokens, so this is no cached step; "
                "install the xllamacpp that the tests ran with"
            )
        return timings["predicted_ms"] / 1e3

    def uncached_s(self, s: int) -> float:
        """Seconds of a prompt of ``s + 1`` tokens."""
        return self._fresh.prefill_ms(self._ids[: s + 1]) / 1e3

    def difference(self, s: int) -> float | None:  # noqa: ARG002
        """None: the server shows no logits; the engines' own tests hold its tokens against the NumPy decoder's."""
        return None

    def close(self) -> None:
        """Stop all engines."""
        for engine in (*self._engines.values(), self._fresh):
            engine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaFiles:
    """GGUF of a model and, where it has one, of its adapter."""

    model: Path
    adapter: Path | None


def llama_context(tokens: int) -> int:
    """Context that llama.cpp allocates for ``tokens``.

    >>> llama_context(8), llama_context(1026)
    (256, 1280)
    """
    return -(-tokens // _LLAMA_CONTEXT_STEP) * _LLAMA_CONTEXT_STEP


def llama_files(target: Target, longest: int, folder: Path) -> tuple[LlamaFiles, ModelInfo]:
    """Write ``target`` as GGUF under ``folder`` unless it is there; contexts up to ``longest`` tokens fit it."""
    from reckoner.engines.gguf_file import write_gguf, write_lora_gguf

    s_max = llama_context(longest + 2)
    weights = target.weights(s_max)
    files = LlamaFiles(
        model=folder / f"{target.name}.gguf",
        adapter=None if weights.adapter is None else folder / f"{target.name}.adapter.gguf",
    )
    if not files.model.exists():
        write_gguf(weights, target.tokenizer(), files.model)
    if files.adapter is not None and not files.adapter.exists():
        write_lora_gguf(weights, files.adapter)
    return files, info(target, weights, s_max)


def start_llama(files: LlamaFiles, context: int) -> LlamaCpp:
    """Start llama.cpp on one thread with a cache of ``context`` tokens, rounded up as it does itself."""
    return LlamaCpp(files.model, files.adapter, n_ctx=llama_context(context), threads=1, cache_type="f32")
