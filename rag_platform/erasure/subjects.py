"""What is erased: documents of one source, and what was made of them."""

from dataclasses import dataclass, field
from typing import Any

from rag_platform.errors import PlatformError


class NoSuchDocument(PlatformError):
    """A document is named that the catalog does not know."""


class StillThere(PlatformError):
    """A document is in its source, so that it would come back."""


class NotErased(PlatformError):
    """Something of a document was found after its erasure."""

    transient = True


@dataclass(frozen=True, slots=True)
class Subject:
    """A document that is to be erased."""

    key: str
    doc_id: str


@dataclass(slots=True)
class Made:
    """What the stored pages have of a document, in all the forms that it ever had.

    `parsed` are its texts by change number, `clean` rows of clean parts, `passages` the texts of
    its chunks.
    """

    parsed: dict[int, str] = field(default_factory=dict)
    clean: list[dict[str, Any]] = field(default_factory=list)
    passages: set[str] = field(default_factory=set)

    @property
    def text_hashes(self) -> set[str]:
        """Of the clean texts."""
        return {row["text_hash"] for row in self.clean if row["text_hash"] is not None}
