"""From a Hugging Face configuration to a model: one function a family of architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reckoner.catalogue.architectures import decoder, gemma, gpt, latent, moe, recurrent
from reckoner.catalogue.architectures._fields import Fields
from reckoner.catalogue.model import Model
from reckoner.errors import InputError, UnknownNameError
from reckoner.files import read_json

BUILDERS: dict[str, Callable[[Fields, str], Model]] = {
    **decoder.BUILDERS,
    **gemma.BUILDERS,
    **gpt.BUILDERS,
    **latent.BUILDERS,
    **moe.BUILDERS,
    **recurrent.BUILDERS,
}
"""``model_type`` -> builder."""

# fields that the published files of a family leave out because the library fills them in
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 256},
    "gemma3_text": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208},
}

# multimodal configurations hold the language model's own configuration under one of these
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")


def supported() -> list[str]:
    """Architectures that :func:`build` knows, sorted."""
    return sorted(BUILDERS)


def build(config: str | Path | Mapping[str, Any], name: str | None) -> Model:
    """Make the model that a configuration describes; see :meth:`reckoner.catalogue.model.Model.from_config`."""
    if isinstance(config, Mapping):
        raw, where, stem = config, "config", "config"
    else:
        path = Path(config)
        path = path / "config.json" if path.is_dir() else path
        content = read_json(path)
        if not isinstance(content, Mapping):
            raise InputError(f"{path}: holds {type(content).__name__}; a config.json is one JSON object")
        raw, where = content, str(path)
        stem = path.resolve().parent.name if path.name == "config.json" else path.stem
    fields = _language(Fields(raw, where))
    given = raw.get("_name_or_path")
    called = name or (given if isinstance(given, str) and given else stem)
    kind = _architecture(fields)
    fields = Fields({**_DEFAULTS.get(kind, {}), **fields.raw}, where)
    model = BUILDERS[kind](fields, kind)
    return replace(model, name=called, title=called, source=where)


def _language(c: Fields) -> Fields:
    """The part of a multimodal configuration that describes the language model."""
    for key in _NESTED:
        if isinstance(c.raw.get(key), Mapping):
            inner = c.part(key)
            merged = {"model_type": c.raw.get("model_type"), **inner.raw}
            for shared in ("tie_word_embeddings",):
                if shared not in inner.raw and shared in c.raw:
                    merged[shared] = c.raw[shared]
            return _language(Fields(merged, inner.where))
    return c


def _architecture(c: Fields) -> str:
    kind = c.raw.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise c.fail(f"model_type is {kind!r}; it must name an architecture such as 'llama'")
    if kind not in BUILDERS:
        near = UnknownNameError.of("architecture", kind, BUILDERS)
        raise UnknownNameError(f"{c.where}: {near} Supported: {', '.join(supported())}")
    return kind
