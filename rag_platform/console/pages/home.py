"""Search and ask: passages and answers, each with the place in its document that it is from."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rag_platform.console import web
from rag_platform.console.scope import scope
from rag_platform.encoders.sentences import one_line
from rag_platform.retrieval.answers import LONGEST_QUESTION, Citation
from rag_platform.retrieval.experiment import Found, NoSuchSearch, note_choice
from rag_platform.retrieval.readers import Reader
from rag_platform.retrieval.search import Result

if TYPE_CHECKING:
    from starlette.datastructures import ImmutableMultiDict, QueryParams

    from rag_platform.retrieval.search import Filters

logger = logging.getLogger(__name__)

RESULTS, MOST_RESULTS = 10, 50
_LONGEST_VALUE = 500
# The filters that are texts, with what they are called; `source` and `label` are chosen.
_WRITTEN = {
    "language": "Language, such as en",
    "key": "Key of a document",
    "topics": "Topic",
    "people": "Person",
    "organizations": "Organization",
    "author": "Author",
}
_FIELDS = ("source", "label", *_WRITTEN)

_REFUSALS = {
    "nothing_found": "Nothing was found that could hold the answer.",
    "weak_retrieval": "What was found is not like the question. The best of it is below.",
    "not_in_passages": "The passages that were found do not answer it. They are below.",
    "no_valid_citation": "What was said stands in none of the passages that were found, so it is "
    "not shown. They are below.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form holds: a query, and the filters that are set."""

    query: str
    filters: dict[str, str]
    k: int = RESULTS

    def address(self, **more: object) -> str:
        """The page of this search."""
        return f"/?{urlencode({'q': self.query, **self.filters, **more})}"


def home(request: Request) -> Response:
    """The form, and with a query what it finds."""
    k = web.number(request, "k", RESULTS) or RESULTS
    asked = _asked(request.query_params, min(k, MOST_RESULTS))
    if not asked.query:
        return _page(request, asked)
    live = web.platform(request).live_search(web.desk(request).reader)
    found = live.search(asked.query, asked.k, unit=web.user(request), filters=asked.filters)
    more = asked.k < MOST_RESULTS and len(found.results) == asked.k
    return _page(
        request,
        asked,
        found=found,
        links=_links(found),
        more=asked.address(k=min(asked.k + RESULTS, MOST_RESULTS)) if more else None,
    )


def ask(request: Request) -> Response:
    """An answer. A form that is sent, as a question may cost money."""
    asked = _asked(web.form(request))
    if not web.platform(request).settings.show_content:
        return _page(request, asked)
    platform, reader = web.platform(request), web.desk(request).reader
    live, searches = platform.live_search(reader), []

    def search(question: str, k: int, filters: "Filters") -> list[Result]:
        searches.append(live.search(question, k, unit=web.user(request), filters=filters))
        return searches[-1].results

    answers = platform.answers(reader, search=search)
    answer = answers.ask(asked.query, filters=asked.filters)
    [found] = searches
    return _page(
        request,
        asked,
        found=found,
        links=_links(found),
        answer=answer,
        cited=[_link_of(citation, found) for citation in answer.citations],
        refusal=_REFUSALS.get(answer.refusal or ""),
    )


def chosen(request: Request) -> Response:
    """On to a result, which counts as taken where a page of ours led to it."""
    params = request.query_params
    start, end = web.number(request, "start", 0), web.number(request, "end", 0)
    target = _passage(params.get("source", ""), params.get("doc", ""), start or 0, end or 0)
    search, rank = web.number(request, "search"), web.number(request, "rank")
    if search and rank and _from_here(request):
        try:
            note_choice(web.platform(request).catalog, search, rank)
        except NoSuchSearch:
            logger.info("search %s: no longer in the log", search)
    return RedirectResponse(target, 303)


def _from_here(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return urlsplit(request.headers.get("referer", "")).netloc == request.headers.get("host")


def _asked(fields: "QueryParams | ImmutableMultiDict[str, str]", k: int = RESULTS) -> Asked:
    """What was asked; more of a text than fits is left out."""
    filters = {name: one_line(fields.get(name, ""))[:_LONGEST_VALUE] for name in _FIELDS}
    query = one_line(fields.get("q", ""))[:LONGEST_QUESTION]
    return Asked(query, {name: value for name, value in filters.items() if value}, k)


def _page(request: Request, asked: Asked, **context: Any) -> Response:
    platform, reader = web.platform(request), web.desk(request).reader
    settings = platform.settings
    sources = scope(request).sources
    return web.page(
        request,
        "home.html",
        asked=asked,
        sources=settings.sources if sources is None else sources,
        labels=list(settings.enrichment.labels),
        written=_WRITTEN,
        longest=LONGEST_QUESTION,
        reader=reader if isinstance(reader, Reader) else None,
        live=platform.live(),
        show_content=settings.show_content,
        **{"found": None, "answer": None, "refusal": None, "more": None, **context},
    )


def _links(found: Found) -> list[str]:
    """Where each result stands in its document; by way of `chosen` in an experiment."""
    if found.search is None:
        return [_passage(r.source, r.doc_id, r.start, r.end) for r in found.results]
    return [
        "/chosen?"
        + urlencode(
            {
                "search": found.search,
                "rank": rank,
                "source": result.source,
                "doc": result.doc_id,
                "start": result.start,
                "end": result.end,
            }
        )
        for rank, result in enumerate(found.results, start=1)
    ]


def _link_of(citation: Citation, found: Found) -> str:
    """Where a quote stands in its document."""
    doc_id = next(
        result.doc_id
        for result in found.results
        if result.uri == citation.uri and result.start <= citation.start < result.end
    )
    return _passage(citation.source, doc_id, citation.start, citation.end)


def _passage(source: str, doc_id: str, start: int, end: int) -> str:
    """The page of a document with a passage marked."""
    path = f"/documents/{quote(source, safe='')}/{quote(doc_id, safe='')}"
    return f"{path}?start={start}&end={end}#passage-{start}-{end}"


ROUTES = [
    Route("/", home),
    Route("/ask", ask, methods=["POST"]),
    Route("/chosen", chosen),
]
