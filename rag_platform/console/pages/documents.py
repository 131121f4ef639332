"""Documents: finding them, and the life of one."""

import json
import uuid
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.console.links import links
from rag_platform.console.scope import scope
from rag_platform.console.texts import Mark, around, excerpt
from rag_platform.documents import access, life
from rag_platform.documents.dead_letters import remedy
from rag_platform.erasure import receipts

if TYPE_CHECKING:
    from rag_platform.console.texts import Excerpt
    from rag_platform.documents.access import Scope
    from rag_platform.documents.texts import DocumentText

_ERASED = "erased"
_LONGEST_WORDS = 200
# What of a document stands at which stage; each has its page in Dagster.
_STAGES = ("raw_docs", "parsed_docs", "clean_docs")


def listed(request: Request) -> Response:
    """Documents by source, state and what their address holds, the newest change first."""
    seen = scope(request)
    platform = web.platform(request)
    wanted = request.query_params
    source = wanted.get("source") or None
    text = wanted.get("q", "").strip()[:_LONGEST_WORDS]
    state = wanted.get("state") or None
    before = web.number(request, "before")
    rows: list[Any]
    if state == _ERASED:
        rows, older = _erased(request, seen, source, before)
    else:
        rows, older = life.found(
            platform.catalog,
            seen,
            source=source,
            state=next((one for one in life.STATES if one == state), None),
            text=text,
            before=before,
            most=web.A_PAGE,
        )
    return web.page(
        request,
        "documents.html",
        rows=rows,
        older=older,
        before=before,
        source=source,
        state=state,
        text=text,
        sources=[name for name in platform.settings.sources if seen.has(name)],
        states=[*life.STATES, _ERASED],
        erased=_ERASED,
    )


def _erased(
    request: Request, seen: "Scope", source: str | None, before: int | None
) -> tuple[list[receipts.Erasure], int | None]:
    rows = receipts.newest(
        web.platform(request).catalog,
        sources=[source] if source else seen.sources,
        before=before,
        most=web.A_PAGE + 1,
    )
    shown = [row for row in rows[: web.A_PAGE] if seen.allows_forgotten(row.source)]
    return shown, rows[web.A_PAGE - 1].id if len(rows) > web.A_PAGE else None


def document(request: Request) -> Response:
    """The life of one document, with its text; `start` and `end` mark a passage in it."""
    source, doc_id = _address(request)
    platform = web.platform(request)
    seen = scope(request)
    found = life.life(platform.catalog, seen, source, doc_id)
    erasure = _erasure(request, source, doc_id)
    if found is None and erasure is None:
        raise web.NoSuchPage("There is no such document, or not for you. It may have been erased.")
    text = _text(request, found) if found else None
    shown = _excerpt(request, text) if text and platform.settings.show_content else None
    return web.page(
        request,
        "document.html",
        source=source,
        doc_id=doc_id,
        life=found,
        known=found.known if found else None,
        erasure=erasure,
        text=text,
        excerpt=shown,
        show_content=platform.settings.show_content,
        readers=access.read(found.known.acl) if found and found.known else [],
        remedy=remedy,
        live=platform.live(),
        stages=_STAGES,
        most_changes=life.MOST_CHANGES,
        links=links(request),
    )


def _erasure(request: Request, source: str, doc_id: str) -> receipts.Erasure | None:
    """The newest request to erase a document; None without one, or where it is not to be shown."""
    if not scope(request).allows_forgotten(source):
        return None
    catalog = web.platform(request).catalog
    return next(iter(receipts.newest(catalog, sources=[source], doc_id=doc_id, most=1)), None)


def _address(request: Request) -> tuple[str, str]:
    doc_id: uuid.UUID = request.path_params["doc_id"]
    return request.path_params["source"], str(doc_id)


def _text(request: Request, found: life.Life) -> "DocumentText | None":
    """The text as the indexes are made of it."""
    from rag_platform.documents.texts import text_of

    platform = web.platform(request)
    known = found.known
    if known is None or known.state != "live" or found.source not in platform.settings.sources:
        return None
    return text_of(platform.documents(found.source), known, platform.pages)


def _excerpt(request: Request, text: "DocumentText") -> "Excerpt":
    start, end = web.number(request, "start"), web.number(request, "end")
    size = len(text.text)
    if start is None or end is None or not start < end <= size:
        return excerpt(
            text.text, at=web.number(request, "at", 0) or 0, page_starts=text.page_starts
        )
    at = web.number(request, "at", around(size, start, end)) or 0
    marks = [Mark(start, end, "passage")]
    return excerpt(text.text, at=at, marks=marks, page_starts=text.page_starts)


def run(request: Request) -> Response:
    """To the run in Dagster that wrote a page of a stage last; to the stage where none is known."""
    from rag_platform.defs.operations.latest_run import latest_run

    source, stage, window = (request.path_params[name] for name in ("source", "stage", "window"))
    platform = web.platform(request)
    if not scope(request).has(source) or source not in platform.settings.sources:
        raise web.NoSuchPage("There is no such page of a source.")
    platform.calendar(source).check(window)
    run_id = latest_run(platform.settings, [source, stage], window)
    to = links(request)
    return RedirectResponse(to.run(run_id) if run_id else to.asset(source, stage, partition=window))


def receipt(request: Request) -> Response:
    """The receipt of an erasure, as `rag-platform receipts --json` prints it."""
    source, doc_id = _address(request)
    erasure = _erasure(request, source, doc_id)
    if erasure is None:
        raise web.NoSuchPage("There is no such receipt.")
    body = json.dumps(erasure.as_json(), indent=2)
    name = f"receipt-{erasure.id}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/json", headers=headers)


ROUTES = [
    Route("/documents", listed),
    Route("/documents/{source}/{doc_id:uuid}", document),
    Route("/documents/{source}/{doc_id:uuid}/receipt.json", receipt),
    Route("/documents/{source}/runs/{stage}/{window}", run),
]
