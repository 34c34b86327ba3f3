"""Content-addressed model versions: digest, semver pointer, lineage, tombstone."""

from reckoner.registry.content import Verification
from reckoner.registry.store import Registry
from reckoner.registry.version import Lineage, StoredFile, Version, canonical_digest, is_semver, semver_key

__all__ = [
    "Lineage",
    "Registry",
    "StoredFile",
    "Verification",
    "Version",
    "canonical_digest",
    "is_semver",
    "semver_key",
]
