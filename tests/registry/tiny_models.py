import json

import numpy as np
from safetensors.numpy import save_file

from reckoner.engines.decoder import DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=263,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    max_position_embeddings=16,
)

TOKENIZER = {
    "type": "spm",
    "tokens": ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "c", "d"],
    "scores": [0.0] * 263,
    "types": [2, 3, 3, *[6] * 256, *[1] * 4],
    "unk_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "add_bos": True,
    "add_space_prefix": False,
}


def tensors(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in CONFIG.tensor_shapes().items()}


def write_model(folder, seed=0, adapter=None):
    """A whole, tiny model folder; ``adapter`` is the adapter's seed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG.to_mapping()))
    save_file(tensors(seed), folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    if adapter is not None:
        rng = np.random.default_rng(adapter)
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
        stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        pair = {f"{stem}A.weight": (2, 8), f"{stem}B.weight": (8, 2)}
        save_file(
            {name: rng.normal(size=shape).astype(np.float32) for name, shape in pair.items()},
            folder / "adapter_model.safetensors",
        )
    return {path.name: path for path in folder.iterdir()}
