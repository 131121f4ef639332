"""The fields of an enriched document: what is published, what must be there, what may be put right.

A proposal's fields are the published ones, `title` and `characters` (length of the clean text).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic import Field as Bounded

from rag_platform.enrichment.schemas import MAX_NAME_CHARS, MAX_NAMES, MAX_SUMMARY_CHARS, MAX_TOPICS
from rag_platform.errors import PlatformError

PUBLISHED = (
    *("label", "topics", "people", "organizations", "dates"),
    *("summary", "author", "date", "language", "quality"),
)
# What the quality gate of a page counts.
REQUIRED = ("title", "language", "summary", "label")

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME_CHARS)
]
_Names = Annotated[list[_Name], Bounded(max_length=MAX_NAMES)]


class FieldsRefused(PlatformError):
    """A correction that the schema of the fields does not allow."""


class Corrections(BaseModel):
    """What a person may put right besides the label; fields left out stay as proposed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    topics: Annotated[list[_Name], Bounded(max_length=MAX_TOPICS)] | None = None
    people: _Names | None = None
    organizations: _Names | None = None
    dates: _Names | None = None
    summary: Annotated[str, StringConstraints(max_length=MAX_SUMMARY_CHARS)] | None = None
    author: _Line | None = None
    date: Annotated[str, StringConstraints(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")] | None = None


def corrections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the schema has them; raises `FieldsRefused`."""
    try:
        return Corrections.model_validate(values).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise FieldsRefused(
            f"field {name!r}: {first['msg']}. These may be set: "
            f"{', '.join(Corrections.model_fields)}."
        ) from error


def is_list(name: str) -> bool:
    """Whether a field holds several values."""
    return name in ("topics", "people", "organizations", "dates")


def published_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a proposal's fields that downstream sees."""
    return {name: fields.get(name) for name in PUBLISHED}


def digest_of(published: Mapping[str, Any]) -> str:
    """A digest over published fields, whatever their order."""
    return hashlib.sha256(canonical(published)).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def missing_of(fields: Mapping[str, Any]) -> list[str]:
    """The required fields that a proposal lacks."""
    return [name for name in REQUIRED if not fields.get(name)]
