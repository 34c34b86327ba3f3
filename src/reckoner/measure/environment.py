"""Where a figure was measured: processor, memory, governor, versions, thread settings."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from reckoner._version import __version__
from reckoner.errors import DamagedError, MissingExtraError
from reckoner.files import canonical_json, sha256

PACKAGES = ("numpy", "xllamacpp", "gguf", "safetensors", "psutil", "matplotlib", "plotly")
# What the BLAS libraries that numpy is built with, and OpenMP, read at start-up.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_GOVERNORS = Path("/sys/devices/system/cpu")
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the software under which a measurement ran.

    Attributes
    ----------
    versions : mapping of str to str or None
        Installed version by package, ``python`` and ``reckoner`` among them; None where a package is absent.
    cpu_model : str or None
        The processor's own name; None where the system does not tell.
    physical_cores, logical_cores, usable_cores : int or None
        Cores in hardware, hardware threads, and those that this process may use.
    ram_gib : float
        Physical memory. [GiB]
    governor : str or None
        Frequency governor of the cores ("mixed: a, b" when they differ); None where it cannot be read.
    thread_env : mapping of str to str or None
        The variables that limit the threads of BLAS and OpenMP; None where unset.
    """

    versions: Mapping[str, str | None]
    cpu_model: str | None
    physical_cores: int | None
    logical_cores: int
    usable_cores: int
    ram_gib: float
    governor: str | None
    os: str
    machine: str
    thread_env: Mapping[str, str | None]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built

    @classmethod
    def from_json(cls, value: Any) -> Environment:
        """Read back :meth:`to_json`.

        Raises
        ------
        DamagedError
            A field is missing or of another type.
        """
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise DamagedError(f"environment: {error}; restore the file or measure again") from error

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits; runs pool only when theirs are equal.

        Equal on one machine with one installation and the same thread settings.
        """
        return sha256(canonical_json(self.to_json()))[:8]


def fingerprint(packages: Iterable[str] = PACKAGES) -> Environment:
    """Describe this machine and this process.

    Raises
    ------
    MissingExtraError
        ``psutil`` is not installed.
    """
    try:
        import psutil
    except ImportError as error:
        raise MissingExtraError.of("psutil", "measure") from error
    logical = os.cpu_count() or 1
    return Environment(
        versions={
            "python": platform.python_version(),
            "reckoner": __version__,
            **{name: _version(name) for name in packages},
        },
        cpu_model=cpu_model(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=logical,
        usable_cores=len(usable_cores()) or logical,
        ram_gib=round(psutil.virtual_memory().total / 2**30, 2),
        governor=governor(),
        os=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        thread_env={name: os.environ.get(name) for name in THREAD_VARIABLES},
    )


def usable_cores() -> tuple[int, ...]:
    """Core numbers that this process may run on; empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def governor(root: Path = _GOVERNORS) -> str | None:
    """Frequency governor of the cores, or None where it cannot be read (virtual machines, other systems)."""
    seen = set()
    for path in sorted(root.glob("cpu[0-9]*/cpufreq/scaling_governor")):
        try:
            seen.add(path.read_text(encoding="ascii").strip())
        except OSError:
            return None
    if not seen:
        return None
    return seen.pop() if len(seen) == 1 else "mixed: " + ", ".join(sorted(seen))


def cpu_model(cpuinfo: Path = _CPUINFO) -> str | None:
    """Name that the processor gives itself, or None where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
