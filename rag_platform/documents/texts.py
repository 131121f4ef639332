"""The text of one document, found again in the stored pages."""

from bisect import bisect_right
from dataclasses import dataclass

from rag_platform.documents.life import Known
from rag_platform.documents.page import CleanStage
from rag_platform.storage.pages import PageStore, PartGone


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A clean text; `page_starts` are the offsets at which its pages begin, empty without pages."""

    text: str
    title: str
    uri: str
    language: str | None
    media_type: str | None
    page_starts: tuple[int, ...]

    def page_of(self, offset: int) -> int | None:
        """The number of the page at an offset, from 1; None for a text without pages."""
        return bisect_right(self.page_starts, offset) or None


_COLUMNS = ["text", "title", "uri", "language", "media_type", "page_starts"]


def text_of(stage: CleanStage, known: Known, pages: PageStore) -> DocumentText | None:
    """The text of a document as the stage before chunks has it: passages count from its beginning.

    None for one without a text, or that the stage has not come to yet.
    """
    part = stage.part(known.window, known.pass_no)
    if part is None or pages.version(part) is None:
        return None
    try:
        rows = list(pages.find(part, "seq", [known.seq], columns=_COLUMNS))
    except PartGone:  # a run made the page anew just now
        return None
    if not rows or rows[0]["text"] is None:
        return None
    row = rows[0]
    return DocumentText(**row | {"page_starts": tuple(row["page_starts"] or ())})
