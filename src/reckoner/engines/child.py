"""A server in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from reckoner.errors import EngineError

_QUOTED = 300


@contextmanager
def served(module: str, arguments: Sequence[str], what: str, *, threads: int = 1) -> Iterator[str]:
    """Run a module that prints its address once it serves.

    What it logs goes into a file, not into a pipe: a pipe that nobody reads holds 64 KB, and then the server stands
    still (llama.cpp after some 150 requests, seen 2026-11-21).

    Parameters
    ----------
    module : str
        Run by this interpreter.
    arguments : sequence of str
        Its arguments.
    what : str
        Named where it does not start, such as "llama.cpp on model.gguf".
    threads : int
        Threads of its linear algebra.

    Yields
    ------
    str
        Its address.

    Raises
    ------
    EngineError
        It did not start; with the end of what it logged.
    """
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends: a child may watch it
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
        ) as process,
    ):
        assert process.stdout is not None  # a pipe was asked for
        try:
            for line in process.stdout:
                if line.startswith("http"):
                    yield line.strip()
                    return
            process.wait()
            log.seek(0)
            told = log.read().decode("utf-8", "replace").strip().splitlines()
            raise EngineError(f"{what} did not start: {' '.join(told[-3:])[-_QUOTED:]}")
        finally:
            process.kill()
