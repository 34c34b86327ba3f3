"""Content-addressed model versions: digest, semver pointer, lineage, tombstone."""
