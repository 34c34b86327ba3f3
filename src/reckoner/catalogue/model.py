"""Language models as the physics needs them: attention groups, experts, recurrent state, exact weight counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reckoner.errors import InputError

PARTS = (
    "embedding",
    "position",
    "attention",
    "mlp",
    "router",
    "experts",
    "shared_experts",
    "state",
    "norm",
    "lm_head",
)
"""Where weights sit; ``state`` is the mixers of recurrent layers, ``lm_head`` is 0 when tied to the embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Layers that attend alike.

    Parameters
    ----------
    head_dim, value_dim : int
        Width of a query or key head, and of a value head.
    window : int, optional
        Tokens a layer can look back at; None for all.
    latent_dim : int
        Elements that latent attention (MLA) caches in place of keys and values; 0 without [1]_.
    stores : bool
        False where a layer reads the cache of an earlier one and adds nothing to it.

    References
    ----------
    .. [1] DeepSeek-V2, arXiv:2405.04434, sec. 2.1.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None
    latent_dim: int = 0
    stores: bool = True

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the cache of one such layer."""
        if not self.stores:
            return 0
        return self.latent_dim or self.n_kv_heads * (self.head_dim + self.value_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Mixture-of-experts layers.

    Parameters
    ----------
    n_layers : int
        Layers that route tokens.
    n_experts, n_active : int
        Routed experts of a layer, and how many of them a token visits.
    ffn : int
        Inner width of a routed expert.
    params_each : int
        Weights of one routed expert in one layer.
    """

    n_layers: int
    n_experts: int
    n_active: int
    ffn: int
    params_each: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Recurrent layers (Mamba, gated delta rule): a state of fixed size in place of a cache.

    Parameters
    ----------
    elements_per_layer : int
        Recurrent state of one sequence in one layer.
    conv_elements_per_layer : int
        Past inputs that the short convolution keeps, of one sequence in one layer.
    """

    n_layers: int
    elements_per_layer: int
    conv_elements_per_layer: int
    kind: str

    @property
    def elements(self) -> int:
        """Elements that one sequence keeps in all such layers."""
        return self.n_layers * (self.elements_per_layer + self.conv_elements_per_layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Ranks and head parts of multi-head latent attention (MLA)."""

    kv_rank: int
    q_rank: int | None
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One decoder-only language model; make it with :meth:`from_config` or :func:`reckoner.catalogue.find.model`.

    Parameters
    ----------
    n_layers : int
        All blocks, whatever mixes their tokens.
    n_heads, n_kv_heads, head_dim : int
        Of the first attention group; 0 in a model without attention.
    ffn : int
        Inner width of a dense layer's MLP; 0 where every layer has experts.
    window : int, optional
        Look-back of the windowed layers; None where there are none.
    attention : tuple of Attention
        Groups of layers that attend alike: the whole truth of which ``n_heads`` ... ``window`` are the short form.
    parts : mapping of str to int
        Exact number of weights by part (:data:`PARTS`).
    """

    name: str
    title: str
    architecture: str
    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    attention: tuple[Attention, ...]
    parts: Mapping[str, int]
    window: int | None = None
    experts: Experts | None = None
    state: State | None = None
    latent: Latent | None = None
    max_context: int | None = None
    aliases: tuple[str, ...] = ()
    source: str = "config.json"
    checked: date | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Hold the invariants of a model."""
        for field in ("n_layers", "hidden", "vocab"):
            if getattr(self, field) < 1:
                raise InputError(f"model {self.name}: {field} is {getattr(self, field)}; it must be at least 1")
        if set(self.parts) != set(PARTS):
            raise InputError(f"model {self.name}: parts are {sorted(self.parts)}; give {', '.join(PARTS)}")
        negative = [part for part, count in self.parts.items() if count < 0]
        if negative:
            raise InputError(f"model {self.name}: {negative[0]} has {self.parts[negative[0]]} weights")
        if not isinstance(self.parts, MappingProxyType):
            object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))

    def __hash__(self) -> int:
        """Hash by what tells models apart; the mapping of parts has no hash of its own."""
        return hash((self.name, self.architecture, self.n_layers, self.hidden))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to worker processes: a mapping proxy alone cannot."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return _rebuild, ({**fields, "parts": dict(self.parts)},)

    @classmethod
    def from_config(cls, config: str | Path | Mapping[str, Any], *, name: str | None = None) -> Model:
        """Read a Hugging Face ``config.json``.

        Parameters
        ----------
        config : path or mapping
            The file, the folder that holds it, or its content.
        name : str, optional
            What to call the model; by default the path it was saved under.

        Raises
        ------
        InputError
            A missing or contradictory field, named; or an architecture that is not known, with those that are.

        Examples
        --------
        >>> llama = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        ...          "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256}
        >>> Model.from_config(llama).params
        8030261248
        """
        from reckoner.catalogue.architectures import build

        return build(config, name)

    @property
    def params(self) -> int:
        """All weights, exactly."""
        return sum(self.parts.values())

    @property
    def active_params(self) -> int:
        """Weights that one token meets: all but the routed experts it does not visit."""
        if self.experts is None:
            return self.params
        idle = self.experts.n_experts - self.experts.n_active
        return self.params - self.experts.n_layers * idle * self.experts.params_each

    @property
    def head_params(self) -> int:
        """Weights of the product with the vocabulary, also when they are the embedding's."""
        if not self.tied:
            return self.parts["lm_head"]
        return min(
            self.parts["embedding"], self.vocab * self.hidden
        )  # less where the embedding is narrower than a layer

    @property
    def matmul_params(self) -> int:
        """Active weights that multiply a token; the embedding is looked up, not multiplied."""
        lookup = self.parts["embedding"] + self.parts["position"] + self.parts["lm_head"]
        return self.active_params - lookup + self.head_params

    @property
    def kv_elements_per_token(self) -> int:
        """Elements that one token adds to the caches of all layers, while no window is full."""
        return sum(group.n_layers * group.kv_elements_per_token for group in self.attention)

    @property
    def full_kv_elements_per_token(self) -> int:
        """The part of :attr:`kv_elements_per_token` in layers without a window."""
        return sum(g.n_layers * g.kv_elements_per_token for g in self.attention if g.window is None)

    @property
    def windowed_kv_elements_per_token(self) -> int:
        """The part of :attr:`kv_elements_per_token` in layers with a window, which stops growing at ``window``."""
        return self.kv_elements_per_token - self.full_kv_elements_per_token

    @property
    def state_elements(self) -> int:
        """Elements of recurrent and convolution state that one sequence keeps."""
        return 0 if self.state is None else self.state.elements

    @property
    def n_experts(self) -> int:
        """Routed experts of a layer; 0 in a dense model."""
        return 0 if self.experts is None else self.experts.n_experts

    @property
    def n_active(self) -> int:
        """Routed experts that a token visits in a layer; 0 in a dense model."""
        return 0 if self.experts is None else self.experts.n_active


def _rebuild(fields: dict[str, Any]) -> Model:
    return Model(**fields)
