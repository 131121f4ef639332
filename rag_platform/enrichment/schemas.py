"""What a step of the enrichment asks for: the schemas of its answers.

The JSON schemas are strict: every field is required, no other is allowed, and only keywords that
model services know are used. Bounds are therefore kept by the models themselves: what is written
too long or twice is cut on the way in, and never fails an answer that was paid for.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from rag_platform.encoders.sentences import one_line

MAX_NAMES = 30
MAX_TOPICS = 8
MAX_NAME_CHARS = 120
MAX_SUMMARY_CHARS = 1_200


def distinct(names: Iterable[str], most: int) -> list[str]:
    """The first `most` names, each once whatever its case; empty and overlong ones are left out."""
    found: dict[str, str] = {}
    for name in map(one_line, names):
        if 0 < len(name) <= MAX_NAME_CHARS and len(found) < most:
            found.setdefault(name.casefold(), name)
    return list(found.values())


def cut_at_word(text: str, most: int) -> str:
    """The start of a one-line `text` in at most `most` characters, "…" included where it is cut."""
    if len(text) <= most:
        return text
    head, _, _ = text[:most].rpartition(" ")
    return (head or text[: most - 1])[: most - 1].rstrip(" ,;:") + "…"


def _names(values: list[str]) -> list[str]:
    return distinct(values, MAX_NAMES)


def _topics(values: list[str]) -> list[str]:
    return distinct(values, MAX_TOPICS)


def _summary(value: str) -> str:
    return cut_at_word(one_line(value), MAX_SUMMARY_CHARS)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Entities(_Answer):
    """What a document names, each list in order of importance and without repetition.

    At most 30 people, organizations and dates and 8 topics, of at most 120 characters each.
    """

    people: Annotated[list[str], AfterValidator(_names)] = Field(
        description="Names of persons, as written in the text, without titles."
    )
    organizations: Annotated[list[str], AfterValidator(_names)] = Field(
        description="Names of companies, authorities and other organizations, as written."
    )
    dates: Annotated[list[str], AfterValidator(_names)] = Field(
        description="Dates in the text as YYYY-MM-DD, YYYY-MM or YYYY; as written if not clear."
    )
    topics: Annotated[list[str], AfterValidator(_topics)] = Field(
        description="What the document is about: up to 8 key phrases of one to four words."
    )


class Summary(_Answer):
    """What a document says, in at most 1,200 characters; empty where its text says nothing."""

    summary: Annotated[str, AfterValidator(_summary)] = Field(
        description="Two or three plain sentences that say what the document says."
    )


class Classification(_Answer):
    """The category of a document; `classification_schema` narrows `label` to those there are."""

    label: str


def classification_schema(labels: Mapping[str, str]) -> type[Classification]:
    """The schema of an answer that is one of the names in `labels` (name to meaning).

    The same type for the same names in the same order. Raises ValueError without any label.
    """
    if not labels:
        raise ValueError("a classification needs labels")
    return _classification(tuple(labels))


@functools.lru_cache(maxsize=64)
def _classification(names: tuple[str, ...]) -> type[Classification]:
    label: Any = Literal[names]
    return create_model(
        "Classification",
        __base__=Classification,
        label=(label, Field(description="The one category that fits the document best.")),
    )
