"""Dense decoders of the Llama kind: pre-norm, rotary positions, gated MLP, with each family's own deviations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reckoner.catalogue.architectures._blocks import Block, Ends, Mixer, assemble, attend, dense
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a family deviates from Llama.

    Parameters
    ----------
    norms : int
        Norms of a layer, each of ``norm_width`` vectors of the hidden size (2 for a layer norm with bias).
    qk_norm : str
        ``head`` (one head width each for queries and keys), ``heads`` (all heads), or empty.
    period : int
        Every ``period``-th layer sees everything and the others through the window; 0: as the configuration says.
    window_all : bool
        A ``sliding_window`` binds every layer, without a switch.
    """

    norms: int = 2
    norm_width: int = 1
    qkv_bias: bool = False
    out_bias: bool = False
    bias_keys: tuple[str, ...] = ("attention_bias",)
    mlp_bias_keys: tuple[str, ...] = ("mlp_bias",)
    gated: bool = True
    tied: bool = False
    qk_norm: str = ""
    period: int = 0
    window_all: bool = False


def windows(c: Fields, n_layers: int, dialect: Dialect) -> list[int | None]:
    """Look-back of each layer; None for all."""
    window = c.integer("sliding_window", default=0, minimum=0)
    if not window or not c.flag("use_sliding_window", default=True):
        return [None] * n_layers
    kinds = c.words("layer_types")
    if kinds is not None:
        if len(kinds) != n_layers:
            raise c.fail(f"layer_types has {len(kinds)} entries for {n_layers} layers; give one a layer")
        return [window if "sliding" in kind else None for kind in kinds]
    period = c.integer("sliding_window_pattern", default=dialect.period or 1)
    if dialect.period:
        return [None if (i + 1) % period == 0 else window for i in range(n_layers)]
    if c.raw.get("use_sliding_window") is True:
        # Qwen: layers below max_window_layers see everything
        first = c.integer("max_window_layers", default=n_layers, minimum=0)
        return [window if i >= first else None for i in range(n_layers)]
    return [window if dialect.window_all else None] * n_layers


def mixer(c: Fields, hidden: int, dialect: Dialect, window: int | None) -> Mixer:
    """The attention of one layer."""
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    extra = {"": 0, "head": 2 * width, "heads": (n_heads + n_kv) * width}[dialect.qk_norm]
    bias = bool(dialect.bias_keys) and c.flag(*dialect.bias_keys, default=False)
    return attend(
        hidden,
        (n_heads, n_kv, width),
        window=window,
        qkv_bias=dialect.qkv_bias or bias,
        out_bias=dialect.out_bias or bias,
        extra=extra,
    )


def ends(c: Fields, dialect: Dialect) -> Ends:
    """Embedding, last norm and head."""
    hidden = c.integer("hidden_size")
    return Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=dialect.tied),
        norm=hidden * dialect.norm_width,
    )


def _decoder(c: Fields, kind: str) -> Model:
    dialect = DIALECTS[kind]
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    width = c.integer("intermediate_size")
    ffn = dense(hidden, width, gated=dialect.gated, bias=c.flag(*dialect.mlp_bias_keys, default=False))
    norm = dialect.norms * dialect.norm_width * hidden
    blocks = [
        Block(mixers=(mixer(c, hidden, dialect, window),), ffn=ffn, norm=norm)
        for window in windows(c, n_layers, dialect)
    ]
    return assemble(c, kind, ends(c, dialect), blocks)


DIALECTS = {
    "llama": Dialect(),
    "mistral": Dialect(window_all=True),
    "ministral": Dialect(window_all=True),
    "ministral3": Dialect(window_all=True),
    "aquila": Dialect(),
    "xgen": Dialect(),
    "internlm": Dialect(bias_keys=("bias",)),
    "internlm2": Dialect(bias_keys=("bias",)),
    "baichuan": Dialect(),
    "minicpm": Dialect(tied=True),
    "smollm3": Dialect(tied=True),
    "granite": Dialect(tied=True),
    "exaone4": Dialect(qk_norm="head", period=4),
    "seed_oss": Dialect(qkv_bias=True),
    "ernie4_5": Dialect(tied=True, bias_keys=("use_bias",), mlp_bias_keys=("use_bias",)),
    "hunyuan_v1_dense": Dialect(qk_norm="head", tied=True),
    "nemotron": Dialect(norm_width=2, gated=False),
    "qwen2": Dialect(qkv_bias=True),
    "qwen2_vl": Dialect(qkv_bias=True),
    "qwen2_vl_text": Dialect(qkv_bias=True),
    "qwen2_5_vl": Dialect(qkv_bias=True),
    "qwen2_5_vl_text": Dialect(qkv_bias=True),
    "qwen3": Dialect(qk_norm="head"),
    "qwen3_vl_text": Dialect(qk_norm="head"),
    "gemma": Dialect(tied=True),
    "gemma2": Dialect(norms=4, tied=True, period=2),
    "gemma3_text": Dialect(norms=4, qk_norm="head", tied=True, period=6),
    "phi3": Dialect(window_all=True),
    "olmo": Dialect(norms=2, norm_width=0),
    "olmo2": Dialect(qk_norm="heads"),
    "olmo3": Dialect(qk_norm="heads", period=4),
    "cohere": Dialect(norms=1, tied=True),
    "cohere2": Dialect(norms=1, tied=True, period=4),
    "glm": Dialect(qkv_bias=True, bias_keys=()),
    "glm4": Dialect(norms=4, qkv_bias=True, bias_keys=()),
    "starcoder2": Dialect(
        norm_width=2, gated=False, tied=True, bias_keys=("use_bias",), mlp_bias_keys=("use_bias",), window_all=True
    ),
}


def _qwen1(c: Fields, kind: str) -> Model:
    """Qwen-7B and its sisters: many heads, biased projections, ``intermediate_size`` counts gate and up together."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    block = Block(
        mixers=(attend(hidden, (n_heads, n_heads, width), qkv_bias=True),),
        ffn=dense(hidden, c.integer("intermediate_size") // 2),
        norm=2 * hidden,
    )
    return assemble(c, kind, ends(c, Dialect()), [block] * n_layers)


def _chatglm(c: Fields, kind: str) -> Model:
    """ChatGLM2, ChatGLM3 and GLM-4-9B under their own names of the fields."""
    hidden, n_layers = c.integer("hidden_size"), c.layers("num_layers", "num_hidden_layers")
    n_heads = c.integer("num_attention_heads")
    width = c.integer("kv_channels", default=hidden // n_heads)
    n_kv = c.integer("multi_query_group_num") if c.flag("multi_query_attention", default=False) else n_heads
    norm_width = 1 if c.flag("rmsnorm", default=True) else 2
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, width), qkv_bias=c.flag("add_qkv_bias", default=False)),),
        ffn=dense(hidden, c.integer("ffn_hidden_size"), bias=c.flag("add_bias_linear", default=False)),
        norm=2 * norm_width * hidden,
    )
    end = Ends(hidden=hidden, vocab=c.integer("padded_vocab_size", "vocab_size"), tied=False, norm=norm_width * hidden)
    return assemble(c, kind, end, [block] * n_layers)


def _stablelm(c: Fields, kind: str) -> Model:
    """StableLM: layer norms with bias, optional parallel residual (one norm) and per-head query-key norms."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    extra = (n_heads + n_kv) * width if c.flag("qk_layernorm", default=False) else 0
    norms = 1 if c.flag("use_parallel_residual", default=False) else 2
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, width), qkv_bias=c.flag("use_qkv_bias", default=False), extra=extra),),
        ffn=dense(hidden, c.integer("intermediate_size")),
        norm=norms * 2 * hidden,
    )
    end = Ends(
        hidden=hidden,
        vocab=c.integer("vocab_size"),
        tied=c.flag("tie_word_embeddings", default=False),
        norm=2 * hidden,
    )
    return assemble(c, kind, end, [block] * n_layers)


def _bitnet(c: Fields, kind: str) -> Model:
    """BitNet b1.58: Llama with a norm before each output projection."""
    hidden, n_layers, width = c.integer("hidden_size"), c.layers(), c.integer("intermediate_size")
    block = Block(
        mixers=(mixer(c, hidden, Dialect(), None),), ffn=dense(hidden, width), norm=2 * hidden + hidden + width
    )
    return assemble(c, kind, ends(c, Dialect(tied=True)), [block] * n_layers)


def _chameleon(c: Fields, kind: str) -> Model:
    """Chameleon's language model: Llama with a layer norm, weight and bias, on each query and key head."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    n_heads, width = c.heads(hidden)
    n_kv = c.kv_heads(n_heads)
    block = Block(
        mixers=(attend(hidden, (n_heads, n_kv, width), extra=2 * (n_heads + n_kv) * width),),
        ffn=dense(hidden, c.integer("intermediate_size")),
        norm=2 * hidden,
    )
    return assemble(c, kind, ends(c, Dialect()), [block] * n_layers)


def _mllama(c: Fields, kind: str) -> Model:
    """Llama 3.2 Vision's language model: some layers attend across to the image (its tower is not counted)."""
    hidden, n_layers = c.integer("hidden_size"), c.layers()
    across = set(c.integers("cross_attention_layers") or [])
    n_heads, width = c.heads(hidden)
    heads = (n_heads, c.kv_heads(n_heads), width)
    ffn = dense(hidden, c.integer("intermediate_size"))
    own = Block(mixers=(attend(hidden, heads),), ffn=ffn, norm=2 * hidden)
    # query and key norms of a head each, and one gate for attention and one for the MLP; its cache holds the image
    looking = attend(hidden, heads, extra=2 * width + 2)
    if looking.attention is not None:
        looking = replace(looking, attention=replace(looking.attention, stores=False))
    cross = Block(mixers=(looking,), ffn=ffn, norm=2 * hidden)
    end = ends(c, Dialect())
    end = Ends(hidden=hidden, vocab=end.vocab, tied=end.tied, norm=hidden, embedding_extra=8 * hidden)
    return assemble(c, kind, end, [cross if i in across else own for i in range(n_layers)])


BUILDERS: dict[str, Callable[[Fields, str], Model]] = {
    **dict.fromkeys(DIALECTS, _decoder),
    "qwen": _qwen1,
    "chatglm": _chatglm,
    "stablelm": _stablelm,
    "bitnet": _bitnet,
    "chameleon": _chameleon,
    "mllama_text_model": _mllama,
}
