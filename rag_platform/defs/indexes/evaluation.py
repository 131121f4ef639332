"""The asset that measures an index version by golden queries."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents.metadata import table
from rag_platform.defs.plots import png
from rag_platform.defs.shared import OWNERS, asset_key, one_line
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rag_platform.retrieval.evaluation import Evaluation
    from rag_platform.retrieval.golden import Golden

EVALUATION = "evaluation"
DOCUMENTS_ARE_THERE = "golden_documents_are_there"
NOT_WORSE = "not_worse_than_live"
_SHOWN = 10

# When pages have reached the index, and none is under way.
_AFTER_THE_INDEX = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


def evaluations(settings: Settings) -> list[dg.AssetsDefinition]:
    """An asset for each index version; none where the settings have no golden queries."""
    return [_evaluation(index, settings) for index in settings.indexes] if settings.golden else []


def evaluation_key(index: str) -> dg.AssetKey:
    """[index, "evaluation"]."""
    return dg.AssetKey([index, EVALUATION])


def _evaluation(index: str, settings: Settings) -> dg.AssetsDefinition:
    key = evaluation_key(index)
    own = {golden.source for golden in settings.golden.values()}
    sources = [name for name in settings.sources if name in own or None in own]
    metric, margin = settings.promotion.metric, settings.promotion.margin

    @dg.asset(
        key=key,
        deps=[asset_key(source, "vector_index", index) for source in sources],
        automation_condition=_AFTER_THE_INDEX,
        group_name="indexes",
        owners=OWNERS,
        kinds={"python", "qdrant"},
        pool="vector_store",
        check_specs=[
            dg.AssetCheckSpec(
                DOCUMENTS_ARE_THERE,
                asset=key,
                description="The source has every document that the golden queries ask for.",
            ),
            dg.AssetCheckSpec(
                NOT_WORSE,
                asset=key,
                description=f"The interval of the paired difference in {metric} from the live "
                f"index does not go below -{margin:g}.",
            ),
        ],
        description=(
            f"How well {index} answers queries whose documents are known: "
            f"{', '.join(settings.golden)}. Passages count for their documents."
        ),
    )
    def evaluation(platform: PlatformResource) -> dg.MaterializeResult:
        with one_line():
            return _measured(platform.parts, index, key)

    return evaluation


def _measured(parts: Platform, index: str, key: dg.AssetKey) -> dg.MaterializeResult:
    from rag_platform.retrieval.evaluation import evaluate, missing_documents, record
    from rag_platform.retrieval.readers import EVERYTHING

    if index not in parts.indexes:
        passed = [_result(key, check, []) for check in (DOCUMENTS_ARE_THERE, NOT_WORSE)]
        return dg.MaterializeResult(metadata={"state": "retired"}, check_results=passed)
    told: dict[str, Any] = console_link(parts.settings, "indexes", index)
    missing: dict[str, list[str]] = {}
    worse: list[str] = []
    sets = [parts.golden(name) for name in parts.settings.golden]
    with parts.searcher(index, reader=EVERYTHING) as searcher:
        found = [(golden, evaluate(searcher, golden)) for golden in sets]
    for golden, evaluation in found:
        record(parts.catalog, evaluation)
        told |= evaluation_metadata(evaluation)
        if absent := missing_documents(parts.catalog, golden):
            missing[golden.name] = absent
        if problem := _worse_than_live(parts, golden, evaluation):
            worse.append(problem)
    return dg.MaterializeResult(
        metadata=told,
        check_results=[
            _result(key, DOCUMENTS_ARE_THERE, [_absent(*item) for item in missing.items()]),
            _result(key, NOT_WORSE, worse),
        ],
    )


def _absent(golden: str, documents: list[str]) -> str:
    return (
        f"{golden}: asks for documents that its source does not have ({len(documents):,}, such as "
        f"{documents[0][:80]!r}); correct the ids in qrels.tsv, or sync the source"
    )


def _worse_than_live(parts: Platform, golden: "Golden", evaluation: "Evaluation") -> str | None:
    """What speaks against the index in comparison with the live one; None if nothing does."""
    from rag_platform.retrieval.evaluation import latest
    from rag_platform.retrieval.live import live_index
    from rag_platform.retrieval.statistics import compare

    live = live_index(parts.catalog, parts.settings.live)
    if evaluation.index == live:
        return None
    rules = parts.settings.promotion
    other = latest(parts.catalog, live, golden.name)
    if other is None or other.digest != golden.digest:
        return f"{golden.name}: {live} has not been evaluated on these queries; evaluate it"
    found = compare(evaluation, other, rules.metric)
    if found.low is None:
        return f"{golden.name}: {found.queries} queries are too few to tell"
    if found.low >= -rules.margin:
        return None
    return (
        f"{golden.name}: {rules.metric} {evaluation.mean(rules.metric):.3f} against "
        f"{other.mean(rules.metric):.3f} of {live}; the difference may be {found.low:+.3f}"
    )


def _result(key: dg.AssetKey, name: str, problems: list[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not problems,
        check_name=name,
        asset_key=key,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
    )


def evaluation_metadata(evaluation: "Evaluation") -> dict[str, Any]:
    """Means for Dagster's own plots over time, a table, and a picture by slice."""
    from rag_platform.retrieval.evaluation import ALL

    golden, slices = evaluation.golden, evaluation.slices
    means = slices[ALL].means
    rows = [
        [name, part.queries, *(f"{value:.3f}" for value in part.means.values())]
        for name, part in slices.items()
    ]
    return {
        **{f"{golden} {metric}": value for metric, value in means.items()},
        f"{golden} points": evaluation.points,
        f"{golden} by slice": table(["slice", "queries", *means], rows),
        f"{golden} plot": png(lambda figure: draw_slices(figure, evaluation)),
    }


def draw_slices(figure: "Figure", evaluation: "Evaluation") -> None:
    """A group of bars for each slice, a bar for each metric; the largest slices only."""
    shown = sorted(evaluation.slices.items(), key=lambda item: -item[1].queries)[:_SHOWN]
    metrics = list(shown[0][1].means)
    axes = figure.subplots()
    width = 0.8 / len(metrics)
    for place, metric in enumerate(metrics):
        heights = [part.means[metric] for _, part in shown]
        at = [group + place * width for group in range(len(shown))]
        axes.bar(at, heights, width=width, label=metric)
    labels = [f"{name[:20]}\n{part.queries:,}" for name, part in shown]
    middle = 0.4 - width / 2
    axes.set_xticks([group + middle for group in range(len(shown))], labels, fontsize="small")
    axes.set_ylim(0, 1)
    figure.legend(loc="outside right upper", fontsize="small")
