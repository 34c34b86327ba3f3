"""llama.cpp's own OpenAI server in a process of its own, for clients that measure it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reckoner.engines.child import served
from reckoner.engines.gguf_file import check_gguf
from reckoner.errors import InputError, MissingExtraError


@contextmanager
def llamacpp_server(gguf: str | Path, *, parallel: int = 4, threads: int = 1, n_ctx: int = 0) -> Iterator[str]:
    """Serve a model for as long as the block lasts.

    Parameters
    ----------
    gguf : path
        The model.
    parallel : int
        Requests that it works on at once.
    threads : int
        Threads that compute.
    n_ctx : int
        Tokens of the cache over all of them; by default the model's own context for each. [token]

    Yields
    ------
    str
        Its address.

    Raises
    ------
    EngineError
        It did not start.
    """
    facts = check_gguf(gguf)
    if parallel < 1 or threads < 1:
        raise InputError(f"parallel is {parallel} and threads {threads}; each is at least 1")
    context = n_ctx or (facts.context_length or 2048) * parallel
    arguments = [str(gguf), "--parallel", str(parallel), "--threads", str(threads), "--context", str(context)]
    with served("reckoner.engines.llamacpp_server", arguments, f"llama.cpp on {gguf}") as address:
        yield address


def main() -> None:
    """Load, print the address, serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=8192)
    given = parser.parse_args()
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError.of("xllamacpp", "engines") from error
    params = xllamacpp.CommonParams()
    params.model.path = given.gguf
    params.n_ctx, params.n_parallel = given.context, given.parallel
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.endpoint_metrics, params.fit_params, params.ui = True, False, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    params.cache_prompt, params.cache_ram_mib, params.warmup = False, 0, True
    params.verbosity = -1  # its log of every request is time that it does not compute
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600.0)


if __name__ == "__main__":
    main()
