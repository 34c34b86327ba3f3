"""Gemma 3n and Gemma 4: layers of two head widths, shared caches, embeddings per layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reckoner.catalogue.architectures._blocks import Block, Ends, Ffn, assemble, attend, dense, mlp, routed
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.architectures.moe import active
from reckoner.catalogue.model import Model


def _kinds(c: Fields, n_layers: int, period: int) -> list[bool]:
    """Whether each layer sees everything."""
    names = c.words("layer_types")
    if names is None:
        return [(i + 1) % period == 0 for i in range(n_layers)]
    if len(names) != n_layers:
        raise c.fail(f"layer_types has {len(names)} entries for {n_layers} layers; give one a layer")
    return ["full" in name for name in names]


def _width(c: Fields) -> int:
    """Inner width of the MLP, which a Gemma 3n file may list for each layer."""
    given = c.raw.get("intermediate_size")
    if isinstance(given, list):
        values = c.integers("intermediate_size") or []
        if len(set(values)) != 1:
            raise c.fail("intermediate_size differs between layers; one value is supported")
        return Fields({"intermediate_size": values[0]}, c.where).integer("intermediate_size")
    return c.integer("intermediate_size")


def _gemma3n(c: Fields, kind: str) -> Model:
    """Gemma 3n: AltUp streams, LAuReL, an embedding for each layer; the last layers share earlier caches."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    streams, rank = c.integer("altup_num_inputs", default=4), c.integer("laurel_rank", default=64)
    narrow = c.integer("hidden_size_per_layer_input", default=256)
    n_sharing = c.integer("num_kv_shared_layers", default=0, minimum=0)
    window = c.integer("sliding_window", default=512)
    altup = streams**2 + streams**3 + streams * hidden + 2 * hidden  # coefficients, router, its norm, output scale
    laurel = 2 * hidden * rank + hidden
    per_layer = 2 * hidden * narrow + hidden
    ffn = dense(hidden, _width(c), extra=altup + laurel + per_layer)
    blocks = []
    for i, full in enumerate(_kinds(c, n_layers, 5)):
        mix = attend(hidden, (n_heads, n_kv, width), window=None if full else window, extra=2 * width)
        if i >= n_layers - n_sharing and mix.attention is not None:
            mix = replace(mix, attention=replace(mix.attention, stores=False))
        blocks.append(Block(mixers=(mix,), ffn=ffn, norm=4 * hidden))
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=True,
        norm=hidden + narrow,
        embedding_extra=c.integer("vocab_size_per_layer_input", default=262144) * n_layers * narrow,
        streams=hidden * n_layers * narrow + 2 * (streams - 1) * hidden * hidden,
    )
    return assemble(c, kind, end, blocks)


def _gemma4(c: Fields, kind: str) -> Model:
    """Gemma 4 without embeddings per layer: wide heads where a layer sees everything, keys that serve as values."""
    if c.integer("hidden_size_per_layer_input", default=0, minimum=0):
        raise c.fail("hidden_size_per_layer_input is set; of Gemma 4 only the models without it are supported")
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    wide = c.integer("global_head_dim", default=width)
    n_wide = c.kv_heads(n_heads, "num_global_key_value_heads") if c.has("num_global_key_value_heads") else n_kv
    local = attend(hidden, (n_heads, n_kv, width), window=c.integer("sliding_window"), extra=2 * width)
    shared = c.flag("attention_k_eq_v", default=False)
    globe = attend(hidden, (n_heads, n_wide, wide), extra=2 * wide - (hidden * n_wide * wide if shared else 0))
    inner = c.integer("intermediate_size")
    # a scalar scales each layer
    norm = 4 * hidden + 1
    if c.flag("enable_moe_block", default=False):
        n_experts = c.integer("num_experts")
        ffn: Ffn = replace(
            routed(
                hidden,
                c.integer("moe_intermediate_size", "expert_intermediate_size"),
                n_experts,
                active(c, n_experts, "top_k_experts", "num_experts_per_tok"),
                router=hidden * n_experts + hidden + n_experts,
            ),
            mlp=mlp(hidden, inner),
            width=inner,
        )
        norm += 3 * hidden
    else:
        ffn = dense(hidden, inner)
    blocks = [Block(mixers=(globe if full else local,), ffn=ffn, norm=norm) for full in _kinds(c, n_layers, 6)]
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=True, norm=hidden)
    return assemble(c, kind, end, blocks)


BUILDERS: dict[str, Callable[[Fields, str], Model]] = {"gemma3n_text": _gemma3n, "gemma4_text": _gemma4}
