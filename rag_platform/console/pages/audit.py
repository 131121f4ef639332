"""The audit log: who changed what, when and why."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.operations.audit import Audit

_KINDS = ("index", "model", "review", "document", "dead_letters")


def audit(request: Request) -> Response:
    """The newest first."""
    before = web.number(request, "before")
    action = request.query_params.get("action") or None
    entries = Audit(web.platform(request).catalog).entries(
        limit=web.A_PAGE + 1, before=before, action=action
    )
    shown = entries[: web.A_PAGE]
    older = shown[-1].id if len(entries) > web.A_PAGE else None
    return web.page(
        request,
        "audit.html",
        entries=shown,
        older=older,
        action=action,
        before=before,
        kinds=_KINDS,
    )


ROUTES = [Route("/audit", audit)]
