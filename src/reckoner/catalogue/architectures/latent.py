"""Multi-head latent attention with DeepSeek's experts: DeepSeek V2 to V3.2, Kimi K2, GLM-4.7-Flash, GLM-5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reckoner.catalogue.architectures._blocks import Block, Mixer, assemble, dense
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.architectures.decoder import Dialect, ends
from reckoner.catalogue.architectures.moe import fine_grained
from reckoner.catalogue.model import Attention, Latent, Model


def _latent(c: Fields) -> Latent:
    return Latent(
        kv_rank=c.integer("kv_lora_rank"),
        q_rank=c.integer("q_lora_rank") if c.has("q_lora_rank") else None,
        rope_dim=c.integer("qk_rope_head_dim"),
        nope_dim=c.integer("qk_nope_head_dim"),
        value_dim=c.integer("v_head_dim"),
    )


def _attend(c: Fields, hidden: int, latent: Latent) -> Mixer:
    """Weights of latent attention; the cache holds the compressed vector and the rotary part of the keys."""
    n_heads = c.integer("num_attention_heads")
    query = latent.nope_dim + latent.rope_dim
    if latent.q_rank is None:
        weights = hidden * n_heads * query
    else:
        weights = hidden * latent.q_rank + latent.q_rank + latent.q_rank * n_heads * query
    weights += hidden * (latent.kv_rank + latent.rope_dim) + latent.kv_rank
    weights += latent.kv_rank * n_heads * (latent.nope_dim + latent.value_dim)
    weights += n_heads * latent.value_dim * hidden
    if c.has("index_n_heads"):
        # the indexer of sparse attention (DeepSeek-V3.2): queries, one key with its layer norm, head weights
        n_index, width = c.integer("index_n_heads"), c.integer("index_head_dim")
        weights += (latent.q_rank or hidden) * n_index * width + hidden * width + 2 * width + hidden * n_index
    group = Attention(
        n_layers=1,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=query,
        value_dim=latent.value_dim,
        latent_dim=latent.kv_rank + latent.rope_dim,
    )
    return Mixer(weights=weights, attention=group)


def _deepseek(c: Fields, kind: str) -> Model:
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    latent = _latent(c)
    mixer = _attend(c, hidden, latent)
    if c.has("n_routed_experts"):
        ffns = fine_grained(c, hidden, n_layers)
    else:
        ffns = [dense(hidden, c.integer("intermediate_size"))] * n_layers
    blocks = [Block(mixers=(mixer,), ffn=ffn, norm=2 * hidden) for ffn in ffns]
    model = assemble(c, kind, ends(c, Dialect()), blocks, latent)
    return replace(model, note="weights of multi-token prediction are not counted")


BUILDERS: dict[str, Callable[[Fields, str], Model]] = dict.fromkeys(
    ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "kimi_k25", "glm4_moe_lite", "glm_moe_dsa"), _deepseek
)
