import pytest
from safetensors.numpy import save_file

from reckoner.engines.decoder import DecoderConfig
from reckoner.engines.random_decoder import random_weights
from reckoner.files import write_json

SMALL = DecoderConfig(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=256,
    tie_word_embeddings=False,
)


@pytest.fixture(scope="session")
def small():
    return random_weights(SMALL, seed=7)


@pytest.fixture
def folder(tmp_path, small):
    """A model folder on disk with a LoRA adapter; returns its path."""
    import numpy as np

    rng = np.random.default_rng(3)
    write_json(tmp_path / "config.json", SMALL.to_mapping())
    save_file(dict(small.tensors), tmp_path / "model.safetensors")
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    pairs = {}
    for layer in range(SMALL.num_hidden_layers):
        for module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"):
            out, size = SMALL.tensor_shapes()[f"model.layers.{layer}.{module}.weight"]
            stem = f"base_model.model.model.layers.{layer}.{module}"
            pairs[f"{stem}.lora_A.weight"] = rng.standard_normal((4, size), np.float32) * np.float32(size**-0.5)
            pairs[f"{stem}.lora_B.weight"] = rng.standard_normal((out, 4), np.float32) * np.float32(0.3)
    save_file(pairs, tmp_path / "adapter_model.safetensors")
    return tmp_path
