"""Whether the process lives, and whether the catalog answers: for what watches the console."""

import logging

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rag_platform.console import web

logger = logging.getLogger(__name__)


async def alive(_: Request) -> Response:
    """The process answers, also while all of its threads wait."""
    return PlainTextResponse("alive")


def ready(request: Request) -> Response:
    """The catalog answers, too."""
    try:
        with web.platform(request).catalog.read() as connection:
            connection.scalar(sa.select(1))
    except sa.exc.SQLAlchemyError as error:
        logger.warning("the catalog does not answer (%s)", type(error).__name__)
        return PlainTextResponse("the catalog does not answer", 503)
    return PlainTextResponse("ready")


ROUTES = [Route("/healthz", alive), Route("/readyz", ready)]
