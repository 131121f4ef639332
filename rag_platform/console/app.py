"""The console as an ASGI application: routes, errors, static files, and the guard around them."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rag_platform.console import sign_in, web
from rag_platform.console.access import Access
from rag_platform.console.pages import (
    audit,
    costs,
    dead_letters,
    documents,
    health,
    home,
    indexes,
    models,
    reviews,
)
from rag_platform.console.security import Guard
from rag_platform.console.sessions import Sessions, key_of
from rag_platform.errors import PlatformError
from rag_platform.storage.objects import explain

if TYPE_CHECKING:
    from rag_platform.platform import Platform
    from rag_platform.retrieval.readers import Reader, System

_STATIC = Path(__file__).parent / "static"
# Each module says its own routes.
_PAGES = (home, documents, reviews, indexes, models, costs, dead_letters, audit, health)


def console(
    platform: "Platform",
    reader: "Reader | System",
    *,
    access: Access | None = None,
    sessions: Sessions | None = None,
    cookie: str = "rag_platform",
) -> Guard:
    """The application over a platform; `reader` is as whom it searches.

    `cookie` is the name of its cookie: a browser has one jar for all ports of a machine.
    """
    from obstore.exceptions import BaseError

    access = access or Access()
    hours = platform.settings.console.session_hours
    sessions = sessions or Sessions(key_of(access.token), hours=hours)
    routes: list[Route | Mount] = [route for module in _PAGES for route in module.ROUTES]
    routes += sign_in.routes(access, sessions)
    routes.append(Mount("/static", StaticFiles(directory=_STATIC), name="static"))
    app = Starlette(
        routes=routes,
        exception_handlers={
            PlatformError: _refused,
            HTTPException: _no_page,
            sa.exc.OperationalError: _no_catalog,
            BaseError: _no_store,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False  # to addresses made with the Host header
    app.state.desk = web.Desk(platform, reader)
    return Guard(app, access, sessions, cookie=cookie)


def _refused(request: Request, error: Exception) -> Response:
    """An error of ours, with what to do."""
    status = 404 if isinstance(error, web.NoSuchPage) else 409
    if isinstance(error, PlatformError) and error.transient:
        status = 503
    return web.page(request, "error.html", status=status, message=str(error))


def _no_page(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if "session" not in request.scope:
        return PlainTextResponse("not found", status)
    message = "There is no such page." if status == 404 else "This page is not asked so."
    return web.page(request, "error.html", status=status, message=message)


def _no_catalog(request: Request, error: Exception) -> Response:
    message = "The catalog does not answer. Try again; `rag-platform doctor` says what is wrong."
    return web.page(request, "error.html", status=503, message=message)


def _no_store(request: Request, error: Exception) -> Response:
    message = f"The object store `storage`: {explain(error)}"
    return web.page(request, "error.html", status=503, message=message)


def _failed(request: Request, error: Exception) -> Response:
    """The guard writes the log."""
    message = "An unexpected error; the log of the console has it."
    if "session" not in request.scope:
        return PlainTextResponse(message, 500)
    return web.page(request, "error.html", status=500, message=message)
