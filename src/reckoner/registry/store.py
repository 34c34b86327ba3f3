"""The registry on disk: content by its digest, versions that never change, names that point to them.

::

    <root>/objects/<sha256>          content, stored once whatever shares it
    <root>/pending/<run_id>.json     registered, not yet named
    <root>/versions/<digest>.json    named at least once; never changes
    <root>/pointers.json             semver -> digest
    <root>/tombstones/<digest>.json  withdrawn: the content stays, the reason with it

Every file is written whole or not at all, content before the record that names it and the pointer last, so a kill at
any moment leaves at most content that nothing names yet. Writers hold ``<root>/.lock``; readers need no lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, InputError, UnknownNameError
from reckoner.files import canonical_json, sha256, write_atomic
from reckoner.lock import locked
from reckoner.registry.content import Verification, damage, read_content, refuse_unusable
from reckoner.registry.graph import mermaid
from reckoner.registry.records import read_record, write_record
from reckoner.registry.version import (
    Lineage,
    Status,
    StoredFile,
    Version,
    canonical_digest,
    check_roles,
    files_to_json,
    is_digest,
    is_semver,
    semver_key,
)

MIN_PREFIX = 8  # digits; the length that COSTS.md prints
_RESTORE_RECORD = "restore that file from a copy, or delete it and add the original model folder again"
_RESTORE_POINTERS = "restore that file from a copy, or delete it and promote each version again"
_RESTORE_TOMBSTONE = "restore that file from a copy, or delete it and tombstone the version again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Model versions under one folder; :meth:`open` makes one."""

    root: Path

    @classmethod
    def open(cls, root: str | Path) -> Registry:
        """Open the registry at ``root``; an absent folder is an empty registry, made at the first write.

        Raises
        ------
        InputError
            ``root`` is a file.
        """
        path = Path(root)
        if path.exists() and not path.is_dir():
            raise InputError(f"registry root {path} is a file; give a folder")
        return cls(root=path)

    # ---- writing

    def register_pending(self, files: Mapping[str, Path], *, lineage: Lineage, notes: str = "") -> str:
        """Check a model's files, store them, and return the run id under which they wait for a name.

        The run id follows from the content, so registering the same files again changes nothing but, as long as the
        version has no name, its lineage and notes.

        Parameters
        ----------
        files : mapping
            Role -> path. The roles are the file names of a model folder: ``config.json``, ``model.safetensors``,
            ``tokenizer.json`` and, together, ``adapter_config.json`` and ``adapter_model.safetensors``.
        lineage : Lineage
            Where the model came from; its parent must be in this registry.
        notes : str
            Free text.

        Raises
        ------
        InputError
            A role is missing, the model's parts do not fit each other, the parent is unknown, the lineage would be a
            circle, or the same content is already named with another lineage.
        DamagedError
            A file cannot be read as what it should be.
        ReckonerError
            The disk is full; nothing that was stored is harmed.
        """
        check_roles(files)
        contents = {role: read_content(role, Path(path)) for role, path in files.items()}
        refuse_unusable(files)
        stored = {
            role: StoredFile(sha256=sha256(content), size_bytes=len(content)) for role, content in contents.items()
        }
        digest = canonical_digest({role: file.sha256 for role, file in stored.items()})
        run_id = f"run-{digest}"
        with locked(self._lock):
            self._refuse_lineage(digest, lineage)
            for role, content in contents.items():
                self._store(stored[role].sha256, content)
            if self._version_path(digest).exists():
                _refuse_other_lineage(self._load(digest), lineage, notes)
            else:
                write_record(
                    self._pending_path(digest),
                    {
                        "format": 1,
                        "digest": digest,
                        "files": files_to_json(stored),
                        "lineage": lineage.to_json(),
                        "notes": notes,
                    },
                )
        return run_id

    def promote(self, ref: str, semver: str) -> Version:
        """Let ``semver`` point to the version ``ref``; doing it twice changes nothing.

        Raises
        ------
        InputError
            The name is no semver, points to another version already, or the version is tombstoned.
        UnknownNameError
            Nothing answers to ``ref``.
        DamagedError
            A stored file no longer matches its digest.
        """
        wanted = semver_key(semver)
        with locked(self._lock):
            version = self.get(ref)
            pointers = self._pointers()
            holder = pointers.get(semver)
            if holder is not None and holder != version.digest:
                taken = [key[2] for key in map(semver_key, pointers) if key[:2] == wanted[:2]]
                free = f"v{wanted[0]}.{wanted[1]}.{max(taken) + 1}"
                raise InputError(
                    f"{semver} already points to {holder[:8]}, not to {version.short}; a name never moves, "
                    f"promote under a free one such as {free}"
                )
            self.files(version)
            pending = self._pending_path(version.digest)
            if not self._version_path(version.digest).exists():
                write_record(self._version_path(version.digest), read_record(pending, _RESTORE_RECORD))
            if holder is None:
                write_record(
                    self.root / "pointers.json", {"format": 1, "pointers": {**pointers, semver: version.digest}}
                )
            pending.unlink(missing_ok=True)
            return self._load(version.digest)

    def tombstone(self, ref: str, reason: str) -> Version:
        """Withdraw a version: its content and names stay, :meth:`get` refuses it from now on.

        Returns
        -------
        Version
            The withdrawn version; its ``semvers`` still point to it.

        Raises
        ------
        InputError
            The reason is empty, or the version is tombstoned already for another one.
        """
        if not reason.strip():
            raise InputError(f"reason is {reason!r}; say why the version is withdrawn")
        with locked(self._lock):
            version = self.get(ref, include_tombstoned=True)
            if version.tombstone is None:
                path = self._tombstone_path(version.digest)
                write_record(path, {"format": 1, "digest": version.digest, "reason": reason})
            elif version.tombstone != reason:
                raise InputError(
                    f"{version.label} is tombstoned already: {version.tombstone!r}; a tombstone does not change"
                )
            return self._load(version.digest)

    # ---- reading

    def get(self, ref: str, *, include_tombstoned: bool = False) -> Version:
        """Find a version by semver, run id, digest, or a digest's unique prefix of at least eight digits.

        Raises
        ------
        UnknownNameError
            Nothing answers to ``ref``; the message has near misses.
        InputError
            The prefix is too short or fits several versions, or the version is tombstoned.
        DamagedError
            Its record was changed.
        """
        version = self._load(self._resolve(ref))
        if version.tombstone is not None and not include_tombstoned:
            raise InputError(
                f"{version.label} is tombstoned: {version.tombstone!r}; choose another version "
                "or ask for tombstoned ones as well"
            )
        return version

    def files(self, version: Version) -> dict[str, Path]:
        """Paths of a version's files by role, after rehashing each.

        Raises
        ------
        DamagedError
            A file is missing or differs by as little as one byte; the message names role, path and both digests.
        """
        paths = {}
        for role, file in sorted(version.files.items()):
            path = self._object_path(file.sha256)
            problem = damage(path, file.sha256)
            if problem is not None:
                raise DamagedError(f"{role} of {version.label}: {problem}")
            paths[role] = path
        return paths

    def list(self) -> tuple[Version, ...]:
        """All versions: named ones by semver, then the others by digest."""
        digests, pointers = sorted(self._digests()), self._pointers()
        versions = [self._load(digest, pointers) for digest in digests]
        named = [version for version in versions if version.semvers]
        return (
            *sorted(named, key=lambda version: semver_key(version.semvers[0])),
            *(version for version in versions if not version.semvers),
        )

    def lineage(self, ref: str) -> tuple[Version, ...]:
        """Ancestors of a version, its parent first; tombstoned ones included."""
        version = self.get(ref, include_tombstoned=True)
        ancestors: list[Version] = []
        while version.lineage.parent is not None:
            version = self._load(version.lineage.parent)
            ancestors.append(version)
        return tuple(ancestors)

    def lineage_mermaid(self) -> str:
        """Draw every version and its parent as Mermaid text."""
        return mermaid(self.list())

    def verify(self) -> Verification:
        """Read every record and rehash every content; report all that is wrong instead of stopping at the first."""
        problems: list[str] = []
        expected: dict[str, list[str]] = {}
        parents: dict[str, str] = {}
        pointers: dict[str, str] = {}
        try:
            pointers = self._pointers()
        except DamagedError as error:
            problems.append(str(error))
        digests = self._digests()
        for digest in sorted(digests):
            try:
                record = self._record(digest)
                self._tombstone_reason(digest)
            except DamagedError as error:
                problems.append(str(error))
                continue
            names = sorted((name for name, to in pointers.items() if to == digest), key=semver_key)
            label = f"{names[-1]} ({digest[:8]})" if names else f"run {digest[:8]}"
            for role, file in record["files"].items():
                expected.setdefault(file["sha256"], []).append(f"{role} of {label}")
            if record["lineage"]["parent"] is not None:
                parents[label] = record["lineage"]["parent"]
        problems += [
            f"{semver} points to {digest[:12]}, which has no record; restore versions/{digest}.json from a copy"
            for semver, digest in sorted(pointers.items())
            if digest not in digests
        ]
        problems += [
            f"parent {parent[:12]} of {label} has no record; restore it from a copy"
            for label, parent in sorted(parents.items())
            if parent not in digests
        ]
        size_bytes = 0
        for content, users in sorted(expected.items()):
            path = self._object_path(content)
            problem = damage(path, content)
            if problem is not None:
                problems.append(f"{', '.join(users)}: {problem}")
            if path.exists():
                size_bytes += path.stat().st_size
        folder = self.root / "objects"
        present = {path.name for path in folder.iterdir() if is_digest(path.name)} if folder.is_dir() else set()
        return Verification(
            versions=len(digests),
            objects=len(expected),
            size_bytes=size_bytes,
            problems=tuple(problems),
            # a damaged record hides what it names, so nothing can be called unreferenced then
            unreferenced=() if problems else tuple(sorted(present - expected.keys())),
        )

    # ---- paths

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def _object_path(self, content: str) -> Path:
        return self.root / "objects" / content

    def _version_path(self, digest: str) -> Path:
        return self.root / "versions" / f"{digest}.json"

    def _pending_path(self, digest: str) -> Path:
        return self.root / "pending" / f"run-{digest}.json"

    def _tombstone_path(self, digest: str) -> Path:
        return self.root / "tombstones" / f"{digest}.json"

    # ---- inside

    def _digests(self) -> set[str]:
        named = {path.stem for path in (self.root / "versions").glob("*.json")}
        waiting = {path.stem.removeprefix("run-") for path in (self.root / "pending").glob("run-*.json")}
        return {digest for digest in named | waiting if is_digest(digest)}

    def _pointers(self) -> dict[str, str]:
        try:
            pointers: dict[str, str] = read_record(self.root / "pointers.json", _RESTORE_POINTERS)["pointers"]
        except FileNotFoundError:
            return {}
        return pointers

    def _tombstone_reason(self, digest: str) -> str | None:
        try:
            reason: str = read_record(self._tombstone_path(digest), _RESTORE_TOMBSTONE)["reason"]
        except FileNotFoundError:
            return None
        return reason

    def _record(self, digest: str) -> dict[str, Any]:
        named = self._version_path(digest)
        # Twice: a promotion beside us may take the waiting record away after we missed the named one.
        for path in (named, self._pending_path(digest), named):
            with contextlib.suppress(FileNotFoundError):
                record = read_record(path, _RESTORE_RECORD)
                break
        else:
            raise DamagedError(f"{named} is missing, though something names it; {_RESTORE_RECORD}")
        content = canonical_digest({role: file["sha256"] for role, file in record["files"].items()})
        if record["digest"] != digest or content != digest:
            raise DamagedError(f"{path}: it describes version {content[:12]}, not {digest[:12]}; {_RESTORE_RECORD}")
        return record

    def _load(self, digest: str, pointers: Mapping[str, str] | None = None) -> Version:
        record = self._record(digest)
        pointers = self._pointers() if pointers is None else pointers
        semvers = sorted((name for name, to in pointers.items() if to == digest), key=semver_key)
        reason = self._tombstone_reason(digest)
        status: Status = "tombstoned" if reason is not None else "promoted" if semvers else "pending"
        return Version(
            digest=digest,
            semvers=tuple(semvers),
            files={role: StoredFile(**file) for role, file in record["files"].items()},
            lineage=Lineage(**record["lineage"]),
            notes=record["notes"],
            status=status,
            tombstone=reason,
        )

    def _resolve(self, ref: str) -> str:
        digests = self._digests()
        pointers = self._pointers()
        if is_semver(ref):
            if ref not in pointers:
                raise UnknownNameError.of("version", ref, _names(digests, pointers))
            return pointers[ref]
        prefix = ref.removeprefix("run-")
        if prefix and not prefix.strip("0123456789abcdef") and len(prefix) < MIN_PREFIX:
            raise InputError(f"version is {ref!r}; give at least {MIN_PREFIX} digits of its digest, or its semver")
        found = sorted(digest for digest in digests if prefix and digest.startswith(prefix))
        if len(found) > 1:
            raise InputError(f"version is {ref!r}, which fits {', '.join(d[:16] for d in found)}; give more digits")
        if not found:
            raise UnknownNameError.of("version", ref, _names(digests, pointers))
        return found[0]

    def _refuse_lineage(self, digest: str, lineage: Lineage) -> None:
        reason = self._tombstone_reason(digest)
        if reason is not None:
            raise InputError(f"version {digest[:8]} is tombstoned: {reason!r}; its content cannot be registered again")
        parent = lineage.parent
        if parent is None:
            return
        digests = self._digests()
        if parent != digest and parent not in digests:
            raise UnknownNameError.of("parent version", parent, _names(digests, self._pointers()))
        if digest in {parent, *(v.digest for v in self.lineage(parent) if parent != digest)}:
            raise InputError(f"parent {parent[:8]} descends from version {digest[:8]} itself; give its true parent")

    def _store(self, content_digest: str, content: bytes) -> None:
        path = self._object_path(content_digest)
        if damage(path, content_digest) is not None:  # absent, or damaged and now made whole again
            write_atomic(path, content)


def _refuse_other_lineage(version: Version, lineage: Lineage, notes: str) -> None:
    was, now = {**version.lineage.to_json(), "notes": version.notes}, {**lineage.to_json(), "notes": notes}
    for field, value in was.items():
        if canonical_json(now[field]) != canonical_json(value):  # a tuple reads back as a list
            raise InputError(
                f"{version.label} is registered with {field} {value!r}, not {now[field]!r}; "
                f"a named version never changes, leave {field} as it was"
            )


def _names(digests: set[str], pointers: Mapping[str, str]) -> list[str]:
    """What a person could have meant: semvers, and short digests of versions without one."""
    return [*pointers, *(digest[:MIN_PREFIX] for digest in digests - set(pointers.values()))]
