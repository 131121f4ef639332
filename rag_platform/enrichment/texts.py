"""The clean texts of single documents, found again in the parts of their page."""

from collections.abc import Mapping

from rag_platform.documents.clean import CleanDocs
from rag_platform.documents.page import passes_of
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
        for batch in pages.read(part, columns=["doc_id", "text_hash", "text"], rows=200):
            documents, hashes = batch["doc_id"].to_pylist(), batch["text_hash"].to_pylist()
            for number, (doc_id, text_hash) in enumerate(zip(documents, hashes, strict=True)):
                if text_hash is not None and wanted.get(doc_id) == text_hash:
                    found[doc_id] = batch["text"][number].as_py()
    return found
