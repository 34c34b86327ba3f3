"""The real engine: llama.cpp's CPU backend in this process, through ``xllamacpp``, with its server on localhost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from reckoner.engines.base import Generation
from reckoner.engines.gguf_file import check_gguf
from reckoner.errors import CacheFullError, EngineError, InputError, MissingExtraError

CACHE_TYPES = ("f32", "f16")


class LlamaCpp:
    """llama.cpp on a GGUF file: token ids in, token ids out, greedy, with its own timings.

    Prompt reuse is off, so that every call does its whole work; :meth:`decode_ms_at` alone turns it on.

    Parameters
    ----------
    gguf_path : path
        The base model, see :func:`reckoner.engines.gguf_file.write_gguf`.
    lora_path : path, optional
        An adapter to apply, see :func:`reckoner.engines.gguf_file.write_lora_gguf`.
    n_ctx : int, optional
        Tokens that prompt and answer may take together, and the size of the KV cache, which llama.cpp takes and zeroes
        at once; the model's own context length by default. [token].
    threads : int
        Threads that compute.
    cache_type : str
        Data type of the KV cache: ``f32`` as in the reference engine, or ``f16``, llama.cpp's own default.

    Raises
    ------
    InputError
        A file or an option is not there.
    DamagedError
        A file is truncated or is not GGUF: refused before llama.cpp sees it.
    EngineError
        llama.cpp did not load the model.

    Examples
    --------
    >>> with LlamaCpp("model.gguf") as engine:  # doctest: +SKIP
    ...     engine.generate([1, 300, 301], max_new_tokens=8, stop_ids=[2]).token_ids
    """

    def __init__(
        self,
        gguf_path: str | Path,
        lora_path: str | Path | None = None,
        *,
        n_ctx: int | None = None,
        threads: int = 1,
        cache_type: str = "f32",
    ) -> None:
        if cache_type not in CACHE_TYPES:
            raise InputError(f"cache_type is {cache_type!r}; choose {' or '.join(CACHE_TYPES)}")
        if threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        facts = check_gguf(gguf_path)
        if facts.kind != "model" or facts.context_length is None or facts.vocab_size is None:
            raise InputError(
                f"{gguf_path} is a GGUF {facts.kind}, not a Llama-architecture model; give the model's file"
            )
        self.n_ctx: int = n_ctx if n_ctx is not None else facts.context_length
        if self.n_ctx < 2:  # llama.cpp would end the whole process
            raise InputError(f"n_ctx is {self.n_ctx}; it must be at least 2, one token in and one out")
        if self.n_ctx > facts.context_length:
            raise InputError(f"n_ctx is {n_ctx}; the model has {facts.context_length} positions, ask for at most that")
        self._vocab_size = facts.vocab_size
        self._eos_id = facts.eos_id
        if lora_path is not None and check_gguf(lora_path).kind != "adapter":
            raise InputError(f"{lora_path} is a GGUF model, not an adapter; write it with write_lora_gguf")
        self._server: Any = self._start(str(gguf_path), lora_path, threads, cache_type)
        # A server stopped before its loop has begun waits for ever (xllamacpp 2026.10.11549, seen 2026-11-21): one
        # answered request shows that it has, and warms the path up.
        self._complete([0], 1)

    def _start(self, gguf_path: str, lora_path: str | Path | None, threads: int, cache_type: str) -> Any:
        try:
            import xllamacpp
        except ImportError as error:
            raise MissingExtraError.of("xllamacpp", "engines") from error
        params = xllamacpp.CommonParams()
        params.model.path = gguf_path
        params.n_ctx = self.n_ctx
        params.n_parallel = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http = 1
        params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{cache_type.upper()}")
        if cache_type == "f32":
            # Its fused attention doubles a decode step at 1,024 tokens of an f32 cache (measured 2026-11-21).
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cache_prompt = False
        params.cache_ram_mib = 0
        params.check_tensors = True  # a NaN weight is refused at loading
        params.fit_params = False
        params.hostnames = ["127.0.0.1"]
        params.port = 0  # any free one
        params.ui = False
        params.verbosity = -1
        params.warmup = True
        if lora_path is not None:
            adapter = xllamacpp.CommonAdapterLoraInfo()
            adapter.path, adapter.scale = str(lora_path), 1.0
            params.lora_adapters = [adapter]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise EngineError(
                f"llama.cpp did not load {gguf_path}{f' with {lora_path}' if lora_path else ''}: {error} "
                "Write the file again from the weights, or lower n_ctx if memory is short."
            ) from error

    @property
    def name(self) -> str:
        """``llamacpp``."""
        return "llamacpp"

    @property
    def url(self) -> str:
        """Address of the OpenAI-compatible server on localhost; requests go to ``{url}/v1/...``."""
        return str(self._running().listening_address)

    def generate(self, prompt_ids: Sequence[int], *, max_new_tokens: int, stop_ids: Collection[int] = ()) -> Generation:
        """Continue greedily until a stop token or ``max_new_tokens``.

        Without the model's end-of-sequence token among ``stop_ids`` that token is barred, so that exactly
        ``max_new_tokens`` come (the reference engine would emit it and go on). llama.cpp itself stops only there:
        with other stop tokens the run goes on to its end, the answer is cut afterwards and ``decode_s`` is None.

        Raises
        ------
        InputError
            No prompt, or a token id outside the vocabulary.
        CacheFullError
            Prompt and answer do not fit ``n_ctx``.
        EngineError
            llama.cpp refused the request, or the engine is closed.
        """
        ends = self._eos_id in stop_ids
        # The log-probabilities are the one part of an in-process reply that names token ids.
        reply = self._complete(prompt_ids, max_new_tokens, ignore_eos=not ends, logprobs=1)
        new = [int(entry["id"]) for entry in reply["choices"][0]["logprobs"]["content"]]
        ended = reply["choices"][0]["finish_reason"] == "stop"
        kept = next((index for index, token in enumerate(new) if token in stop_ids), len(new))
        cut = kept < len(new) and not (ended and kept == len(new) - 1)
        timings = reply["timings"]
        return Generation(
            token_ids=tuple(new[:kept]),
            prompt_tokens=len(prompt_ids),
            prefill_s=timings["prompt_ms"] * 1e-3,
            decode_s=None if cut else timings["predicted_ms"] * 1e-3,
            stopped=ended or kept < len(new),
        )

    def timings(
        self, prompt_ids: Sequence[int], *, max_new_tokens: int, reuse_prompt: bool = False
    ) -> dict[str, float]:
        """Force exactly ``max_new_tokens`` tokens and return llama.cpp's own timings of the run.

        Returns
        -------
        dict
            ``prompt_n`` tokens processed in ``prompt_ms``, ``cache_n`` reused; ``predicted_n`` tokens, of which all but
            the first took ``predicted_ms``. Among others; as llama.cpp's server has them, in milliseconds.
        """
        reply = self._complete(prompt_ids, max_new_tokens, ignore_eos=True, cache_prompt=reuse_prompt)
        timings: dict[str, float] = reply["timings"]
        return timings

    def decode_ms_at(self, context_ids: Sequence[int], steps: int = 1) -> float:
        """Mean time of ``steps`` decode steps that follow ``context_ids``. [ms].

        The context is kept between calls that share it, so that only the first one pays for it. The i-th step attends
        to ``len(context_ids) + i`` tokens.
        """
        if steps < 1:
            raise InputError(f"steps is {steps}; time at least 1")
        timings = self.timings(context_ids, max_new_tokens=steps + 1, reuse_prompt=True)
        return timings["predicted_ms"] / steps

    def prefill_ms(self, ids: Sequence[int]) -> float:
        """Time to process ``ids`` afresh: a decode step without a KV cache after ``len(ids) - 1`` tokens. [ms]."""
        return self.timings(ids, max_new_tokens=1)["prompt_ms"]

    def close(self) -> None:
        """Stop the server and free the model; calling it twice is harmless."""
        self._server = None

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> Any:
        if self._server is None:
            raise EngineError("this llama.cpp engine is closed; make a new LlamaCpp")
        return self._server

    def _complete(self, prompt_ids: Sequence[int], max_new_tokens: int, **options: Any) -> Any:
        server = self._running()
        ids = [int(token) for token in prompt_ids]
        if not ids:
            raise InputError("prompt_ids is empty; give at least one token id")
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}; ask for at least 1")
        outside = [token for token in ids if not 0 <= token < self._vocab_size]
        if outside:
            raise InputError(f"token id {outside[0]} is outside the vocabulary of {self._vocab_size}")
        if len(ids) + max_new_tokens > self.n_ctx:
            raise CacheFullError(
                f"a prompt of {len(ids)} tokens and {max_new_tokens} new ones do not fit n_ctx = {self.n_ctx}; "
                f"raise it to {len(ids) + max_new_tokens}, or shorten the prompt or the answer"
            )
        request = {"prompt": ids, "n_predict": max_new_tokens, "temperature": 0, "cache_prompt": False, **options}
        reply = server.handle_completions(request)
        if "error" in reply:
            raise EngineError(f"llama.cpp refused the request: {reply['error'].get('message', reply['error'])}")
        return reply
