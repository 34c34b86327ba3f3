"""Recurrent layers and hybrids: Mamba, Mamba-2, Jamba, Bamba, Granite 4, Nemotron-H, Qwen3-Next and Qwen3.5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reckoner.catalogue.architectures._blocks import (
    Block,
    Ends,
    Ffn,
    Mixer,
    assemble,
    attend,
    dense,
    mlp,
    routed,
)
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.architectures.decoder import Dialect, ends, mixer
from reckoner.catalogue.architectures.moe import active, qwen_ffn
from reckoner.catalogue.model import Model, State


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """Sizes of a state-space mixer."""

    inner: int
    state: int
    kernel: int
    conv_bias: bool
    proj_bias: bool = False


def _mamba1(hidden: int, scan: _Scan, rank: int, *, inner_norms: bool = False) -> Mixer:
    """Mamba's mixer; arXiv:2312.00752, sec. 3.4."""
    weights = hidden * 2 * scan.inner + (2 * scan.inner if scan.proj_bias else 0)
    weights += scan.inner * scan.kernel + (scan.inner if scan.conv_bias else 0)
    weights += scan.inner * (rank + 2 * scan.state)
    weights += rank * scan.inner + scan.inner  # step size, biased
    weights += scan.inner * scan.state + scan.inner  # A and D
    weights += scan.inner * hidden + (hidden if scan.proj_bias else 0)
    weights += rank + 2 * scan.state if inner_norms else 0
    state = State(
        n_layers=1,
        elements_per_layer=scan.inner * scan.state,
        conv_elements_per_layer=scan.inner * (scan.kernel - 1),
        kind="mamba",
    )
    return Mixer(weights=weights, state=state)


def _mamba2(hidden: int, scan: _Scan, n_heads: int, n_groups: int) -> Mixer:
    """Mamba-2's mixer; arXiv:2405.21060, sec. 7."""
    conv = scan.inner + 2 * n_groups * scan.state
    projected = scan.inner + conv + n_heads
    weights = hidden * projected + (projected if scan.proj_bias else 0)
    weights += conv * scan.kernel + (conv if scan.conv_bias else 0)
    weights += 3 * n_heads + scan.inner  # A, D, step bias; gated norm
    weights += scan.inner * hidden + (hidden if scan.proj_bias else 0)
    state = State(
        n_layers=1,
        elements_per_layer=scan.inner * scan.state,
        conv_elements_per_layer=conv * (scan.kernel - 1),
        kind="mamba2",
    )
    return Mixer(weights=weights, state=state)


def _mamba(c: Fields, kind: str) -> Model:
    hidden, n_layers = c.integer("hidden_size", "d_model"), c.layers("num_hidden_layers", "n_layer")
    inner = c.integer("intermediate_size", default=c.integer("expand", default=2) * hidden)
    state = c.integer("state_size", default=128 if kind == "mamba2" else 16)
    kernel = c.integer("conv_kernel", default=4)
    scan = _Scan(
        inner=inner,
        state=state,
        kernel=kernel,
        conv_bias=c.flag("use_conv_bias", default=True),
        proj_bias=c.flag("use_bias", default=False),
    )
    if kind == "mamba2":
        width = c.integer("head_dim", default=64)
        n_heads = c.integer("num_heads", default=inner // width)
        if n_heads * width != inner:
            raise c.fail(f"num_heads {n_heads} x head_dim {width} is not the inner width {inner}")
        mix = _mamba2(hidden, scan, n_heads, c.integer("n_groups", default=8))
    else:
        given = c.raw.get("time_step_rank")
        rank = -(-hidden // 16) if given in (None, "auto") else c.integer("time_step_rank")
        mix = _mamba1(hidden, scan, rank)
    vocab = c.integer("vocab_size")
    pad = c.integer("pad_vocab_size_multiple", default=1)
    tied = c.flag("tie_word_embeddings", "tie_embeddings", default=kind == "mamba")
    end = Ends(hidden=hidden, vocab=-(-vocab // pad) * pad, tied=tied, norm=hidden)
    return assemble(c, kind, end, [Block(mixers=(mix,), norm=hidden)] * n_layers)


def _jamba(c: Fields, kind: str) -> Model:
    """Jamba: one attention layer in eight, experts in every second; arXiv:2403.19887."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    scan = _Scan(
        inner=c.integer("mamba_expand", default=2) * hidden,
        state=c.integer("mamba_d_state", default=16),
        kernel=c.integer("mamba_d_conv", default=4),
        conv_bias=c.flag("mamba_conv_bias", default=True),
        proj_bias=c.flag("mamba_proj_bias", default=False),
    )
    given = c.raw.get("mamba_dt_rank")
    rank = -(-hidden // 16) if given in (None, "auto") else c.integer("mamba_dt_rank")
    recurrent = _mamba1(hidden, scan, rank, inner_norms=True)
    attention = mixer(c, hidden, Dialect(), None)
    width, n_experts = c.integer("intermediate_size"), c.integer("num_experts", default=16)
    plain = dense(hidden, width)
    sparse = routed(hidden, width, n_experts, active(c, n_experts, "num_experts_per_tok")) if n_experts > 1 else plain
    a_step, a_at = c.integer("attn_layer_period", default=8), c.integer("attn_layer_offset", default=4, minimum=0)
    e_step, e_at = c.integer("expert_layer_period", default=2), c.integer("expert_layer_offset", default=1, minimum=0)
    blocks = [
        Block(
            mixers=(attention if i % a_step == a_at else recurrent,),
            ffn=sparse if i % e_step == e_at else plain,
            norm=2 * hidden,
        )
        for i in range(n_layers)
    ]
    return assemble(c, kind, ends(c, Dialect()), blocks)


def _prefixed_mamba2(c: Fields, hidden: int) -> Mixer:
    """Mamba-2 inside a hybrid, whose fields begin with ``mamba_``."""
    inner = c.integer("mamba_expand", default=2) * hidden
    scan = _Scan(
        inner=inner,
        state=c.integer("mamba_d_state", default=128),
        kernel=c.integer("mamba_d_conv", default=4),
        conv_bias=c.flag("mamba_conv_bias", default=True),
        proj_bias=c.flag("mamba_proj_bias", default=False),
    )
    return _mamba2(hidden, scan, c.integer("mamba_n_heads"), c.integer("mamba_n_groups", default=1))


def _bamba(c: Fields, kind: str) -> Model:
    """Bamba and Granite 4 hybrids: Mamba-2 with a few attention layers; Granite adds experts and a shared MLP."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    if kind == "bamba":
        attending = set(c.integers("attn_layer_indices") or [])
        ffn = dense(hidden, c.integer("intermediate_size"))
    else:
        kinds = c.words("layer_types") or c.words("layers_block_type") or []
        if len(kinds) != n_layers:
            raise c.fail(f"layer_types has {len(kinds)} entries for {n_layers} layers; give one a layer")
        attending = {i for i, name in enumerate(kinds) if name == "attention"}
        shared = mlp(hidden, c.integer("shared_intermediate_size"))
        n_experts = c.integer("num_local_experts", default=0, minimum=0)
        if n_experts:
            chosen = active(c, n_experts, "num_experts_per_tok")
            ffn = routed(hidden, c.integer("intermediate_size"), n_experts, chosen, shared=shared)
        else:
            ffn = Ffn(mlp=shared, width=c.integer("shared_intermediate_size"))
    attention = mixer(c, hidden, Dialect(), None)
    recurrent = _prefixed_mamba2(c, hidden) if len(attending) < n_layers else attention
    blocks = [
        Block(mixers=(attention if i in attending else recurrent,), ffn=ffn, norm=2 * hidden) for i in range(n_layers)
    ]
    return assemble(c, kind, ends(c, Dialect(tied=kind != "bamba")), blocks)


def _nemotron_h(c: Fields, kind: str) -> Model:
    """Nemotron-H: each layer is one thing, spelt M (Mamba-2), * (attention), - (MLP) or E (experts)."""
    hidden = c.integer("hidden_size")
    pattern = c.raw.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or not pattern or not set(pattern) <= set("M*-E"):
        raise c.fail(f"hybrid_override_pattern is {pattern!r}; it must be a string of M, *, - and E")
    n_layers = c.layers()
    if len(pattern) != n_layers:
        raise c.fail(f"hybrid_override_pattern has {len(pattern)} letters for {n_layers} layers")
    block_of: dict[str, Block] = {}
    for letter in sorted(set(pattern)):
        if letter == "M":
            inner = c.integer("mamba_num_heads") * c.integer("mamba_head_dim")
            scan = _Scan(
                inner=inner,
                state=c.integer("ssm_state_size"),
                kernel=c.integer("conv_kernel", default=4),
                conv_bias=c.flag("use_conv_bias", default=True),
                proj_bias=c.flag("mamba_proj_bias", default=False),
            )
            mix = _mamba2(hidden, scan, c.integer("mamba_num_heads"), c.integer("n_groups"))
            block_of[letter] = Block(mixers=(mix,), norm=hidden)
        elif letter == "*":
            n_heads, width = c.heads(hidden)
            block_of[letter] = Block(mixers=(attend(hidden, (n_heads, c.kv_heads(n_heads), width)),), norm=hidden)
        elif letter == "-":
            block_of[letter] = Block(ffn=dense(hidden, c.integer("intermediate_size"), gated=False), norm=hidden)
        else:
            n_experts, width = c.integer("n_routed_experts"), c.integer("moe_intermediate_size")
            shared = c.integer("moe_shared_expert_intermediate_size", default=0, minimum=0)
            # Nemotron 3 Super routes in a narrower space, reached by one projection down and one up
            inside = c.integer("moe_latent_size", default=hidden)
            down_up = 2 * hidden * inside if inside != hidden else 0
            ffn = routed(
                hidden,
                width,
                n_experts,
                active(c, n_experts, "num_experts_per_tok"),
                router=hidden * n_experts + n_experts,
                shared=(mlp(hidden, shared, gated=False) if shared else 0) + down_up,
                each=mlp(inside, width, gated=False),
            )
            block_of[letter] = Block(ffn=ffn, norm=hidden)
    return assemble(c, kind, ends(c, Dialect()), [block_of[letter] for letter in pattern])


def _rwkv4(c: Fields, kind: str) -> Model:
    """RWKV-4: time mixing with four square projections, channel mixing with a squared ReLU; arXiv:2305.13048."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    inner = c.integer("attention_hidden_size", default=hidden)
    width = c.integer("intermediate_size", default=4 * hidden)
    # decay and first-token bonus of the inner width, three interpolation vectors
    time = Mixer(
        weights=4 * hidden * inner + 2 * inner + 3 * hidden,
        # numerator, denominator and running maximum; the last token for each of the two mixings
        state=State(n_layers=1, elements_per_layer=3 * inner, conv_elements_per_layer=2 * hidden, kind="rwkv4"),
    )
    channel = Ffn(mlp=2 * hidden * width + hidden * hidden + 2 * hidden, width=width)
    block = Block(mixers=(time,), ffn=channel, norm=4 * hidden)
    vocab, tied = c.integer("vocab_size"), c.flag("tie_word_embeddings", default=False)
    # one more norm before the first layer
    end = Ends(hidden=hidden, vocab=vocab, tied=tied, norm=4 * hidden)
    return assemble(c, kind, end, [block] * n_layers)


def _delta(c: Fields, hidden: int) -> Mixer:
    """Gated delta rule of Qwen3-Next: queries and keys of one width, values and output gate of another."""
    n_keys, n_values = c.integer("linear_num_key_heads"), c.integer("linear_num_value_heads")
    key_width, value_width = c.integer("linear_key_head_dim"), c.integer("linear_value_head_dim")
    keys, values = n_keys * key_width, n_values * value_width
    kernel = c.integer("linear_conv_kernel_dim", default=4)
    conv = 2 * keys + values
    weights = hidden * (2 * keys + 2 * values) + hidden * 2 * n_values + conv * kernel
    weights += 2 * n_values + value_width + values * hidden
    state = State(
        n_layers=1,
        elements_per_layer=n_values * key_width * value_width,
        conv_elements_per_layer=conv * (kernel - 1),
        kind="gated_delta",
    )
    return Mixer(weights=weights, state=state)


def _qwen3_next(c: Fields, kind: str) -> Model:
    """Qwen3-Next and Qwen3.5: three gated delta layers to one of gated attention."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    # queries are projected together with an output gate of their own size; query and key norms of one head
    full = attend(hidden, (n_heads, n_kv, width), extra=hidden * n_heads * width + 2 * width)
    linear = _delta(c, hidden)
    kinds = c.words("layer_types")
    interval = c.integer("full_attention_interval", default=4)
    if kinds is None:
        kinds = ["full_attention" if (i + 1) % interval == 0 else "linear_attention" for i in range(n_layers)]
    if len(kinds) != n_layers:
        raise c.fail(f"layer_types has {len(kinds)} entries for {n_layers} layers; give one a layer")
    ffns = (
        qwen_ffn(c, hidden, n_layers)
        if c.has("num_experts")
        else [dense(hidden, c.integer("intermediate_size"))] * n_layers
    )
    blocks = [
        Block(mixers=(full if name == "full_attention" else linear,), ffn=ffn, norm=2 * hidden)
        for name, ffn in zip(kinds, ffns, strict=True)
    ]
    return assemble(c, kind, ends(c, Dialect()), blocks)


BUILDERS: dict[str, Callable[[Fields, str], Model]] = {
    **dict.fromkeys(("mamba", "falcon_mamba", "mamba2"), _mamba),
    "jamba": _jamba,
    **dict.fromkeys(("bamba", "granitemoehybrid"), _bamba),
    "nemotron_h": _nemotron_h,
    "rwkv": _rwkv4,
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _qwen3_next),
}
