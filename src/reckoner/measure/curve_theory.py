"""What a decode step should take with and without a cache, from sizes and two rates of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from reckoner.measure.subjects import ModelInfo
from reckoner.physics import kvcache, transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class Theory:
    """What the laws' coefficients should be, from sizes and two rates measured in the same run.

    Attributes
    ----------
    copy_bytes_per_s, gemm_flop_per_s : float
        Median rates of a large copy (read and written bytes) and of a float32 matrix product, one thread.
    weight_ms : float
        Weight bytes over the copy bandwidth; alpha is this and the overhead. [ms]
    head_ms : float
        Arithmetic of the output matrix, which only the last position meets, over the matrix-product rate. [ms]
    overhead_ms : float
        The fitted alpha less ``weight_ms``; negative when weights come out of a cache faster than a copy moves. [ms]
    beta_ms_per_token : float
        Cache bytes of a token over the copy bandwidth. [ms/token]
    b_ms_per_token, c_ms_per_token2 : float
        Linear and quadratic part of the arithmetic without a cache, over the matrix-product rate.
    quadratic_overtakes_s : float
        Context at which the quadratic part of the arithmetic becomes the larger one. [token]
    """

    copy_bytes_per_s: float
    gemm_flop_per_s: float
    weight_ms: float
    head_ms: float
    overhead_ms: float
    beta_ms_per_token: float
    b_ms_per_token: float
    c_ms_per_token2: float
    quadratic_overtakes_s: float

    def with_cache_ms(self, s: int) -> float:
        """One step at context ``s``: weights and the cache so far, streamed. [ms]."""
        return self.weight_ms + self.beta_ms_per_token * s

    def without_cache_ms(self, s: int) -> float:
        """The same step without: ``s + 1`` tokens of arithmetic, or one stream of the weights where that is longer."""
        tokens = s + 1
        arithmetic = self.head_ms + self.b_ms_per_token * tokens + self.c_ms_per_token2 * tokens**2
        return max(arithmetic, self.weight_ms)  # the roofline: transfers and arithmetic overlap


def theory_of(model: ModelInfo, *, copy_bytes_per_s: float, gemm_flop_per_s: float, alpha_ms: float) -> Theory:
    """Theory beside the laws of ``model``; ``alpha_ms`` is the fitted constant, of which the rest is overhead."""
    layer = transformer.attention_params(
        model.hidden, model.n_heads, model.n_kv_heads, model.head_dim
    ) + transformer.mlp_params(model.hidden, model.ffn)
    kv = kvcache.bytes_per_token(model.n_layers, model.n_kv_heads, model.head_dim, model.kv_bytes_per_element)
    b = float(transformer.linear_flops(model.n_layers * layer)) / gemm_flop_per_s
    # Unmasked, as the seed's 4 L S^2 d: a dense block of scores is computed whole and masked afterwards.
    c = float(transformer.attention_flops(model.n_layers, model.n_heads, model.head_dim, 1.0)) / gemm_flop_per_s
    weight_ms = 1e3 * model.read_bytes / copy_bytes_per_s
    return Theory(
        copy_bytes_per_s=copy_bytes_per_s,
        gemm_flop_per_s=gemm_flop_per_s,
        weight_ms=weight_ms,
        head_ms=1e3 * float(transformer.linear_flops(model.hidden * model.vocab)) / gemm_flop_per_s,
        overhead_ms=alpha_ms - weight_ms,
        beta_ms_per_token=1e3 * float(kv) / copy_bytes_per_s,
        b_ms_per_token=1e3 * b,
        c_ms_per_token2=1e3 * c,
        quadratic_overtakes_s=b / c,
    )
