"""The evaluation set, and the texts that it is made of."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from rag_platform.enrichment.evaluation import PATH, EvaluationFigures, write_evaluation_set
from rag_platform.enrichment.texts import texts_of
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.enrichment.conftest import FIRST, SECOND, World, text


def written(world: World) -> tuple[EvaluationFigures, list[dict[str, Any]]]:
    """Write the set and read it back."""
    platform = world.platform

    def texts(source: str, window: str, wanted: Mapping[str, str]) -> Mapping[str, str]:
        clean = platform.clean(source)
        return texts_of(clean, window, wanted, catalog=platform.catalog, pages=platform.pages)

    figures = write_evaluation_set(platform.catalog, platform.objects, texts)
    [file] = platform.settings.home.rglob(PATH)
    return figures, pq.read_table(file).to_pylist()


def test_the_set(plain: World) -> None:
    for key, label in (("a.md", "loans"), ("b.md", "cards"), ("c.md", "billing")):
        plain.folder.write(key, text(label, "sure 0.5"))
    plain.sync(FIRST)
    assert written(plain) == (EvaluationFigures(), [])
    numbers = {review.key: review.id for review in plain.reviews.queue()}
    plain.reviews.approve(numbers["a.md"], by="ann")
    plain.reviews.correct(numbers["b.md"], by="ann", label="loans", note="about interest")
    plain.reviews.reject(numbers["c.md"], by="bob")
    # A text that the source has no more is still in the page it was reviewed on.
    plain.folder.write("b.md", text("cards"))
    plain.sync(SECOND)
    figures, rows = written(plain)
    assert figures.decisions == {"approved": 1, "corrected": 1, "rejected": 1}
    assert (figures.labels, figures.without_text) == ({"loans": 2}, 0)
    by_key = {row["key"]: row for row in rows}
    assert [(by_key[k]["proposed_label"], by_key[k]["label"]) for k in sorted(by_key)] == [
        ("loans", "loans"),
        ("cards", "loans"),
        ("billing", None),
    ]
    assert by_key["b.md"]["text"] == text("cards", "sure 0.5")
    assert by_key["b.md"]["note"] == "about interest"
    assert json.loads(by_key["b.md"]["fields"])["label"] == "loans"
    assert {row["source"] for row in rows} == {SOURCE}
