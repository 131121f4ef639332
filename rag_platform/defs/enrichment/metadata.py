"""What an operator sees of the enrichment: routes, statuses, a sample, and how far to trust it."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rag_platform.defs.documents.metadata import bars, figures, table
from rag_platform.platform import Platform

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rag_platform.enrichment.asking import AskFigures
    from rag_platform.enrichment.calibration import Bin
    from rag_platform.enrichment.enriched import EnrichedFigures
    from rag_platform.enrichment.steps import Step

_LETTERS = 20
_SAMPLE = 10


def of_step(parts: Platform, step: "Step", window: str, done: "AskFigures") -> dict[str, Any]:
    """What one run of a step did, and what its page came to."""
    from rag_platform.documents.dead_letters import step_letters
    from rag_platform.enrichment.report import routing

    columns = ["status", "reason", "tier", "model", "complexity", "confidence", "dropped"]
    page = routing(step.rows(window, columns=columns))
    counts = asdict(done)
    cost = counts.pop("microusd") / 1_000_000
    asked = counts.pop("asked"), counts.pop("cached"), counts.pop("memo_hits")
    found = figures(counts) | {
        "answers asked for": asked[0],
        "of these from the cache": asked[1],
        "answers known before": asked[2],
        "cost in USD": cost,
        "documents": bars(page.statuses, "status"),
        "routes": table(
            ["tier", "model", "answers"],
            [[tier, model, f"{n:,}"] for (tier, model), n in page.routes.most_common()],
        ),
        "models": ", ".join(sorted({model for _, model in page.routes})) or "none",
        "dropped as not in the text": page.dropped,
    }
    if parts.settings.show_content:
        found["sample"] = _values(step, window)
    if page.complexity is not None:
        found["mean complexity"] = round(page.complexity, 3)
    if page.confidence is not None:
        found["mean raw confidence"] = round(page.confidence, 3)
    letters = step_letters(parts.catalog, step.source, window=window)
    own = [one for one in letters if one.stage == step.stage][:_LETTERS]
    if own:
        header = ["document", "reason", "detail", "attempts"]
        rows = [[one.key, one.reason, one.detail, one.attempts] for one in own]
        found["dead letters"] = table(header, rows)
    return found


def _values(step: "Step", window: str) -> Any:
    rows = []
    for row in step.rows(window, columns=["key", "status", "reason", "value"]):
        rows.append([row["key"], row["value"] or f"{row['status']}: {row['reason']}"])
        if len(rows) >= _SAMPLE:
            break
    return table(["document", "answer"], rows)


def of_page(parts: Platform, source: str, window: str, done: "EnrichedFigures") -> dict[str, Any]:
    """What enriched_docs decided about a page."""
    from rag_platform.enrichment.report import page_enrichment, queue_size, sample

    now = time.time()
    page = page_enrichment(parts.catalog, source, window, now=now)
    open_, overdue = queue_size(parts.catalog, source, now=now)
    rows = sample(parts.catalog, source, window, _SAMPLE)
    quality = done.quality
    return {
        "documents": page.documents,
        "statuses": bars(page.statuses, "status"),
        "labels": bars(page.labels, "label"),
        "published share": round(page.published_share, 4),
        "reviews of this page": page.open_reviews,
        "reviews of the source": open_,
        "overdue reviews of the source": overdue,
        "null share of required fields": round(quality.null_share, 4),
        "missing fields": bars(quality.missing, "field"),
        "outliers": quality.outliers,
        "outlier share": round(quality.outlier_share, 4),
        "odd documents": table(
            ["document", "without", "unlike the others"],
            [[one.key, ", ".join(one.missing), ", ".join(one.unlike)] for one in quality.odd],
        ),
        "removed": done.removed,
        "reused passes": done.reused_passes,
        "sample": table(
            ["document", "status", "label", "confidence", "reason", "summary"],
            [
                [
                    row.key,
                    row.status,
                    row.label,
                    "" if row.confidence is None else f"{row.confidence:.3f}",
                    row.reason,
                    (row.fields or {}).get("summary") if parts.settings.show_content else "",
                ]
                for row in rows
            ],
        ),
    }


def of_calibration(parts: Platform, source: str, window: str) -> dict[str, Any]:
    """Calibrations of the models that classified the page, with the reliability of the first."""
    from rag_platform.enrichment.calibration import (
        MIN_ITEMS,
        RAW,
        Calibrations,
        expected_error,
        reliability,
    )

    calibrations = Calibrations(parts.catalog)
    rows: list[Sequence[Any]] = []
    shown: dict[str, Any] = {}
    for prompt, model in _classifiers(parts, source, window):
        items = calibrations.items(prompt, model)
        fitted = calibrations.of(prompt, model)
        before, after = reliability(items, RAW), reliability(items, fitted)
        scaled = (
            f"sigmoid({fitted.slope:.3f} logit(raw) {fitted.offset:+.3f})"
            if fitted.is_scaled
            else f"raw confidence is used: {len(items)} of {MIN_ITEMS} reviewed, or of one kind"
        )
        errors = [f"{expected_error(bins):.3f}" if items else "" for bins in (before, after)]
        rows.append([prompt, model, len(items), scaled, *errors])
        if fitted.is_scaled and not shown:
            shown["reliability"] = _diagram(before, after, gate=parts.settings.enrichment.gate)
    header = ["prompt", "model", "reviewed", "calibrated confidence", "error raw", "calibrated"]
    return {"calibration": table(header, rows)} | shown


def _classifiers(parts: Platform, source: str, window: str) -> list[tuple[str, str]]:
    """Prompt versions and models that classified the page, the most frequent first."""
    from collections import Counter

    rows = parts.enrichment(source).classification.rows(window, columns=["prompt", "model"])
    counts = Counter((row["prompt"], row["model"]) for row in rows if row["model"])
    return [pair for pair, _ in counts.most_common()]


def _diagram(before: "Sequence[Bin]", after: "Sequence[Bin]", *, gate: float) -> Any:
    """Confidence against the share of right ones among reviewed documents, raw and calibrated."""
    from rag_platform.defs.plots import png

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="as it should be")
        # The counts of one curve stand below its points, those of the other above them.
        for bins, name, mark, lift in ((before, "raw", "o", -12), (after, "calibrated", "s", 5)):
            [line] = axes.plot(
                [one.confidence for one in bins],
                [one.accuracy for one in bins],
                marker=mark,
                label=name,
            )
            for one in bins:
                axes.annotate(
                    str(one.count),
                    (one.confidence, one.accuracy),
                    textcoords="offset points",
                    xytext=(4, lift),
                    fontsize=7,
                    color=line.get_color(),
                )
        axes.axvline(gate, color="tab:red", linewidth=1, linestyle="--", label="gate")
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.06, 1.06),
            xlabel="confidence",
            ylabel="share of right ones",
        )
        axes.set_title("Reviewed documents by confidence (numbers: documents)")
        axes.legend(loc="upper left", fontsize=8)

    return png(draw, width=6.0, height=4.5)
