"""The clean texts of single documents, found again in the parts of their page."""

from collections.abc import Mapping

from rag_platform.documents.clean import CleanDocs
from rag_platform.documents.page import passes_of
from rag_platform.enrichment.reviews import Review
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore


def texts_of(
    clean: CleanDocs,
    window: str,
    wanted: Mapping[str, str],
    *,
    catalog: Catalog,
    pages: PageStore,
) -> dict[str, str]:
    """The texts of some documents of a page, by document; `wanted` maps documents to the hash of
    the text meant. Texts that the page has no more are left out."""
    found: dict[str, str] = {}
    with catalog.read() as connection:
        numbers = passes_of(connection, clean.name, window)
    for pass_no in numbers:
        part = clean.part(window, pass_no)
        if part is None or pages.version(part) is None:
            continue
        for row in pages.find(part, "doc_id", wanted, columns=["doc_id", "text_hash", "text"]):
            if row["text_hash"] is not None and wanted[row["doc_id"]] == row["text_hash"]:
                found[row["doc_id"]] = row["text"]
    return found


def text_of_review(
    clean: CleanDocs, review: Review, *, catalog: Catalog, pages: PageStore
) -> str | None:
    """The text that a review is about; None where its page has it no more."""
    wanted = {review.doc_id: review.text_hash}
    found = texts_of(clean, review.window, wanted, catalog=catalog, pages=pages)
    return found.get(review.doc_id)
