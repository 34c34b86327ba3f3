"""Decoders of the GPT kind: layer norms with bias, plain MLP, each family with its own names of the fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reckoner.catalogue.architectures._blocks import Block, Ends, assemble, attend, dense
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.model import Model


def _even(c: Fields, hidden: int, n_heads: int) -> int:
    """Width of a head where the configuration never states one."""
    if hidden % n_heads:
        raise c.fail(f"hidden size {hidden} is not divisible by {n_heads} attention heads")
    return hidden // n_heads


def _gpt2(c: Fields, kind: str) -> Model:
    hidden, n_heads, n_layers = c.integer("n_embd"), c.integer("n_head"), c.layers("n_layer")
    n_kv = 1 if kind == "gpt_bigcode" and c.flag("multi_query", default=True) else n_heads
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, _even(c, hidden, n_heads)), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, c.integer("n_inner", default=4 * hidden), gated=False, bias=True),
        norm=4 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=True),
        norm=2 * hidden,
        position=c.integer("n_positions", "n_ctx") * hidden,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _gptj(c: Fields, kind: str) -> Model:
    """GPT-J and CodeGen: parallel residual with one norm, no bias in attention, a biased head."""
    hidden, n_heads, n_layers = c.integer("n_embd"), c.integer("n_head"), c.layers("n_layer")
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, _even(c, hidden, n_heads))),),
        ffn=dense(hidden, c.integer("n_inner", default=4 * hidden), gated=False, bias=True),
        norm=2 * hidden,
    )
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=False, norm=2 * hidden, head_bias=True)
    return assemble(c, kind, end, [block] * n_layers)


def _gpt_neo(c: Fields, kind: str) -> Model:
    """GPT-Neo: biased output but not query, key or value; layers alternate global and local attention."""
    hidden, n_heads, n_layers = c.integer("hidden_size"), c.integer("num_heads"), c.layers("num_layers")
    heads = (n_heads, n_heads, _even(c, hidden, n_heads))
    ffn = dense(hidden, c.integer("intermediate_size", default=4 * hidden), gated=False, bias=True)
    local = c.integer("window_size", default=256)
    blocks = [
        Block(
            mixers=(attend(hidden, heads, out_bias=True, window=local if kind_of == "local" else None),),
            ffn=ffn,
            norm=4 * hidden,
        )
        for kind_of in _neo_kinds(c, n_layers)
    ]
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=True),
        norm=2 * hidden,
        position=c.integer("max_position_embeddings") * hidden,
    )
    return assemble(c, kind, end, blocks)


def _neo_kinds(c: Fields, n_layers: int) -> Sequence[str]:
    given = c.raw.get("attention_types")
    if given is None:
        return [("global", "local")[i % 2] for i in range(n_layers)]
    try:
        # cut just above the depth: too many are still refused below, but a typing error cannot fill the memory
        kinds = [kind for names, times in given for kind in list(names) * min(times, n_layers + 1)]
    except (TypeError, ValueError):
        kinds = []
    if len(kinds) != n_layers or not set(kinds) <= {"global", "local"}:
        raise c.fail(f"attention_types is {given!r}; it must name 'global' or 'local' for each of {n_layers} layers")
    return kinds


def _gpt_neox(c: Fields, kind: str) -> Model:
    """GPT-NeoX, Pythia, Dolly, RedPajama, StableLM alpha."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    bias = c.flag("attention_bias", default=True)
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, width), qkv_bias=bias, out_bias=bias),),
        ffn=dense(hidden, c.integer("intermediate_size"), gated=False, bias=True),
        norm=4 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=False),
        norm=2 * hidden,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _falcon(c: Fields, kind: str) -> Model:
    hidden, n_layers = c.integer("hidden_size", "n_embed"), c.layers("num_hidden_layers", "n_layer")
    n_heads, width = c.heads(hidden, "num_attention_heads", "n_head")
    new = c.flag("new_decoder_architecture", default=False)
    n_kv = n_heads
    if new:
        n_kv = c.integer("num_kv_heads", "n_head_kv", default=n_heads)
    elif c.flag("multi_query", default=True):
        n_kv = 1
    if n_heads % n_kv:
        raise c.fail(f"num_kv_heads is {n_kv}, which does not divide {n_heads} attention heads")
    bias = c.flag("bias", default=False)
    # a parallel block has one norm, the 40B and 180B's own form two
    norms = 2 if new and c.integer("num_ln_in_parallel_attn", default=2) == 2 else 1
    if not new and not c.flag("parallel_attn", default=True):
        norms = 2
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, width), qkv_bias=bias, out_bias=bias),),
        ffn=dense(hidden, c.integer("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias),
        norm=norms * 2 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=True),
        norm=2 * hidden,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _mpt(c: Fields, kind: str) -> Model:
    hidden, n_heads, n_layers = c.integer("d_model"), c.integer("n_heads"), c.layers("n_layers")
    n_kv = n_heads
    settings = c.raw.get("attn_config")
    if isinstance(settings, dict) and settings.get("attn_type") == "multiquery_attention":
        n_kv = 1
    bias = not c.flag("no_bias", default=True)
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, _even(c, hidden, n_heads)), qkv_bias=bias, out_bias=bias),),
        ffn=dense(hidden, c.integer("expansion_ratio", default=4) * hidden, gated=False, bias=bias),
        norm=(4 if bias else 2) * hidden,
    )
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=True, norm=(2 if bias else 1) * hidden)
    return assemble(c, kind, end, [block] * n_layers)


def _bloom(c: Fields, kind: str) -> Model:
    hidden, n_heads = c.integer("hidden_size", "n_embed"), c.integer("n_head", "num_attention_heads")
    n_layers = c.layers("n_layer", "num_hidden_layers")
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, _even(c, hidden, n_heads)), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, 4 * hidden, gated=False, bias=True),
        norm=4 * hidden,
    )
    # one norm after the embedding and one at the end
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=True, norm=4 * hidden)
    return assemble(c, kind, end, [block] * n_layers)


def _opt(c: Fields, kind: str) -> Model:
    hidden, n_heads, n_layers = (
        c.integer("hidden_size"),
        c.integer("num_attention_heads"),
        c.layers(),
    )
    width = c.integer("word_embed_proj_dim", default=hidden)
    before = c.flag("do_layer_norm_before", default=True)
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, _even(c, hidden, n_heads)), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, c.integer("ffn_dim"), gated=False, bias=True),
        norm=4 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=True,
        norm=2 * hidden if before else 0,
        # positions are shifted by two; a narrower embedding is projected in and out
        position=(c.integer("max_position_embeddings") + 2) * hidden,
        embedding_width=width,
        embedding_extra=2 * width * hidden if width != hidden else 0,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _xglm(c: Fields, kind: str) -> Model:
    """XGLM: sinusoidal positions without weights."""
    hidden, n_heads, n_layers = c.integer("d_model"), c.integer("attention_heads"), c.layers("num_layers")
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, _even(c, hidden, n_heads)), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, c.integer("ffn_dim"), gated=False, bias=True),
        norm=4 * hidden,
    )
    return assemble(
        c, kind, Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=True, norm=2 * hidden), [block] * n_layers
    )


def _phi(c: Fields, kind: str) -> Model:
    """Phi-1.5 and Phi-2: parallel residual with one norm, everything biased, the head too."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    block = Block(
        mixers=(attend(hidden, (n_heads, c.kv_heads(n_heads), width), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, c.integer("intermediate_size"), gated=False, bias=True),
        norm=2 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=False),
        norm=2 * hidden,
        head_bias=True,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _phi3small(c: Fields, kind: str) -> Model:
    """Phi-3 small: everything biased, gated MLP, tied embedding."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    block = Block(
        mixers=(attend(hidden, (n_heads, c.kv_heads(n_heads), width), qkv_bias=True, out_bias=True),),
        ffn=dense(hidden, c.integer("ff_intermediate_size", "intermediate_size"), bias=True),
        norm=4 * hidden,
    )
    end = Ends(hidden=hidden, vocab=c.integer("vocab_size"), tied=True, norm=2 * hidden)
    return assemble(c, kind, end, [block] * n_layers)


BUILDERS: dict[str, Callable[[Fields, str], Model]] = {
    "gpt2": _gpt2,
    "gpt_bigcode": _gpt2,
    "gptj": _gptj,
    "codegen": _gptj,
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    "falcon": _falcon,
    "RefinedWeb": _falcon,
    "RefinedWebModel": _falcon,
    "mpt": _mpt,
    "bloom": _bloom,
    "opt": _opt,
    "xglm": _xglm,
    "phi": _phi,
    "phi3small": _phi3small,
}
