"""The three versions of the grammar tutor that ship with the package: their files, lineage and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reckoner.errors import UnknownNameError
from reckoner.files import read_json
from reckoner.tutor.forms import DATA

VERSIONS: tuple[str, ...] = ("v0.1.0", "v0.2.0", "v0.3.0")

_BASE = {"config.json": "config.json", "model.safetensors": "base.safetensors", "tokenizer.json": "tokenizer.json"}
_FILES: dict[str, dict[str, str]] = {
    "v0.1.0": _BASE,
    "v0.2.0": {**_BASE, "model.safetensors": "int8.safetensors"},
    "v0.3.0": {
        **_BASE,
        "adapter_config.json": "adapter_config.json",
        "adapter_model.safetensors": "adapter.safetensors",
    },
}
_NOTES = {
    "v0.1.0": "FP32 base, trained on plain sentences of the corpus",
    "v0.2.0": "INT8 (blocks of 32, Q8_0) of v0.1.0",
    "v0.3.0": "LoRA on v0.1.0, trained on conjugation drills",
}


def _known(semver: str) -> str:
    if semver not in VERSIONS:
        raise UnknownNameError.of("tutor version", semver, VERSIONS)
    return semver


def files(semver: str) -> dict[str, Path]:
    """Files of a version by role: the name that each has in a model folder.

    Raises
    ------
    UnknownNameError
        No such version.

    >>> sorted(files("v0.2.0"))
    ['config.json', 'model.safetensors', 'tokenizer.json']
    """
    return {role: DATA / name for role, name in _FILES[_known(semver)].items()}


def lineage(semver: str) -> dict[str, Any]:
    """Where a version comes from.

    Returns
    -------
    dict
        ``parent`` (semver or None), ``corpus_hash`` (SHA-256), ``hyperparameters``, ``seed`` and ``git_sha`` (the
        commit of the training code), as ``training.json`` recorded them.

    Raises
    ------
    UnknownNameError
        No such version.
    """
    record = read_json(DATA / "training.json")[_known(semver)]
    return {key: record[key] for key in ("parent", "corpus_hash", "hyperparameters", "seed", "git_sha")}


def notes(semver: str) -> str:
    """One line on a version, for tables.

    >>> notes("v0.2.0")
    'INT8 (blocks of 32, Q8_0) of v0.1.0'
    """
    return _NOTES[_known(semver)]


def probes_path() -> Path:
    """The probe set, JSONL."""
    return DATA / "probes.jsonl"


def throughput_path() -> Path:
    """The 200 fixed prompts of the throughput test, JSONL with ``id`` and ``prompt``."""
    return DATA / "throughput_200.jsonl"
