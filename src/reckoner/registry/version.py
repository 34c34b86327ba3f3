"""What a version is: its files, its canonical digest, where it came from, and the semver names that point to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reckoner.engines.weights import ROLES
from reckoner.errors import InputError
from reckoner.files import canonical_json, sha256

Status = Literal["pending", "promoted", "tombstoned"]

REQUIRED_ROLES = ("config.json", "model.safetensors", "tokenizer.json")
# Stored as canonical JSON, so that key order and white space do not make another version.
CANONICAL_JSON_ROLES = frozenset({"config.json", "adapter_config.json"})

_SEMVER = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_semver(text: str) -> bool:
    """Whether ``text`` is a version name of the form ``vMAJOR.MINOR.PATCH``.

    >>> is_semver("v0.1.0"), is_semver("0.1"), is_semver("v01.0.0")
    (True, False, False)
    """
    return _SEMVER.fullmatch(text) is not None


def semver_key(semver: str) -> tuple[int, ...]:
    """Sort key of a semver, numbers as numbers.

    Raises
    ------
    InputError
        It is not of the form ``vMAJOR.MINOR.PATCH``.

    >>> sorted(["v0.10.0", "v0.9.0"], key=semver_key)
    ['v0.9.0', 'v0.10.0']
    """
    match = _SEMVER.fullmatch(semver)
    if match is None:
        raise InputError(f"semver is {semver!r}; write vMAJOR.MINOR.PATCH, such as v0.1.0")
    return tuple(int(part) for part in match.groups())


def is_digest(text: str) -> bool:
    """Whether ``text`` is a whole SHA-256 in lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a version: the SHA-256 of its content and its size."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not is_digest(self.sha256):
            raise InputError(f"sha256 is {self.sha256!r}; it must be 64 lower-case hexadecimal digits")
        if self.size_bytes < 0:
            raise InputError(f"size_bytes is {self.size_bytes}; it must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version came from; ``None`` where nobody recorded it.

    Attributes
    ----------
    parent : str or None
        Canonical digest of the version that this one was made from.
    corpus_hash : str or None
        SHA-256 of the training corpus.
    hyperparameters : mapping
        What the training was told; JSON values.
    seed : int or None
        Seed of the training.
    git_sha : str or None
        Commit of the code that made it.
    """

    parent: str | None = None
    corpus_hash: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    git_sha: str | None = None

    def __post_init__(self) -> None:
        if self.parent is not None and not is_digest(self.parent):
            raise InputError(
                f"parent is {self.parent!r}; give the parent's whole digest (`reckoner registry show` prints it)"
            )
        canonical_json(dict(self.hyperparameters))  # refuses NaN, by its path

    def to_json(self) -> dict[str, Any]:
        """Return the lineage as a JSON object."""
        return {
            "parent": self.parent,
            "corpus_hash": self.corpus_hash,
            "hyperparameters": dict(self.hyperparameters),
            "seed": self.seed,
            "git_sha": self.git_sha,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable model version.

    Attributes
    ----------
    digest : str
        Canonical digest: SHA-256 over the sorted (role, content) pairs, see :func:`canonical_digest`.
    semvers : tuple of str
        Names that point to it, oldest number first.
    files : mapping
        Role -> stored file.
    lineage : Lineage
        Where it came from.
    notes : str
        Free text; not part of the digest.
    status : {"pending", "promoted", "tombstoned"}
        Registered only, named by a semver, or withdrawn.
    tombstone : str or None
        Why it was withdrawn.
    """

    digest: str
    semvers: tuple[str, ...]
    files: Mapping[str, StoredFile]
    lineage: Lineage
    notes: str
    status: Status
    tombstone: str | None = None

    @property
    def short(self) -> str:
        """First eight digits of the digest, for people."""
        return self.digest[:8]

    @property
    def label(self) -> str:
        """Name and short digest: ``v0.1.0 (a1b2c3d4)``."""
        return f"{self.semvers[-1]} ({self.short})" if self.semvers else f"run {self.short}"

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files, shared ones included."""
        return sum(file.size_bytes for file in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """Return the version as a JSON object."""
        return {
            "digest": self.digest,
            "semvers": list(self.semvers),
            "status": self.status,
            "tombstone": self.tombstone,
            "notes": self.notes,
            "files": files_to_json(self.files),
            "lineage": self.lineage.to_json(),
        }


def files_to_json(files: Mapping[str, StoredFile]) -> dict[str, dict[str, Any]]:
    """Return role -> {sha256, size_bytes}."""
    return {role: {"sha256": file.sha256, "size_bytes": file.size_bytes} for role, file in sorted(files.items())}


def canonical_digest(contents: Mapping[str, str]) -> str:
    """Digest of a version: SHA-256 over its sorted (role, SHA-256 of content) pairs, one ``role digest`` a line.

    Only what decides the model's output counts; lineage, notes and names do not.

    Parameters
    ----------
    contents : mapping
        Role -> SHA-256 of that role's canonical content.

    Examples
    --------
    >>> a = canonical_digest({"config.json": "0" * 64, "model.safetensors": "1" * 64})
    >>> a == canonical_digest({"model.safetensors": "1" * 64, "config.json": "0" * 64})
    True
    >>> a == canonical_digest({"config.json": "1" * 64, "model.safetensors": "0" * 64})
    False
    """
    return sha256("".join(f"{role} {digest}\n" for role, digest in sorted(contents.items())))


def check_roles(roles: Mapping[str, object]) -> None:
    """Refuse a set of roles that is no model.

    Raises
    ------
    InputError
        A required role is missing, a role is unknown, or an adapter lacks its other half.
    """
    unknown = sorted(roles.keys() - set(ROLES))
    if unknown:
        raise InputError(f"role is {unknown[0]!r}; the files of a version are {', '.join(ROLES)}")
    missing = [role for role in REQUIRED_ROLES if role not in roles]
    if missing:
        raise InputError(f"the version has no {missing[0]}; add that file")
    halves = {"adapter_config.json", "adapter_model.safetensors"}
    if len(halves & roles.keys()) == 1:
        raise InputError(
            f"the version has {min(halves & roles.keys())} without {min(halves - roles.keys())}; give both"
        )
