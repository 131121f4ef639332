"""Models: what serves, what is tried beside it, by which gates, and changing that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rag_platform.console import charts, web
from rag_platform.console.decisions import Refused, reason_of
from rag_platform.console.links import links
from rag_platform.training import catalogue
from rag_platform.training.comparing import side_by_side, verdict
from rag_platform.training.drift.log import DriftLog
from rag_platform.training.gates import bounds
from rag_platform.training.overview import Evaluated, Standing, evaluated, standing
from rag_platform.training.rollout import decide

if TYPE_CHECKING:
    from rag_platform.platform import Platform
    from rag_platform.training.spec import ModelSpec

_WEEKS = 12
_DRIFTS = 10


def models(request: Request) -> Response:
    """Each model in a row."""
    platform = web.platform(request)
    rows = [
        standing(platform.settings, platform.models.promotions, name)
        for name in catalogue.catalogue()
    ]
    drift = DriftLog(platform.catalog)
    return web.page(
        request,
        "models.html",
        models=rows,
        drift={row.model: next(iter(drift.recent(row.model, limit=1)), None) for row in rows},
    )


def model(request: Request) -> Response:
    """One model: its versions, how the last candidates were measured, and what happened."""
    platform, spec = web.platform(request), _spec(request)
    promotions, name = platform.models.promotions, spec.name
    now = standing(platform.settings, promotions, name)
    weeks = (
        evaluated(platform.models.training(name), promotions, limit=_WEEKS) if now.enabled else []
    )
    found = promotions.recent(name, web.A_PAGE + 1, before=web.number(request, "before"))
    history = found[: web.A_PAGE]
    rollout, previous = now.rollout, promotions.previous(name)
    return web.page(
        request,
        "model.html",
        spec=spec,
        now=now,
        next_step=_next_step(platform, now),
        steps=platform.settings.models[name].rollout.steps if now.enabled else (),
        newest=weeks[0] if weeks else None,
        intervals=_intervals(weeks[0]) if weeks else {},
        chart=_chart(platform, spec, weeks),
        drift=DriftLog(platform.catalog).recent(name, limit=_DRIFTS),
        versions=_registered(platform, name, now),
        state=promotions.state(name),
        withdraws=rollout.challenger if rollout and rollout.share > 0 else None,
        previous=previous,
        scored=now.enabled and platform.settings.models[name].scoring is not None,
        history=history,
        older=history[-1].id if len(found) > web.A_PAGE else None,
        links=links(request),
    )


def _next_step(platform: "Platform", now: Standing) -> str | None:
    """What the challenger still has to show."""
    if now.rollout is None or not now.enabled:
        return None
    rules, rollout = platform.settings.models[now.model].rollout, now.rollout
    return decide(rules, share=rollout.share, units=rollout.units, violations=()).reason


def _intervals(newest: Evaluated) -> dict[str, charts.Interval | None]:
    return {
        row.gate: charts.interval(row.value, row.low, row.high, row.bound)
        for row in newest.evaluation.verdicts
    }


def _chart(
    platform: "Platform", spec: "ModelSpec", weeks: Sequence[Evaluated]
) -> charts.Chart | None:
    """The metric that the task is judged by, week by week, against its gate."""
    metric = spec.task.primary
    values = [
        charts.Value(each.week, estimate.value, estimate.low, estimate.high)
        for each in weeks
        if (estimate := each.evaluation.metrics.get(metric)) is not None
    ]
    if len(values) < 2:
        return None
    bound = bounds(spec, platform.settings.models[spec.name].gates).get(metric)
    return charts.lines(f"{metric} of the candidates by week", {metric: values}, rule=bound)


def _registered(platform: "Platform", name: str, now: Standing) -> list[str]:
    """The versions that may be promoted: the challenger first, then the newest."""
    champion = now.champion.version if now.champion else None
    challenger = now.challenger.version if now.challenger else None
    rows = reversed(platform.models.promotions.history(name))
    numbers = [row.version for row in rows if row.action == "registered"]
    kept = [number for number in dict.fromkeys(numbers) if number != champion]
    return sorted(kept, key=lambda number: number != challenger)[: web.A_PAGE]


def compare(request: Request) -> Response:
    """Two versions side by side, as MLflow has their evaluations."""
    platform, spec = web.platform(request), _spec(request)
    now = standing(platform.settings, platform.models.promotions, spec.name)
    known = _registered(platform, spec.name, now)
    if now.champion is not None:
        known.insert(0, now.champion.version)
    if len(known) < 2:
        raise web.NoSuchPage(f"{spec.name}: there are no two versions to compare.")
    a, b = (request.query_params.get(name) or known[n] for n, name in enumerate(("a", "b")))
    if a not in known or b not in known:
        raise web.NoSuchPage(f"{spec.name}: compare two of its versions: {', '.join(known)}.")
    found = side_by_side(platform.models.registry, spec.name, a, b)
    return web.page(
        request,
        "model_compare.html",
        spec=spec,
        known=known,
        a=a,
        b=b,
        found=found,
        names=list(dict.fromkeys([*found["a"]["metrics"], *found["b"]["metrics"]])),
        told=verdict(found["paired"]),
        links=links(request),
    )


def promote(request: Request) -> Response:
    """Let a version serve all units. Nothing is done where another one serves than was shown."""
    platform, spec, form = web.platform(request), _spec(request), web.form(request)
    reason, version = reason_of(form), form.get("version", "")
    now = standing(platform.settings, platform.models.promotions, spec.name)
    if version not in _registered(platform, spec.name, now):
        raise Refused(f"{spec.name}: there is no version {version[:40]!r} to promote.")
    row = web.actions(request).promote_model(
        spec.name, version, reason=reason, seen=form.get("shown", "")
    )
    return web.say_at(request, _address(spec.name), f"Version {row.version} serves.")


def roll_back(request: Request) -> Response:
    """Undo the last change of what serves."""
    spec, form = _spec(request), web.form(request)
    reason = reason_of(form)
    row = web.actions(request).roll_back_model(spec.name, reason=reason, seen=form.get("shown", ""))
    said = f"Version {row.champion} serves."
    if row.action == "withdrawn":
        said = f"Version {row.version} is tried no longer. {said}"
    return web.say_at(request, _address(spec.name), said)


def _spec(request: Request) -> "ModelSpec":
    """The model that the address names. Raises `NoSuchPage`."""
    name = str(request.path_params["model"])
    found = catalogue.catalogue().get(name)
    if found is None:
        raise web.NoSuchPage(f"model {name[:80]!r}: there is none of this name.")
    return found


def _address(name: str) -> str:
    return f"/models/{quote(name, safe='')}"


ROUTES = [
    Route("/models", models),
    Route("/models/{model}", model),
    Route("/models/{model}/compare", compare),
    Route("/models/{model}/promote", promote, methods=["POST"]),
    Route("/models/{model}/rollback", roll_back, methods=["POST"]),
]
