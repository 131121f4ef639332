"""The enrichment without a model service: answers drawn from the text by stated rules.

One method per prompt, from the prompt's variables alone, so that equal variables have equal
answers. None of them follows what a text says: an instruction is words like any other.
"""

import json
from typing import Any

from rag_platform.encoders.sentences import sentences, split
from rag_platform.enrichment.grounding import without_marks
from rag_platform.enrichment.nlp.categories import classify
from rag_platform.enrichment.nlp.dates import find_dates
from rag_platform.enrichment.nlp.names import people_and_organizations
from rag_platform.enrichment.nlp.summary import summarize
from rag_platform.enrichment.nlp.topics import topics
from rag_platform.enrichment.schemas import Entities, Summary, distinct
from rag_platform.llm.gateway import Ask, Extractive, ExtractiveAnswer

# Bumped whenever the same variables would have another answer.
VERSION = "1"

READ_CHARS = 50_000  # the part of a document, from its start, that entities are looked for in


def entities(ask: Ask[Any]) -> ExtractiveAnswer:
    """People, organizations, dates and topics of {title, text}, as `Entities` has them."""
    title = without_marks(ask.variables["title"])
    text = without_marks(ask.variables["text"][:READ_CHARS])
    prose = sentences(text)
    people, organizations = people_and_organizations([*split(title), *prose])
    dates = [date.value for date in find_dates(f"{title}\n{text}")]
    found = Entities(
        people=people,
        organizations=organizations,
        dates=dates,
        topics=topics(title, prose, without=people + organizations),
    )
    return ExtractiveAnswer(found.model_dump(), None)


def summary(ask: Ask[Any]) -> ExtractiveAnswer:
    """At most three sentences of {text} that stand for it, given {title, entities}."""
    named = json.loads(ask.variables.get("entities") or "{}")
    names = distinct((*named.get("people", ()), *named.get("organizations", ())), 20)
    title = without_marks(ask.variables["title"])
    prose = sentences(without_marks(ask.variables["text"][:READ_CHARS]))
    found = Summary(summary=summarize(title, prose, names))
    return ExtractiveAnswer(found.model_dump(), None)


def classification(ask: Ask[Any]) -> ExtractiveAnswer:
    """The one of {labels}, JSON name to meaning, that {title, summary, text_start} come nearest."""
    parts = (without_marks(ask.variables[name]) for name in ("title", "summary", "text_start"))
    label, confidence = classify("\n".join(parts), json.loads(ask.variables["labels"]))
    return ExtractiveAnswer({"label": label}, confidence)


EXTRACTIVE: dict[str, Extractive] = {
    "document_entities": entities,
    "document_summary": summary,
    "document_classification": classification,
}
