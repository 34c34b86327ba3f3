"""Mixtures of experts over ordinary attention: Mixtral, Qwen MoE, gpt-oss, Llama 4, DBRX, GLM-4.5, MiniMax and kin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reckoner.catalogue.architectures._blocks import (
    Block,
    Ends,
    Ffn,
    assemble,
    attend,
    dense,
    mlp,
    routed,
)
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.architectures.decoder import Dialect, ends, mixer, windows
from reckoner.catalogue.model import Model


def active(c: Fields, n_experts: int, *keys: str) -> int:
    """Experts that a token visits, at most all of them."""
    given = c.raw.get(keys[0])
    if isinstance(given, list):
        # Hunyuan lists one value a layer
        c = Fields({keys[0]: _same(c, keys[0])}, c.where)
    n_active = c.integer(*keys)
    if n_active > n_experts:
        raise c.fail(f"{keys[0]} is {n_active}, more than the {n_experts} experts of a layer")
    return n_active


def _same(c: Fields, key: str) -> int:
    values = c.integers(key) or []
    if len(set(values)) != 1:
        raise c.fail(f"{key} is {values}; layers with different values are not supported")
    return values[0]


def _uniform(c: Fields, kind: str, dialect: Dialect, ffn: Ffn, n_final: Ends | None = None) -> Model:
    """Every layer routes."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    norm = dialect.norms * dialect.norm_width * hidden
    blocks = [
        Block(mixers=(mixer(c, hidden, dialect, window),), ffn=ffn, norm=norm)
        for window in windows(c, n_layers, dialect)
    ]
    return assemble(c, kind, n_final or ends(c, dialect), blocks)


def _mixtral(c: Fields, kind: str) -> Model:
    """Mixtral, OLMoE, Granite MoE and MiniMax M2 differ in attention only."""
    dialect = {
        "mixtral": Dialect(window_all=True),
        "olmoe": Dialect(qk_norm="heads"),
        "granitemoe": Dialect(tied=True),
        "minimax_m2": Dialect(qk_norm="heads"),
    }[kind]
    hidden = c.integer("hidden_size")
    n_experts = c.integer("num_local_experts", "num_experts")
    biased = n_experts if kind == "minimax_m2" else 0  # its router corrects each expert's score
    ffn = routed(
        hidden,
        c.integer("intermediate_size"),
        n_experts,
        active(c, n_experts, "num_experts_per_tok"),
        router=hidden * n_experts + biased,
    )
    return _uniform(c, kind, dialect, ffn)


def _phimoe(c: Fields, kind: str) -> Model:
    """Phi-3.5-MoE: biased attention and head, layer norms with bias."""
    hidden = c.integer("hidden_size")
    n_experts = c.integer("num_local_experts")
    ffn = routed(hidden, c.integer("intermediate_size"), n_experts, active(c, n_experts, "num_experts_per_tok"))
    dialect = Dialect(norm_width=2, window_all=True)
    end = replace(ends(c, dialect), head_bias=c.flag("lm_head_bias", default=False))
    return _uniform(c, kind, dialect, ffn, end)


def qwen_ffn(c: Fields, hidden: int, n_layers: int) -> list[Ffn]:
    """Feed-forward of each layer of a Qwen MoE: ``mlp_only_layers`` and every layer off the step stay dense."""
    n_experts = c.integer("num_experts")
    shared_width = c.integer("shared_expert_intermediate_size", default=0, minimum=0)
    # the shared expert has a gate of one score
    shared = mlp(hidden, shared_width) + hidden if shared_width else 0
    sparse = routed(
        hidden,
        c.integer("moe_intermediate_size"),
        n_experts,
        active(c, n_experts, "num_experts_per_tok"),
        shared=shared,
    )
    step = c.integer("decoder_sparse_step", default=1)
    only = set(c.integers("mlp_only_layers") or [])
    every = []
    for i in range(n_layers):
        if i in only or (i + 1) % step:
            every.append(dense(hidden, c.integer("intermediate_size")))
        else:
            every.append(sparse)
    return every


def _qwen_moe(c: Fields, kind: str) -> Model:
    dialect = Dialect(qkv_bias=True) if kind == "qwen2_moe" else Dialect(qk_norm="head")
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    blocks = [
        Block(mixers=(mixer(c, hidden, dialect, window),), ffn=ffn, norm=2 * hidden)
        for window, ffn in zip(windows(c, n_layers, dialect), qwen_ffn(c, hidden, n_layers), strict=True)
    ]
    return assemble(c, kind, ends(c, dialect), blocks)


def _gpt_oss(c: Fields, kind: str) -> Model:
    """gpt-oss: biases everywhere, one attention sink a head, every other layer through a window."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    n_experts, inner = c.integer("num_local_experts"), c.integer("intermediate_size")
    ffn = routed(
        hidden,
        inner,
        n_experts,
        active(c, n_experts, "num_experts_per_tok", "experts_per_token"),
        router=hidden * n_experts + n_experts,
        each=mlp(hidden, inner, bias=True),
    )
    blocks = [
        Block(
            mixers=(
                attend(hidden, (n_heads, n_kv, width), window=window, qkv_bias=True, out_bias=True, extra=n_heads),
            ),
            ffn=ffn,
            norm=2 * hidden,
        )
        for window in windows(c, n_layers, Dialect(period=2))
    ]
    return assemble(c, kind, ends(c, Dialect()), blocks)


def _llama4(c: Fields, kind: str) -> Model:
    """Llama 4: one routed and one shared expert a token; three of four layers attend inside a chunk."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    heads = (n_heads, c.kv_heads(n_heads), width)
    n_experts, inner = c.integer("num_local_experts"), c.integer("intermediate_size")
    sparse = routed(hidden, inner, n_experts, active(c, n_experts, "num_experts_per_tok"), shared=mlp(hidden, inner))
    step = c.integer("interleave_moe_layer_step", default=1)
    moe = c.integers("moe_layers")
    chosen = set(moe) if moe is not None else {i for i in range(n_layers) if (i + 1) % step == 0}
    rope = c.integers("no_rope_layers") or [int((i + 1) % 4 != 0) for i in range(n_layers)]
    if len(rope) != n_layers:
        raise c.fail(f"no_rope_layers has {len(rope)} entries for {n_layers} layers; give one a layer")
    chunk = c.integer("attention_chunk_size", default=8192)
    blocks = []
    for i in range(n_layers):
        ffn = sparse if i in chosen else dense(hidden, c.integer("intermediate_size_mlp"))
        attention = attend(hidden, heads, window=chunk if rope[i] else None)
        blocks.append(Block(mixers=(attention,), ffn=ffn, norm=2 * hidden))
    return assemble(c, kind, ends(c, Dialect()), blocks)


def _dbrx(c: Fields, kind: str) -> Model:
    """DBRX: norms without bias, fine-grained experts."""
    hidden, n_heads, n_layers = c.integer("d_model"), c.integer("n_heads"), c.layers("n_layers")
    if hidden % n_heads:
        raise c.fail(f"d_model {hidden} is not divisible by {n_heads} heads")
    experts = c.part("ffn_config")
    n_experts = experts.integer("moe_num_experts")
    ffn = routed(hidden, experts.integer("ffn_hidden_size"), n_experts, active(experts, n_experts, "moe_top_k"))
    heads = (n_heads, c.part("attn_config").kv_heads(n_heads, "kv_n_heads"), hidden // n_heads)
    block = Block(mixers=(attend(hidden, heads),), ffn=ffn, norm=2 * hidden)
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=False, norm=hidden)
    return assemble(c, kind, end, [block] * n_layers)


def _hunyuan(c: Fields, kind: str) -> Model:
    """Hunyuan A13B: query-key norms, one always-on expert beside the routed ones."""
    dialect = Dialect(qk_norm="head" if c.flag("use_qk_norm", default=True) else "", tied=True)
    hidden = c.integer("hidden_size")
    n_experts = c.integer("num_experts")
    inner = (
        _same(c, "moe_intermediate_size")
        if isinstance(c.raw.get("moe_intermediate_size"), list)
        else c.integer("moe_intermediate_size", "intermediate_size")
    )
    n_shared = (
        _same(c, "num_shared_expert")
        if isinstance(c.raw.get("num_shared_expert"), list)
        else c.integer("num_shared_expert", default=0, minimum=0)
    )
    ffn = routed(
        hidden,
        inner,
        n_experts,
        active(c, n_experts, "moe_topk"),
        shared=mlp(hidden, inner * n_shared) if n_shared else 0,
    )
    return _uniform(c, kind, dialect, ffn)


def fine_grained(c: Fields, hidden: int, n_layers: int) -> list[Ffn]:
    """DeepSeek's layout: the first layers dense, then routed and shared experts of one width."""
    n_experts = c.integer("n_routed_experts", "num_experts")
    inner = c.integer("moe_intermediate_size")
    n_shared = c.integer("n_shared_experts", "num_shared_experts", default=0, minimum=0)
    corrected = c.raw.get("topk_method") == "noaux_tc" or c.raw.get("scoring_func") == "sigmoid"
    corrected = corrected or c.raw.get("model_type") in {"dots1", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa"}
    sparse = routed(
        hidden,
        inner,
        n_experts,
        active(c, n_experts, "num_experts_per_tok"),
        router=hidden * n_experts + (n_experts if corrected else 0),
        shared=mlp(hidden, inner * n_shared) if n_shared else 0,
    )
    first = c.integer("first_k_dense_replace", default=0, minimum=0)
    step = c.integer("moe_layer_freq", default=1)
    return [
        sparse if i >= first and i % step == 0 else dense(hidden, c.integer("intermediate_size"))
        for i in range(n_layers)
    ]


def _fine_grained(c: Fields, kind: str) -> Model:
    """dots.llm1 and GLM-4.5: DeepSeek's experts over grouped-query attention."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    qk_norm = "head" if kind == "dots1" or c.flag("use_qk_norm", default=False) else ""
    dialect = Dialect(
        qk_norm=qk_norm, qkv_bias=kind == "glm4_moe" and c.flag("attention_bias", default=False), bias_keys=()
    )
    blocks = [
        Block(mixers=(mixer(c, hidden, dialect, None),), ffn=ffn, norm=2 * hidden)
        for ffn in fine_grained(c, hidden, n_layers)
    ]
    return assemble(c, kind, ends(c, dialect), blocks)


BUILDERS: dict[str, Callable[[Fields, str], Model]] = {
    **dict.fromkeys(("mixtral", "olmoe", "granitemoe", "minimax_m2"), _mixtral),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text", "qwen3_omni_moe_text"), _qwen_moe),
    **dict.fromkeys(("dots1", "glm4_moe"), _fine_grained),
    "phimoe": _phimoe,
    "gpt_oss": _gpt_oss,
    "llama4_text": _llama4,
    "dbrx": _dbrx,
    "hunyuan_v1_moe": _hunyuan,
}
