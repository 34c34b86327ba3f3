"""Content on its way in and at rest: read canonically, refused when no engine could run it, rehashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reckoner.engines.tokenizer import Tokenizer
from reckoner.engines.weights import load
from reckoner.errors import InputError
from reckoner.files import canonical_json, read_json, sha256_file
from reckoner.registry.version import CANONICAL_JSON_ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What :meth:`reckoner.registry.Registry.verify` saw.

    Attributes
    ----------
    versions, objects : int
        Versions and distinct contents that were rehashed.
    size_bytes : int
        Bytes rehashed.
    problems : tuple of str
        One sentence for each damaged or missing file; empty when all is well.
    unreferenced : tuple of str
        Contents that no version names: left by a registration that was killed, harmless.
    """

    versions: int
    objects: int
    size_bytes: int
    problems: tuple[str, ...]
    unreferenced: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every stored byte is as it was written."""
        return not self.problems


def read_content(role: str, path: Path) -> bytes:
    """Bytes of a role's canonical content.

    Raises
    ------
    InputError
        The file cannot be read.
    DamagedError
        A configuration is not JSON.
    """
    if role in CANONICAL_JSON_ROLES:
        return canonical_json(read_json(path)).encode()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {role} at {path}: {error.strerror or error}; check the path") from error


def refuse_unusable(files: Mapping[str, Path]) -> None:
    """Let the engines' own loaders read the model: what they refuse is no version.

    Raises
    ------
    InputError
        The model's parts do not fit each other.
    DamagedError
        A file cannot be read as what it should be.
    """
    config = load(files).config
    tokenizer = Tokenizer.load(files["tokenizer.json"])
    if tokenizer.vocab_size != config.vocab_size:
        raise InputError(
            f"{files['tokenizer.json']} has {tokenizer.vocab_size} tokens, config.json's vocab_size is "
            f"{config.vocab_size}; give the tokenizer of this model"
        )


def damage(path: Path, expected: str) -> str | None:
    """Say what is wrong with a stored content, or None."""
    try:
        actual = sha256_file(path)
    except FileNotFoundError:
        return f"{path} is missing; add the original model folder again"
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"
    if actual != expected:
        return (
            f"{path} is damaged: expected digest {expected[:12]}, found {actual[:12]}; "
            "add the original model folder again"
        )
    return None
