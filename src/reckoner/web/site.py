"""All pages in one ASGI application: a server runs it alone, and a service can mount it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reckoner.errors import MissingExtraError
from reckoner.web.gate import LOCAL, Gate
from reckoner.web.look import HEAD, TITLES
from reckoner.web.visit import Sources

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_ASSETS: Final = "/static"
_SESSION_TTL_S: Final = 3600  # a laptop that slept over lunch finds its page as it was


def site(sources: Sources, *, hosts: Iterable[str] = LOCAL) -> Gate:
    """The application with every page.

    Parameters
    ----------
    sources : Sources
        Ledger and folders that the pages show.
    hosts : iterable of str
        Names under which it may be addressed; by default this machine's own.

    Raises
    ------
    MissingExtraError
        marimo or starlette is not installed.
    """
    try:
        import marimo
        from starlette.applications import Starlette
        from starlette.routing import Mount, Route
        from starlette.staticfiles import StaticFiles
    except ImportError as error:
        raise MissingExtraError.of(error.name or "marimo", "web") from error
    folder = Path(__file__).with_name("pages")
    # One address for marimo's scripts, so that a browser keeps them for all pages.
    builder = marimo.create_asgi_app(
        quiet=True, include_code=False, session_ttl=_SESSION_TTL_S, asset_url=_ASSETS, html_head=HEAD
    )
    for name in TITLES:
        builder = builder.with_app(path=f"/{name}", root=str(folder / f"{name}.py"))

    class Kept(StaticFiles):
        """Files whose names change with their content: a browser need never ask again."""

        def file_response(self, *args: Any, **kwargs: Any) -> Response:
            response = super().file_response(*args, **kwargs)
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
            return response

    notebooks = builder.build()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - every lifespan is given its application
        warming = asyncio.create_task(asyncio.to_thread(_warm))
        try:
            yield
        finally:
            await asyncio.wait([warming])
            # A mounted application gets no lifespan of its own, and marimo's kernels would outlive the server.
            for mounted in notebooks.routes:
                manager = getattr(getattr(getattr(mounted, "app", None), "state", None), "session_manager", None)
                if manager is not None:
                    await manager.shutdown()

    static = Path(marimo.__file__).with_name("_static")
    routes = [
        Route("/", _first_page),
        Route("/healthz", _health),
        Mount(_ASSETS, Kept(directory=static)),
        Mount("/", notebooks),
    ]
    return Gate(Starlette(routes=routes, lifespan=lifespan), sources, hosts=hosts)


async def _first_page(request: Request) -> Response:  # noqa: ARG001 - every endpoint is given the request
    from starlette.responses import RedirectResponse

    return RedirectResponse(f"{next(iter(TITLES))}/")


async def _health(request: Request) -> Response:  # noqa: ARG001 - every endpoint is given the request
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("ok\n")


def _warm() -> None:
    """Do once what is slow only once, so that the first person need not wait: compile, read the catalogue."""
    from reckoner.audit.brief import brief
    from reckoner.audit.run import audit
    from reckoner.web.design import controls

    controls(brief())
    audit(brief())
