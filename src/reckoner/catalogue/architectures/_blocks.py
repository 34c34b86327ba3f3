"""Counts weights block by block and assembles a :class:`~reckoner.catalogue.model.Model`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.model import PARTS, Attention, Experts, Latent, Model, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixer:
    """What mixes the tokens of one layer, with its weights: attention or a recurrence."""

    weights: int
    attention: Attention | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ffn:
    """What follows the mixer in one layer: a dense MLP, experts, both or (in some hybrids) nothing."""

    mlp: int = 0
    width: int = 0
    router: int = 0
    shared: int = 0
    experts: Experts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer."""

    mixers: tuple[Mixer, ...] = ()
    ffn: Ffn = Ffn()
    norm: int = 0


def attend(
    hidden: int,
    heads: tuple[int, int, int],
    *,
    window: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    extra: int = 0,
) -> Mixer:
    """Attention; ``heads`` = (query heads, key-value heads, width), ``extra`` counts query-key norms or sinks."""
    n_heads, n_kv, width = heads
    out = n_heads * width
    weights = hidden * (2 * out + 2 * n_kv * width) + extra
    weights += (out + 2 * n_kv * width) if qkv_bias else 0
    weights += hidden if out_bias else 0
    group = Attention(n_layers=1, n_heads=n_heads, n_kv_heads=n_kv, head_dim=width, value_dim=width, window=window)
    return Mixer(weights=weights, attention=group)


def mlp(hidden: int, width: int, *, gated: bool = True, bias: bool = False) -> int:
    """Weights of a feed-forward layer, with a gate (SwiGLU, GeGLU) or plain."""
    inner = 2 if gated else 1
    return hidden * width * (inner + 1) + (inner * width + hidden if bias else 0)


def dense(hidden: int, width: int, *, gated: bool = True, bias: bool = False, extra: int = 0) -> Ffn:
    """A dense feed-forward layer."""
    return Ffn(mlp=mlp(hidden, width, gated=gated, bias=bias) + extra, width=width)


def routed(
    hidden: int,
    width: int,
    n_experts: int,
    n_active: int,
    *,
    router: int | None = None,
    shared: int = 0,
    each: int | None = None,
) -> Ffn:
    """A layer of ``n_experts`` gated experts; ``router`` defaults to one score per expert, ``shared`` is always on."""
    each = mlp(hidden, width) if each is None else each
    return Ffn(
        router=hidden * n_experts if router is None else router,
        shared=shared,
        experts=Experts(n_layers=1, n_experts=n_experts, n_active=n_active, ffn=width, params_each=each),
    )


def _merged(groups: Sequence[Attention]) -> tuple[Attention, ...]:
    """Equal layers counted together, in order of first appearance."""
    counts = Counter(groups)
    return tuple(replace(group, n_layers=n) for group, n in counts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What stands before and after the layers; ``streams`` counts projections that mix residual streams."""

    hidden: int
    vocab: int
    tied: bool
    norm: int
    position: int = 0
    embedding_width: int | None = None
    embedding_extra: int = 0
    head_bias: bool = False
    streams: int = 0


def assemble(c: Fields, architecture: str, ends: Ends, blocks: Sequence[Block], latent: Latent | None = None) -> Model:
    """Sum the blocks into a model; its name and source are filled in by the caller."""
    parts = dict.fromkeys(PARTS, 0)
    width = ends.embedding_width or ends.hidden
    parts["embedding"] = ends.vocab * width + ends.embedding_extra
    parts["position"] = ends.position
    parts["norm"] = ends.norm + sum(block.norm for block in blocks)
    parts["lm_head"] = (0 if ends.tied else ends.vocab * width) + (ends.vocab if ends.head_bias else 0)
    parts["mlp"] = ends.streams
    attention: list[Attention] = []
    states: list[State] = []
    experts: list[Experts] = []
    ffn = 0
    for block in blocks:
        parts["mlp"] += block.ffn.mlp
        parts["router"] += block.ffn.router
        parts["shared_experts"] += block.ffn.shared
        ffn = ffn or block.ffn.width
        if block.ffn.experts is not None:
            experts.append(block.ffn.experts)
            parts["experts"] += block.ffn.experts.n_experts * block.ffn.experts.params_each
        for mixer in block.mixers:
            parts["state" if mixer.state is not None else "attention"] += mixer.weights
            if mixer.attention is not None:
                attention.append(mixer.attention)
            if mixer.state is not None:
                states.append(mixer.state)
    if len(set(experts)) > 1 or len(set(states)) > 1:
        raise c.fail("layers with different experts or recurrent states; one kind of each is supported")
    groups = _merged(attention)
    # the short form describes the layers that see everything, which set the cost of a long context
    first = next((group for group in groups if group.window is None), groups[0] if groups else None)
    windows = [group.window for group in groups if group.window is not None]
    return Model(
        name="",
        title="",
        architecture=architecture,
        n_layers=len(blocks),
        hidden=ends.hidden,
        n_heads=first.n_heads if first else 0,
        n_kv_heads=first.n_kv_heads if first else 0,
        head_dim=first.head_dim if first else 0,
        ffn=ffn,
        vocab=ends.vocab,
        tied=ends.tied,
        attention=groups,
        parts=parts,
        window=min(windows) if windows else None,
        experts=replace(experts[0], n_layers=len(experts)) if experts else None,
        state=replace(states[0], n_layers=len(states)) if states else None,
        latent=latent,
        max_context=c.integer(
            "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=0, minimum=0
        )
        or None,
    )
