"""Serve the pages on this machine until somebody presses Ctrl-C."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reckoner.errors import InputError, MissingExtraError
from reckoner.web.visit import Sources

if TYPE_CHECKING:
    import uvicorn

_GRACE_S = 2  # what an open page is given to finish when the server stops


def serve(sources: Sources, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve all pages on 127.0.0.1.

    Parameters
    ----------
    port : int
        0 takes any free one.
    ready : callable
        Called with the address as soon as the pages answer.

    Raises
    ------
    InputError
        The port is taken.
    MissingExtraError
        marimo or uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError.of("uvicorn", "web") from error
    from reckoner.web.site import site

    with _listening(port) as listening:
        address = f"http://localhost:{listening.getsockname()[1]}/"
        config = uvicorn.Config(
            site(sources), log_level="warning", timeout_graceful_shutdown=_GRACE_S, ws_max_size=2**22
        )
        # Ctrl-C is how a server is meant to end, so it is no error here.
        with contextlib.suppress(KeyboardInterrupt):
            _server(config, lambda: ready(address)).run(sockets=[listening])


def _server(config: uvicorn.Config, ready: Callable[[], None]) -> uvicorn.Server:
    import uvicorn

    class Told(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready()

    return Told(config)


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} cannot be used: {error.strerror}; name another with --port, or 0 for any free one"
        ) from error
    with listening:
        yield listening
