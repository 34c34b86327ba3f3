"""One memory point in a process of its own: what S tokens of KV cache add to the resident size.

Run as ``python -m reckoner.measure.memory_point SPEC.json``; the answer is one JSON line on stdout.

Only a fresh process shows the growth: in one that has run before, the allocator hands out pages that are resident
already. Three more things hide it and are switched off here: the allocator's moving threshold (``ENVIRONMENT``), huge
pages (2 MiB at a time), and the temporaries of the forward pass, which a first prefill into a second cache has brought
to their peak before the baseline is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np

from reckoner.engines.kvcache import KVCache
from reckoner.engines.llamacpp import LlamaCpp
from reckoner.engines.numpy_decoder import NumpyDecoder
from reckoner.errors import InputError, MissingExtraError, ReckonerError
from reckoner.files import read_json
from reckoner.measure.subjects import LlamaFiles, ModelInfo, Target, prompt, start_llama
from reckoner.physics.kvcache import bytes_per_token

# A fixed threshold: arrays of 64 KiB and more are mapped on their own and given back when freed (mallopt(3)).
ENVIRONMENT: Mapping[str, str] = {"MALLOC_MMAP_THRESHOLD_": "65536", "NUMPY_MADVISE_HUGEPAGE": "0"}
_PR_SET_THP_DISABLE = 41  # linux/prctl.h

T = TypeVar("T")
FilledBy = Literal["prefill", "append", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySpec:
    """What the process is to measure.

    Attributes
    ----------
    s : int
        Tokens to fill. [token]
    s_max : int
        Capacity of the cache. [token]
    prefill : bool
        Run the decoder over S tokens; otherwise append keys and values of the decoder's shape without running it.
    model : ModelInfo
        As the latency run found it; says the shape without loading the weights.
    gguf, adapter : str or None
        Files that llama.cpp runs; None for the NumPy engine.
    """

    target: Target
    model: ModelInfo
    s: int
    s_max: int
    prefill: bool
    seed: int
    gguf: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """Memory at one context length.

    Attributes
    ----------
    capacity : int
        Tokens that the cache was allocated for. [token]
    bytes_allocated, bytes_used : int or None
        As the cache counts them; None where the engine does not tell. [byte]
    theory_bytes : int
        2 L H_kv d_h S B s, of the tokens filled (of the whole capacity where the engine fills it at start). [byte]
    page_bytes : int or None
        The pages on which those bytes lie: the floor below which no resident size can be. [byte]
    rss_growth_bytes : int
        Growth of the resident size since the baseline (anonymous memory only on llama.cpp: mapped weights left out).
        [byte]
    filled_by : str
    """

    s: int
    capacity: int
    bytes_allocated: int | None
    bytes_used: int | None
    theory_bytes: int
    page_bytes: int | None
    rss_growth_bytes: int
    filled_by: FilledBy


def measure(spec: MemorySpec) -> MemoryPoint:
    """Measure one point here and now; meaningful only in a process that has done nothing else."""
    return _llama_point(spec) if spec.target.engine == "llamacpp" else _numpy_point(spec)


def _numpy_point(spec: MemorySpec) -> MemoryPoint:
    model = spec.model
    fill = _prefill(spec) if spec.prefill else _append(spec)

    def new() -> KVCache:
        return KVCache(model.n_layers, model.n_kv_heads, model.head_dim, spec.s_max, np.float32)

    cache = new()  # taken before anything is freed, so that none of its pages was used before
    fill(new())
    growth, _ = _growth(lambda: fill(cache), "Rss")
    return MemoryPoint(
        s=spec.s,
        capacity=spec.s_max,
        bytes_allocated=cache.bytes_allocated(),
        bytes_used=cache.bytes_used(),
        theory_bytes=_theory_bytes(model, spec.s),
        page_bytes=cache.bytes_touched(mmap.PAGESIZE),
        rss_growth_bytes=growth,
        filled_by="prefill" if spec.prefill else "append",
    )


def _prefill(spec: MemorySpec) -> Callable[[KVCache], None]:
    decoder = NumpyDecoder(spec.target.weights(spec.s_max))
    ids = prompt(spec.model.vocab, spec.s, spec.seed)

    def fill(cache: KVCache) -> None:
        decoder.prefill(ids, cache)

    return fill


def _append(spec: MemorySpec) -> Callable[[KVCache], None]:
    shape = (1, spec.model.n_kv_heads, spec.s, spec.model.head_dim)
    values = np.random.default_rng(spec.seed).standard_normal(shape, np.float32)

    def fill(cache: KVCache) -> None:
        for layer in range(spec.model.n_layers):
            cache.append(layer, values, values)

    return fill


def _llama_point(spec: MemorySpec) -> MemoryPoint:
    if spec.gguf is None:
        raise InputError(f"target {spec.target.name}: gguf is not given; llama.cpp needs the model's file")
    files = LlamaFiles(model=Path(spec.gguf), adapter=None if spec.adapter is None else Path(spec.adapter))
    ids = prompt(spec.model.vocab, 1, spec.seed)

    def run() -> LlamaCpp:
        engine = start_llama(files, spec.s)
        engine.prefill_ms(ids)  # one token whatever S: the cache is filled at start, more would grow compute buffers
        return engine

    growth, engine = _growth(run, "Anonymous")
    return MemoryPoint(
        s=spec.s,
        capacity=engine.n_ctx,
        bytes_allocated=None,
        bytes_used=None,
        theory_bytes=_theory_bytes(spec.model, engine.n_ctx),
        page_bytes=None,
        rss_growth_bytes=growth,
        filled_by="load",
    )


def _theory_bytes(model: ModelInfo, tokens: int) -> int:
    per_token = bytes_per_token(model.n_layers, model.n_kv_heads, model.head_dim, model.kv_bytes_per_element)
    return round(tokens * float(per_token))


def _growth(action: Callable[[], T], kind: Literal["Rss", "Anonymous"]) -> tuple[int, T]:
    before = resident_bytes(kind)
    result = action()  # kept, so that what it holds is still resident when the size is read
    return resident_bytes(kind) - before, result


def resident_bytes(kind: Literal["Rss", "Anonymous"] = "Rss") -> int:
    """Resident size of this process. [byte].

    Read from the page tables where Linux shows them: the kernel's running counters lag by dozens of pages, which is
    as much as a short context needs. Elsewhere ``psutil``'s resident size serves for both kinds.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == kind:
                return int(value.split()[0]) * 1024
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError.of("psutil", "measure") from error
    return int(psutil.Process().memory_info().rss)


def _without_huge_pages() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def main(path: str) -> int:
    """Measure the point that the file at ``path`` asks for and print it."""
    _without_huge_pages()
    try:
        point = measure(msgspec.convert(read_json(path), MemorySpec))
    except ReckonerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(msgspec.json.encode(point).decode() + "\n")
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    # Straight out: llama.cpp's server may wait for itself for ever when the interpreter takes it down.
    os._exit(code)
