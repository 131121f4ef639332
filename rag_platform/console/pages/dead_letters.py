"""Dead letters: what could not be used, why, what to do, and trying it again."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.console.links import links
from rag_platform.console.replays import ReplayRefused, Wanted
from rag_platform.console.scope import scope
from rag_platform.documents.dead_letters import letters, remedy
from rag_platform.documents.life import document
from rag_platform.operations.audit import Audit
from rag_platform.operations.letter_pages import Place, documents_page, kinds, steps_page

_REPLAYS_SHOWN = 5
_ACTION = "dead_letters.replay"


def listed(request: Request) -> Response:
    """The letters by kind, and one by one; `of=steps` for those of later steps."""
    platform = web.platform(request)
    seen = scope(request)
    query = request.query_params
    wanted = {name: query.get(name) or None for name in ("source", "stage", "reason")}
    of_steps = query.get("of") == "steps"
    if of_steps:
        found, last = steps_page(
            platform.catalog, seen, **wanted, before=_place(request), most=web.A_PAGE
        )
        older = None if last is None else " ".join([repr(last[0]), *last[1:]])
    else:
        before = web.number(request, "before")
        found, number = documents_page(
            platform.catalog, seen, **wanted, before=before, most=web.A_PAGE
        )
        older = None if number is None else str(number)
    replays = web.desk(request).replays
    return web.page(
        request,
        "dead_letters.html",
        kinds=kinds(platform.catalog, seen, wanted["source"]),
        letters=found,
        older=older,
        wanted=wanted,
        of_steps=of_steps,
        sources=[name for name in platform.settings.sources if seen.has(name)],
        remedy=remedy,
        all_of_them=_sees_all(request),
        is_running=replays.is_running,
        problems=replays.problems(),
        replays=Audit(platform.catalog).entries(limit=_REPLAYS_SHOWN, action=_ACTION),
        links=links(request),
    )


def _place(request: Request) -> Place | None:
    """Where a page of step letters begins, as the page before it says."""
    parts = request.query_params.get("before", "").split(" ", 3)
    try:
        at, source, stage, item = parts
        return float(at), source, stage, item
    except ValueError:
        return None


def replay(request: Request) -> Response:
    """Try letters again: one (`doc_id`), those of a reason, those of a source, or all of them."""
    form = web.form(request)
    platform = web.platform(request)
    source, reason = form.get("source") or None, form.get("reason") or None
    _refuse_others(request, source, form.get("doc_id"))
    found = [
        letter
        for letter in letters(platform.catalog, source=source, reason=reason)
        if letter.source in platform.settings.sources
        and form.get("doc_id") in (None, letter.doc_id)
    ]
    chosen = [letter for letter in found if not letter.quarantined]
    address = "/dead-letters" + (f"?{urlencode({'source': source})}" if source else "")
    if not chosen:
        left = " What is in quarantine is left until its bytes change." if found else ""
        return web.say_at(request, address, f"Nothing to try again.{left}")
    keys = tuple(letter.key for letter in chosen) if "doc_id" in form else ()
    begun = web.desk(request).replays.begin(
        web.actions(request), Wanted(source, reason, keys), chosen
    )
    where = f"in Dagster ({', '.join(begun)})" if begun else "here"
    return web.say_at(request, address, f"{len(chosen)} are being tried again {where}.")


def _refuse_others(request: Request, source: str | None, doc_id: str | None) -> None:
    """Letters of other sources, and single ones that are not shown, are not replayed either."""
    seen = scope(request)
    if source is None:
        if doc_id is not None or not _sees_all(request):
            raise ReplayRefused("Say of which source: nothing was tried again.")
        return
    if not seen.has(source):
        raise web.NoSuchPage("There is no such source.")
    platform = web.platform(request)
    platform.source_settings(source)
    if doc_id is not None and document(platform.catalog, seen, source, doc_id) is None:
        raise web.NoSuchPage("There is no such dead letter.")


def _sees_all(request: Request) -> bool:
    """Whether something is shown of every source."""
    return all(map(scope(request).has, web.platform(request).settings.sources))


ROUTES = [
    Route("/dead-letters", listed),
    Route("/dead-letters/replay", replay, methods=["POST"]),
]
