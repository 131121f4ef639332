"""The review queue: what waits for a person, one review with its text, and deciding."""

import time
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.console.scope import scope
from rag_platform.console.texts import Excerpt, excerpt, named
from rag_platform.enrichment.fields import FieldsRefused, digest_of, is_list
from rag_platform.enrichment.review_desk import CORRECTABLE, ReviewDesk, as_written, changed
from rag_platform.enrichment.reviews import Review, ReviewClosed

# Kinds of names that are marked in the text.
_NAMES = ("people", "organizations", "dates", "topics")
_LONGEST_NOTE = 2_000


def listed(request: Request) -> Response:
    """What is open, the most urgent first; or what was decided, the newest first."""
    query = request.query_params
    platform = web.platform(request)
    seen = scope(request)
    desk = _desk(request)
    now = time.time()
    source = query.get("source") or None
    show = query.get("show") if query.get("show") in ("overdue", "decided") else "open"
    rows: list[Review]
    if show == "decided":
        rows, last = desk.decided(
            source=source, before=web.number(request, "before"), most=web.A_PAGE
        )
        older = {"before": str(last)} if last is not None else {}
    else:
        overdue_at = now if show == "overdue" else None
        rows, place = desk.page(
            source=source, overdue_at=overdue_at, after=_place(request), most=web.A_PAGE
        )
        older = {"after": f"{place[0]!r} {place[1]}"} if place else {}
    return web.page(
        request,
        "reviews.html",
        rows=rows,
        older=older and "/reviews?" + urlencode(_filters(source) | {"show": show} | older),
        source=source,
        show=show,
        first=desk.first(source),
        waiting=desk.waiting(now),
        now=now,
        sources=[name for name in platform.settings.enrichment.sources if seen.has(name)],
    )


def _place(request: Request) -> tuple[float, int] | None:
    """After which review a page begins, as the page before it says."""
    try:
        due_at, written = request.query_params.get("after", "").split(" ")
        number = web.whole(written)
        return None if number is None else (float(due_at), number)
    except ValueError:
        return None


def shown(request: Request) -> Response:
    """One review, with the text that it is about."""
    return _page(request, _review(request))


def _page(
    request: Request,
    review: Review,
    *,
    status: int = 200,
    problem: str | None = None,
    written: dict[str, str] | None = None,
) -> Response:
    """A review as a page; `written` is what the form for corrections holds, by default what is
    proposed."""
    platform = web.platform(request)
    desk = _desk(request)
    source = request.query_params.get("source") or None
    show_content = platform.settings.show_content
    fields = {**review.fields, **(review.decision or {})}
    return web.page(
        request,
        "review.html",
        status=status,
        review=review,
        fields={name: as_written(fields.get(name)).splitlines() for name in CORRECTABLE},
        label=fields.get("label") or review.label,
        is_corrected=written is not None,
        form=written or {name: as_written(review.fields.get(name)) for name in CORRECTABLE},
        is_list=is_list,
        names=_NAMES,
        digest=_digest(review),
        labels=platform.settings.enrichment.labels,
        excerpt=_excerpt(request, review) if show_content else None,
        show_content=show_content,
        problem=problem,
        is_overdue=review.is_overdue(time.time()),
        next=desk.next(review, source),
        previous=desk.previous(review, source),
        filters="?" + urlencode(_filters(source)) if source else "",
    )


def _excerpt(request: Request, review: Review) -> Excerpt | None:
    """The text with the names that are proposed; None where the page has it no more."""
    platform = web.platform(request)
    if review.source not in platform.settings.sources:
        return None
    from rag_platform.enrichment.texts import text_of_review

    text = text_of_review(
        platform.clean(review.source), review, catalog=platform.catalog, pages=platform.pages
    )
    if text is None:
        return None
    names = {kind: review.fields.get(kind) or [] for kind in _NAMES}
    return excerpt(text, at=web.number(request, "at", 0) or 0, marks=named(text, names))


def decide(request: Request) -> Response:
    """Approve, correct or reject; then the next review opens. Who comes second is told who came
    first."""
    review = _review(request)
    form = web.form(request)
    note = form.get("note", "").strip()[:_LONGEST_NOTE] or None
    actions = web.actions(request)
    how = request.path_params["how"]
    if how not in _DONE:
        raise web.NoSuchPage("A review is approved, corrected or rejected.")
    if review.status == "open" and form.get("digest") != _digest(review):
        problem = "The proposal has changed since this page was opened. Look at it again."
        return _page(request, review, status=409, problem=problem)
    try:
        if how == "approve":
            numbers = actions.approve_review(review.id, note=note)
        elif how == "reject":
            numbers = actions.reject_review(review.id, note=note)
        else:
            numbers = actions.correct_review(review.id, **_corrected(review, form), note=note)
    except ReviewClosed as error:
        return _page(request, _review(request), status=409, problem=str(error))
    except FieldsRefused as error:
        written = {name: str(form.get(name, "")) for name in CORRECTABLE}
        return _page(request, review, status=422, problem=str(error), written=written)
    source = request.query_params.get("source") or None
    same = f", and with it {len(numbers) - 1} of the same text" if len(numbers) > 1 else ""
    desk = _desk(request)
    number = desk.next(review, source) or desk.first(source)
    address = f"/reviews/{number}" if number else "/reviews"
    query = f"?{urlencode(_filters(source))}" if source else ""
    return web.say_at(request, address + query, f"Review {review.id}: {_DONE[how]}{same}.")


_DONE = {"approve": "approved", "correct": "corrected", "reject": "rejected"}


def _corrected(review: Review, form: Any) -> dict[str, Any]:
    """The label and the fields that differ from the proposal."""
    label = form.get("label") or None
    fields = changed(review, form)
    if not fields and label in (None, review.label):
        raise FieldsRefused(
            "Nothing differs from what is proposed: approve it, or put something right."
        )
    return {"label": label if label != review.label else None, "fields": fields}


def _digest(review: Review) -> str:
    """Of what is proposed: a decision is on what its page showed."""
    return digest_of({**review.fields, "label": review.label})


def start(request: Request) -> Response:
    """To the most urgent review."""
    source = request.query_params.get("source") or None
    number = _desk(request).first(source)
    query = f"?{urlencode(_filters(source))}" if source else ""
    return RedirectResponse((f"/reviews/{number}" if number else "/reviews") + query, 303)


def _review(request: Request) -> Review:
    number: int = request.path_params["number"]
    found = _desk(request).get(number) if number < 2**63 else None
    if found is None:
        raise web.NoSuchPage(f"There is no review {number}, or not for you.")
    return found


def _desk(request: Request) -> ReviewDesk:
    return ReviewDesk(web.platform(request).catalog, scope(request))


def _filters(source: str | None) -> dict[str, str]:
    return {"source": source} if source else {}


ROUTES = [
    Route("/reviews", listed),
    Route("/reviews/next", start),
    Route("/reviews/{number:int}", shown),
    Route("/reviews/{number:int}/{how}", decide, methods=["POST"]),
]
