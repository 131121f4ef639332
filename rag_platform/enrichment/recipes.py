"""What the three steps ask: entities, then a summary that uses them, then a category."""

import json
from collections.abc import Mapping
from typing import Any

from rag_platform.enrichment.grounding import grounded
from rag_platform.enrichment.schemas import Entities, Summary, classification_schema
from rag_platform.enrichment.steps import Document, Finished, Recipe, own_title
from rag_platform.llm.untrusted import neutralize

# Of a text: more than any prompt takes, so that what neutralizing removes is made up for.
_READ = 100_000
# Of a text, in the classification: the summary says the rest.
_START = 4_000

Value = Mapping[str, Any]


def entities() -> Recipe:
    """People, organizations, dates and topics, as far as the text bears them out."""

    def variables(document: Document, _before: Value | None) -> dict[str, str]:
        return {"title": _title(document), "text": _text(document, _READ)}

    def finish(answer: Value, document: Document) -> Finished:
        # Held against what was asked: what an instruction in the text names was taken out of it.
        given = f"{_title(document)}\n\n{_text(document, _READ)}"
        found = grounded(Entities(**answer), given)
        return Finished(found.kept.model_dump(), found.dropped_count)

    return Recipe("entities", "document_entities", Entities, "1", variables, finish)


def summary() -> Recipe:
    """A summary; without entities, where that step failed, of the text alone."""

    def variables(document: Document, found: Value | None) -> dict[str, str]:
        return {
            "title": _title(document),
            "text": _text(document, _READ),
            "entities": _json(found or {}),
        }

    return Recipe("summary", "document_summary", Summary, "1", variables, _as_it_is)


def classification(labels: Mapping[str, str]) -> Recipe:
    """One of the labels (name to meaning); without a summary, where that step failed, by the
    beginning of the text alone."""

    def variables(document: Document, found: Value | None) -> dict[str, str]:
        return {
            "title": _title(document),
            "summary": neutralize((found or {}).get("summary", "")).text,
            "labels": _json(labels),
            "text_start": _text(document, _START),
        }

    schema = classification_schema(labels)
    # The schema has the names of the labels only; what they mean decides as well.
    version = f"1/{_json(labels)}"
    return Recipe(
        "classification", "document_classification", schema, version, variables, _as_it_is
    )


def _as_it_is(answer: Value, _document: Document) -> Finished:
    return Finished(dict(answer))


def _title(document: Document) -> str:
    return neutralize(own_title(document)).text


def _text(document: Document, most: int) -> str:
    return neutralize(document["text"][:most]).text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
