"""The Llama-architecture decoder in torch, for training alone: the engines run the trained weights without torch.

Parameters carry Hugging Face's names, so ``state_dict`` is what ``model.safetensors`` holds.
"""
# torch is untyped here (follow_imports = skip), so each Module is a subclass of Any and each call returns it.
# mypy: disable-error-code="misc, no-any-return"

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812, its customary name
from torch import Tensor, nn

from reckoner.engines.decoder import DecoderConfig

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraLinear(nn.Module):
    """A linear map without bias that can carry a low-rank update ``(alpha / r) B A``.

    References
    ----------
    E. Hu et al., "LoRA", ICLR 2022, sec. 4.1. arXiv:2106.09685
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.lora_A: nn.Parameter | None = None
        self.lora_B: nn.Parameter | None = None
        self.scale = 0.0

    def add_adapter(self, r: int, alpha: float, generator: torch.Generator) -> None:
        """Freeze the weight and add an update that starts at zero (B = 0)."""
        outputs, inputs = self.weight.shape
        self.weight.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(r, inputs, generator=generator) / math.sqrt(inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, r))
        self.scale = alpha / r

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        y = F.linear(x, self.weight)
        if self.lora_A is not None and self.lora_B is not None:
            y = y + self.scale * F.linear(F.linear(x, self.lora_A), self.lora_B)
        return y


class RmsNorm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale the last axis to unit root mean square, then by the weight."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in Hugging Face's layout: element i pairs with i + head_dim / 2 (Su et al. 2021, eq. 34)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        d, q, kv = config.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = LoraLinear(d, q)
        self.k_proj = LoraLinear(d, kv)
        self.v_proj = LoraLinear(d, kv)
        self.o_proj = LoraLinear(q, d)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (batch, time, hidden) to the same shape."""
        batch, time, _ = x.shape
        q = self.q_proj(x).view(batch, time, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, time, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, self.kv_heads, self.head_dim).transpose(1, 2)
        group = self.heads // self.kv_heads
        k = rotate(k, cos, sin).repeat_interleave(group, dim=1)
        v = v.repeat_interleave(group, dim=1)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, time, -1))


class Mlp(nn.Module):
    """SwiGLU (Shazeer 2020, eq. 6)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = LoraLinear(config.hidden_size, config.intermediate_size)
        self.up_proj = LoraLinear(config.hidden_size, config.intermediate_size)
        self.down_proj = LoraLinear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., hidden) to the same shape."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm block."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (batch, time, hidden) to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The decoder; tied embeddings. All weights start normal with deviation 0.02, residual outputs scaled by depth."""

    def __init__(self, config: DecoderConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.model.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                deviation = 0.02 / math.sqrt(2 * config.num_hidden_layers) if residual else 0.02
                nn.init.normal_(parameter, std=deviation, generator=generator)
        angle = torch.arange(config.max_position_embeddings)[:, None] * config.rope_theta ** -(
            torch.arange(0, config.head_dim, 2) / config.head_dim
        )
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch, time, vocabulary) of token ids (batch, time)."""
        time = ids.shape[1]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cos[:time], self.sin[:time])
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def adapters(self) -> Iterable[tuple[str, LoraLinear]]:
        """The linear maps that LoRA adapts, with their names."""
        for name, module in self.named_modules():
            if isinstance(module, LoraLinear) and name.rsplit(".", 1)[-1] in LORA_TARGETS:
                yield name, module

    def add_adapter(self, r: int, alpha: float, seed: int) -> None:
        """Freeze every weight and add LoRA to the linear maps."""
        self.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for _, module in self.adapters():
            module.add_adapter(r, alpha, generator)
