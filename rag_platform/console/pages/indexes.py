"""Index versions: what answers, how well, what may answer instead, and making it so."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rag_platform.console import charts, web
from rag_platform.console.decisions import Refused, reason_of
from rag_platform.console.links import links
from rag_platform.indexing.promotion import UnusableIndex
from rag_platform.indexing.versions import behind, names_of, versions_of
from rag_platform.retrieval.evaluation import Means, recent
from rag_platform.retrieval.metrics import METRICS
from rag_platform.retrieval.statistics import compare_latest

if TYPE_CHECKING:
    from rag_platform.platform import Platform

_DAY_S = 86_400
_SEARCHES = 20_000  # of an experiment that are looked at
_EXPERIMENT_DAYS = 30


def indexes(request: Request) -> Response:
    """All versions, the experiment, and what happened."""
    platform = web.platform(request)
    before = web.number(request, "before")
    found = platform.promotions.recent(web.A_PAGE + 1, before=before)
    history = found[: web.A_PAGE]
    metric = platform.settings.promotion.metric
    versions = versions_of(platform.settings, platform.catalog)
    return web.page(
        request,
        "indexes.html",
        versions=versions,
        live=platform.live(),
        metric=metric,
        means={version.name: _newest(platform, version.name, metric) for version in versions},
        golden=list(platform.settings.golden),
        back_to=_back_to(platform),
        experiment=_experiment(platform),
        history=history,
        older=history[-1].id if len(found) > web.A_PAGE else None,
        links=links(request),
    )


def _newest(platform: "Platform", index: str, metric: str) -> dict[str, float]:
    """The newest mean on each golden set."""
    found = {}
    for golden in platform.settings.golden:
        for means in recent(platform.catalog, index, golden, limit=1):
            found[golden] = means.mean(metric)
    return found


def _back_to(platform: "Platform") -> str | None:
    try:
        return platform.promotions.before()
    except UnusableIndex:
        return None


def _experiment(platform: "Platform") -> dict[str, Any] | None:
    from rag_platform.retrieval.experiment import report

    rules = platform.settings.search.experiment
    if rules is None:
        return None
    since = time.time() - _EXPERIMENT_DAYS * _DAY_S
    found = report(platform.catalog, rules.challenger, since=since, most=_SEARCHES)
    return {"rules": rules, "days": _EXPERIMENT_DAYS, "most": _SEARCHES, **found.as_json()}


def index(request: Request) -> Response:
    """One version: its recipe, what it holds, and how well it answers."""
    platform = web.platform(request)
    name, settings = _name(platform, request), platform.settings
    metric = settings.promotion.metric
    version = next(v for v in versions_of(settings, platform.catalog) if v.name == name)
    evaluations = {golden: recent(platform.catalog, name, golden) for golden in settings.golden}
    return web.page(
        request,
        "index.html",
        version=version,
        live=platform.live(),
        behind=behind(platform.catalog, name, list(settings.sources)),
        others=_others(platform, name),
        metrics=METRICS,
        metric=metric,
        evaluations={golden: found[0] for golden, found in evaluations.items() if found},
        chart=_chart(metric, evaluations),
        has_golden=bool(settings.golden),
        is_promotable=version.in_settings and version.state not in ("live", "retired"),
        is_retirable=version.state in ("kept", "beside"),
        links=links(request),
    )


def _chart(metric: str, evaluations: Mapping[str, Sequence[Means]]) -> charts.Chart | None:
    """The mean over time, where there is more than one evaluation."""
    if max((len(found) for found in evaluations.values()), default=0) < 2:
        return None
    series = {
        golden: [charts.Value(_minute(means.at), means.mean(metric)) for means in found]
        for golden, found in evaluations.items()
        if found
    }
    return charts.lines(f"{metric} of the evaluations", series)


def compare(request: Request) -> Response:
    """Two versions on the golden queries, as they were measured last."""
    platform = web.platform(request)
    name = _name(platform, request)
    others = _others(platform, name)
    other = request.query_params.get("with") or platform.live()
    metric = request.query_params.get("metric") or platform.settings.promotion.metric
    if metric not in METRICS:
        raise web.NoSuchPage(f"metric {metric[:40]!r}: choose from {', '.join(METRICS)}.")
    if other not in others:
        other = others[0] if others else ""
    compared = (
        compare_latest(
            platform.catalog,
            name,
            other,
            golden=platform.settings.golden,
            metric=metric,
        )
        if other
        else ()
    )
    return web.page(
        request,
        "index_compare.html",
        index=name,
        other=other,
        others=others,
        metric=metric,
        metrics=METRICS,
        compared=list(compared),
        margin=platform.settings.promotion.margin,
        interval=charts.interval,
    )


def gates(request: Request) -> Response:
    """What the gates say to a promotion now, and the form for it."""
    platform = web.platform(request)
    name = _name(platform, request)
    live = platform.live()
    if name == live:
        raise Refused(f"index {name}: answers already.")
    verdicts = platform.promotions.verdicts(name)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    return web.page(
        request,
        "index_promote.html",
        index=name,
        live=live,
        verdicts=verdicts,
        failed=failed,
        can_be_forced=all(verdict.gate != "built" for verdict in failed),
    )


def promote(request: Request) -> Response:
    """Let a version answer. Nothing is done where another one answers than was shown."""
    platform, form = web.platform(request), web.form(request)
    name, reason = _name(platform, request), reason_of(form)
    force = form.get("force") == "yes"
    row = web.actions(request).promote_index(
        name, reason=reason, force=force, seen=form.get("live", "")
    )
    if row.action == "refused":
        problems = "; ".join(row.problems)
        said = f"{row.index}: refused, {row.live} goes on answering. {problems}"
        return web.say_at(request, f"/indexes/{quote(name, safe='')}", said)
    forced = f" By force: {'; '.join(row.problems)}" if row.problems else ""
    return web.say_at(request, "/indexes", f"{row.live} answers.{forced}")


def roll_back(request: Request) -> Response:
    """Let the version answer again that answered before."""
    form = web.form(request)
    reason = reason_of(form)
    row = web.actions(request).roll_back_index(reason=reason, seen=form.get("live", ""))
    return web.say_at(request, "/indexes", f"{row.live} answers again.")


def retire(request: Request) -> Response:
    """Remove all that a version keeps."""
    form = web.form(request)
    name, reason = _name(web.platform(request), request), reason_of(form)
    if form.get("sure") != "yes":
        raise Refused(f"index {name}: not retired; say that you are sure.")
    web.actions(request).retire_index(name, reason=reason)
    said = f"{name} is retired. Take it out of platform.yaml."
    return web.say_at(request, "/indexes", said)


def _name(platform: "Platform", request: Request) -> str:
    """The version that the address names. Raises `NoSuchPage`."""
    name = str(request.path_params["index"])
    if name not in names_of(platform.settings, platform.catalog):
        raise web.NoSuchPage(f"index {name[:80]!r}: there is none of this name.")
    return name


def _others(platform: "Platform", name: str) -> list[str]:
    """The versions to compare with, the live one first."""
    live = platform.live()
    known = names_of(platform.settings, platform.catalog)
    return sorted((each for each in known if each != name), key=lambda each: each != live)


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _routes() -> Iterator[Route]:
    yield Route("/indexes", indexes)
    yield Route("/indexes/rollback", roll_back, methods=["POST"])
    yield Route("/indexes/{index}", index)
    yield Route("/indexes/{index}/compare", compare)
    yield Route("/indexes/{index}/promote", gates)
    yield Route("/indexes/{index}/promote", promote, methods=["POST"])
    yield Route("/indexes/{index}/retire", retire, methods=["POST"])


ROUTES = list(_routes())
