"""Long jobs in stages that survive being killed.

A stage is keyed by its inputs. When it is done, its result stands in one file, written whole; started again with the
same inputs the stage is read back instead of run. A kill at any moment loses at most the stage that was running.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reckoner.errors import DamagedError, InputError
from reckoner.files import canonical_json, read_json, sha256, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The finished stages of one job, kept in ``folder``.

    Attributes
    ----------
    folder : Path
        Where each finished stage leaves ``<name>.json``.
    """

    folder: Path

    def run(self, name: str, inputs: Any, work: Callable[[], Any]) -> tuple[Any, bool]:
        """Return the stage's result and whether it was read back instead of run.

        Parameters
        ----------
        name : str
            Name of the stage, unique in the job.
        inputs : JSON value
            All that the result depends on; when it changes, the stage runs again.
        work : callable
            Does the stage and returns a JSON value.
        """
        key = sha256(canonical_json(inputs))
        path = self.folder / f"{name}.json"
        kept = self._read(path)
        if kept is not None and kept["key"] == key:
            return kept["result"], True
        result = work()
        write_json(path, {"stage": name, "key": key, "result": result, "seal": sha256(canonical_json(result))})
        return result, False

    def _read(self, path: Path) -> dict[str, Any] | None:
        """The kept stage, or None when there is none or any byte of it changed (then it is simply done again)."""
        if not path.exists():
            return None
        try:
            kept = read_json(path)
            whole = isinstance(kept, dict) and kept["seal"] == sha256(canonical_json(kept["result"]))
        except (DamagedError, InputError, KeyError):
            return None
        return kept if whole and "key" in kept else None
