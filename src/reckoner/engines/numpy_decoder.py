"""The transparent reference engine: a Llama-architecture decoder in NumPy, float32 throughout.

Set ``OPENBLAS_NUM_THREADS`` before NumPy is imported to fix the number of threads (a measuring child process does).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from reckoner.engines.base import Generation
from reckoner.engines.decoder import INT8_BLOCK, DecoderConfig
from reckoner.engines.kvcache import KVCache
from reckoner.engines.weights import Float32s, Weights
from reckoner.errors import InputError

SCORE_FLOATS = 4 << 20  # attention scores computed at a time, 16 MiB; assumption: small beside any model's weights

FEW_ROWS = 16  # query rows a head up to which turning the product round pays; measured 2026-11-21, OpenBLAS 0.3.31


class NumpyDecoder:
    """A decoder that continues token ids, with a KV cache or without, through the same code.

    INT8 matrices are multiplied out to float32 when the decoder is made, and the activations that meet them are rounded
    to INT8 blocks as llama.cpp does, so that both engines compute the same numbers. The gain of INT8 is therefore in
    the file, not here: see :attr:`weight_bytes`.

    Parameters
    ----------
    weights : Weights
        Copied into the layout in which a decode step streams them; drop the argument to have them in memory once.

    Raises
    ------
    InputError
        Matrices that share an input mix INT8 and float32.

    References
    ----------
    .. [1] H. Touvron et al., "LLaMA", 2023, sec. 2.2. arXiv:2302.13971
    .. [2] J. Ainslie et al., "GQA", EMNLP 2023, sec. 2. arXiv:2305.13245
    """

    def __init__(self, weights: Weights) -> None:
        config = weights.config
        self.config: DecoderConfig = config
        self._layers = [_Layer(weights, f"model.layers.{index}.") for index in range(config.num_hidden_layers)]
        self._norm = weights.tensors["model.norm.weight"]
        table = "model.embed_tokens.weight"
        self._head = _Linear(weights, table if config.tie_word_embeddings else "lm_head.weight")
        # A tied table is the head's matrix seen from the other side, so it costs no memory of its own.
        self._embedding = self._head.matrix.T if config.tie_word_embeddings else weights.matrix(table)
        half = config.head_dim // 2
        # RoPE, J. Su et al., arXiv:2104.09864, eq. 15, in Hugging Face's layout: i turns with i + head_dim / 2.
        frequencies = config.rope_theta ** (-np.arange(half) / half)
        angles = np.arange(config.max_position_embeddings)[:, None] * frequencies
        self._cos, self._sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    @property
    def name(self) -> str:
        """``numpy_decoder``."""
        return "numpy_decoder"

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights held in memory, all of them float32 [byte]."""
        tied = self.config.tie_word_embeddings
        matrices = self._head.nbytes + (0 if tied else self._embedding.nbytes)
        return matrices + self._norm.nbytes + sum(layer.nbytes for layer in self._layers)

    def new_cache(self, max_tokens: int, *, batch: int = 1, dtype: DTypeLike = np.float32) -> KVCache:
        """Allocate a :class:`KVCache` of this decoder's shape."""
        config = self.config
        return KVCache(
            config.num_hidden_layers, config.num_key_value_heads, config.head_dim, max_tokens, dtype, batch=batch
        )

    def forward(self, ids: ArrayLike, cache: KVCache | None = None, *, last_only: bool = False) -> Float32s:
        """Logits of the token that follows each of ``ids``.

        Parameters
        ----------
        ids : (n,) or (batch, n) int
            New tokens; they follow those in ``cache``.
        cache : KVCache, optional
            Filled with the new tokens. Without it ``ids`` is the whole sequence.
        last_only : bool
            Multiply only the last position by the output matrix.

        Returns
        -------
        (n, vocab) or (batch, n, vocab) float32
            n is 1 with ``last_only``.

        Raises
        ------
        InputError
            No ids, an id outside the vocabulary, more positions than the model has, or another batch than the cache's.
        CacheFullError
            The cache cannot take n more tokens; it is left as it was.
        """
        tokens = self._tokens(ids)
        batch, n = tokens.shape
        start = 0 if cache is None else cache.cursor
        self._require_positions(start + n)
        if cache is not None:
            if cache.batch != batch:
                raise InputError(f"ids hold {batch} sequences, the cache {cache.batch}; allocate it with batch={batch}")
            cache.require(n)
        rotation = self._cos[start : start + n], self._sin[start : start + n]
        x = self._embedding[tokens.ravel()]
        with np.errstate(over="ignore"):  # exp(-x) of a very negative gate is inf, and x / inf the right 0
            for index, layer in enumerate(self._layers):
                x += layer.attention(self.config, index, x, (batch, n), rotation, cache)
                x += layer.feed_forward(self.config, x)
        if last_only:
            x = x.reshape(batch, n, -1)[:, -1]
        logits = self._head(_rms_norm(x, self._norm, self.config.rms_norm_eps))
        return logits if np.ndim(ids) == 1 else logits.reshape(batch, -1, self.config.vocab_size)

    def prefill(self, ids: ArrayLike, cache: KVCache) -> Float32s:
        """Fill ``cache`` with a prompt and return the logits of the next token, (vocab,) or (batch, vocab)."""
        return self.forward(ids, cache, last_only=True)[..., -1, :]

    def decode_step(self, token_id: int | ArrayLike, cache: KVCache) -> Float32s:
        """Append one token to each sequence and return the logits of the next, (vocab,) or (batch, vocab)."""
        ids = np.asarray(token_id)
        return self.forward(ids[..., None], cache)[..., -1, :]

    def generate(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        use_cache: bool = True,
    ) -> Generation:
        """Continue greedily; without the cache each step runs the growing sequence afresh."""
        total = self._total(prompt_ids, max_new_tokens)
        cache = self.new_cache(total) if use_cache else None
        started = time.perf_counter()
        logits = self.forward(prompt_ids, cache, last_only=True)[-1]
        prefilled = time.perf_counter()
        new: list[int] = []
        stopped = False
        while True:
            token = int(logits.argmax())
            if token in stop_ids:
                stopped = True
                break
            new.append(token)
            if len(new) == max_new_tokens:
                break
            logits = self.forward([*prompt_ids, *new] if cache is None else [token], cache, last_only=True)[-1]
        return Generation(
            token_ids=tuple(new),
            prompt_tokens=len(prompt_ids),
            prefill_s=prefilled - started,
            decode_s=time.perf_counter() - prefilled,
            stopped=stopped,
        )

    def logprob(self, ids: Sequence[int], start: int) -> float:
        """Log-probability of ``ids[start:]`` given ``ids[:start]``: a natural logarithm, summed over the tokens."""
        if not 1 <= start < len(ids):
            raise InputError(f"start is {start}; choose 1 to {len(ids) - 1}, so that both parts hold a token")
        logits = self.forward(ids[:-1])[start - 1 :].astype(np.float64)
        chosen = logits[np.arange(len(logits)), np.asarray(ids[start:])]
        peak = logits.max(axis=-1)
        return float((chosen - peak - np.log(np.exp(logits - peak[:, None]).sum(axis=-1))).sum())

    def sample(
        self,
        prompt_ids: Sequence[int],
        n: int,
        *,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        stop_ids: Collection[int] = (),
    ) -> tuple[tuple[int, ...], ...]:
        """Draw ``n`` continuations, all at once; stop tokens are left out. Same seed, same tokens."""
        total = self._total(prompt_ids, max_new_tokens)
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}; it must be above 0, use generate for greedy decoding")
        rng = np.random.default_rng(seed)
        cache = self.new_cache(total, batch=n)
        logits = self.prefill(np.tile(np.asarray(prompt_ids), (n, 1)), cache)
        drawn: list[list[int]] = [[] for _ in range(n)]
        running = set(range(n))
        for step in range(max_new_tokens):
            # Gumbel-max: argmax(logits / T + g) is a draw from softmax(logits / T).
            tokens = (logits / np.float32(temperature) + rng.gumbel(size=logits.shape)).argmax(axis=-1)
            for row in tuple(running):
                if int(tokens[row]) in stop_ids:
                    running.discard(row)
                else:
                    drawn[row].append(int(tokens[row]))
            if not running or step == max_new_tokens - 1:
                break
            logits = self.decode_step(tokens, cache)
        return tuple(tuple(row) for row in drawn)

    def close(self) -> None:
        """Nothing to free; memory goes with the object."""

    def _total(self, prompt_ids: Sequence[int], max_new_tokens: int) -> int:
        """Tokens that a run has in its cache at the end; the last new one is never fed back."""
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}; ask for at least 1")
        if not len(prompt_ids):
            raise InputError("prompt_ids is empty; give at least one token id")
        total = len(prompt_ids) + max_new_tokens - 1
        self._require_positions(total)
        return total

    def _require_positions(self, n: int) -> None:
        if n > self.config.max_position_embeddings:
            raise InputError(
                f"{n} tokens were asked for; config.json's max_position_embeddings is "
                f"{self.config.max_position_embeddings}, shorten the prompt or the answer"
            )

    def _tokens(self, ids: ArrayLike) -> NDArray[np.intp]:
        tokens = np.atleast_2d(np.asarray(ids))
        if tokens.ndim != 2 or tokens.size == 0 or tokens.dtype.kind not in "iu":
            raise InputError(
                f"ids of shape {np.shape(ids)} and type {tokens.dtype}; give at least one integer token id"
            )
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.config.vocab_size:
            raise InputError(
                f"token id {low if low < 0 else high} is outside the vocabulary of {self.config.vocab_size}"
            )
        return tokens.astype(np.intp, copy=False)


class _Linear:
    """Matrices that share an input, side by side: one pass over memory for all of them.

    Held as (in, out): a decode step's vector times that streams at the read bandwidth, while (out, in) reached 60% of
    it with OpenBLAS 0.3.31 on one AVX-512 core (measured 2026-11-21).
    """

    def __init__(self, weights: Weights, *names: str) -> None:
        kinds = {weights.is_int8(name) for name in names}
        if len(kinds) > 1:
            raise InputError(f"{', '.join(names)} mix INT8 and float32; store them in one precision")
        self._int8 = kinds.pop()
        rows = [weights.config.tensor_shapes()[name][0] for name in names]
        self.ends = np.cumsum(rows).tolist()
        self.matrix = np.empty((weights.config.tensor_shapes()[names[0]][1], self.ends[-1]), np.float32)
        self._adapters: list[tuple[slice, Float32s, Float32s]] = []
        for name, size, end in zip(names, rows, self.ends, strict=True):
            columns = slice(end - size, end)
            self.matrix[:, columns] = weights.matrix(name).T
            if weights.adapter is not None and name in weights.adapter.pairs:
                a, b = weights.adapter.pairs[name]
                self._adapters.append((columns, a.T.copy(), b.T * np.float32(weights.adapter.scale)))

    def __call__(self, x: Float32s) -> Float32s:
        y = (_round_q8_0(x) if self._int8 else x) @ self.matrix
        for columns, a, b in self._adapters:
            y[:, columns] += (x @ a) @ b  # LoRA, arXiv:2106.09685, eq. 3
        return y

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes + sum(a.nbytes + b.nbytes for _, a, b in self._adapters)


class _Layer:
    """One block: attention and gated feed-forward, each behind its RMSNorm."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        self._input_norm = weights.tensors[prefix + "input_layernorm.weight"]
        self._post_norm = weights.tensors[prefix + "post_attention_layernorm.weight"]
        self._qkv = _Linear(weights, *(f"{attention}{side}_proj.weight" for side in "qkv"))
        self._out = _Linear(weights, attention + "o_proj.weight")
        self._gate_up = _Linear(weights, mlp + "gate_proj.weight", mlp + "up_proj.weight")
        self._down = _Linear(weights, mlp + "down_proj.weight")

    @property
    def nbytes(self) -> int:
        linear = (self._qkv, self._out, self._gate_up, self._down)
        return self._input_norm.nbytes + self._post_norm.nbytes + sum(matrix.nbytes for matrix in linear)

    def attention(
        self,
        config: DecoderConfig,
        index: int,
        x: Float32s,
        shape: tuple[int, int],
        rotation: tuple[Float32s, Float32s],
        cache: KVCache | None,
    ) -> Float32s:
        q_end, k_end, _ = self._qkv.ends
        qkv = self._qkv(_rms_norm(x, self._input_norm, config.rms_norm_eps))
        heads = (*shape, -1, config.head_dim)
        turned = _rotate(qkv[:, :k_end].reshape(heads), *rotation)
        q, k = turned[:, :, : config.num_attention_heads], turned[:, :, config.num_attention_heads :]
        k, v = k.transpose(0, 2, 1, 3), qkv[:, k_end:].reshape(heads).transpose(0, 2, 1, 3)
        if cache is not None:
            k, v = cache.append(index, k, v)
            k, v = k.astype(np.float32, copy=False), v.astype(np.float32, copy=False)
        return self._out(_attend(q, k, v).reshape(len(x), q_end))

    def feed_forward(self, config: DecoderConfig, x: Float32s) -> Float32s:
        both = self._gate_up(_rms_norm(x, self._post_norm, config.rms_norm_eps))
        gate, up = both[:, : config.intermediate_size], both[:, config.intermediate_size :]
        # SwiGLU, N. Shazeer, arXiv:2002.05202, eq. 6: silu(gate) * up
        silu = np.exp(-gate)
        silu += np.float32(1)
        np.divide(gate, silu, out=silu)
        silu *= up
        return self._down(silu)


def _attend(q: Float32s, k: Float32s, v: Float32s) -> Float32s:
    """Causal grouped-query attention of the last n positions over all of S.

    q : (batch, n, heads, head_dim); k, v : (batch, kv_heads, S, head_dim); returns (batch, n, heads * head_dim).
    """
    batch, n, n_heads, head_dim = q.shape
    kv_heads, seen = k.shape[1], k.shape[2]
    group = n_heads // kv_heads
    q = q * np.float32(head_dim**-0.5)
    out = np.empty((batch, n, n_heads, head_dim), np.float32)
    rows = max(1, SCORE_FLOATS // (batch * n_heads * seen))
    for first in range(0, n, rows):
        last = min(first + rows, n)
        m, visible = last - first, seen - n + last
        block = q[:, first:last].reshape(batch, m, kv_heads, group, head_dim).transpose(0, 2, 3, 1, 4)
        scores = _scores(block.reshape(batch, kv_heads, group * m, head_dim), k[:, :, :visible])
        if m > 1:
            mask = np.triu(np.full((m, m), -np.inf, np.float32), 1)
            scores.reshape(batch, kv_heads, group, m, visible)[..., visible - m :] += mask
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ v[:, :, :visible]).reshape(batch, kv_heads, group, m, head_dim).transpose(0, 3, 1, 2, 4)
        out[:, first:last] = mixed.reshape(batch, m, n_heads, head_dim)
    return out.reshape(batch, n, -1)


def _scores(q: Float32s, k: Float32s) -> Float32s:
    """``q @ k.T`` for each head; (batch, kv_heads, rows, S)."""
    if q.shape[2] > FEW_ROWS:
        return q @ k.swapaxes(2, 3)
    # The same product turned round: OpenBLAS would copy the turned keys for every handful of queries, 4x the time.
    return np.ascontiguousarray((k @ np.ascontiguousarray(q.swapaxes(2, 3))).swapaxes(2, 3))


def _rms_norm(x: Float32s, weight: Float32s, eps: float) -> Float32s:
    # B. Zhang, R. Sennrich, arXiv:1910.07467, eq. 4
    mean_square = np.vecdot(x, x)[:, None] / np.float32(x.shape[1])
    normed: Float32s = x / np.sqrt(mean_square + np.float32(eps))
    normed *= weight
    return normed


def _rotate(x: Float32s, cos: Float32s, sin: Float32s) -> Float32s:
    """Turn each pair (i, i + head_dim / 2) by its position's angle; x : (batch, n, heads, head_dim)."""
    half = x.shape[-1] // 2
    cos, sin = cos[:, None], sin[:, None]
    first, second = x[..., :half], x[..., half:]
    out = np.empty(x.shape, np.float32)
    out[..., :half] = first * cos - second * sin
    out[..., half:] = second * cos + first * sin
    return out


def _round_q8_0(x: Float32s) -> Float32s:
    """Round activations to INT8 blocks and back, as llama.cpp's Q8_0 x Q8_0 product does on x86.

    Differs from the weights' quantiser: halves go to even, and the integers come from the scale before its rounding to
    float16 (``quantize_row_q8_0``, ggml-cpu/arch/x86/quants.c of llama.cpp at 04e1dd75, read 2026-11-21).
    """
    blocks = x.reshape(len(x), -1, INT8_BLOCK)
    peak = np.abs(blocks).max(axis=-1, keepdims=True)
    # A block below 1e-30 comes out as zeros either way: float16 has no such scale.
    values: Float32s = np.rint(blocks * (np.float32(127) / np.maximum(peak, np.float32(1e-30))))
    values *= (peak / np.float32(127)).astype(np.float16).astype(np.float32)
    return values.reshape(x.shape)
