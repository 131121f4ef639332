"""The eraser of a source, from the parts of a platform."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from rag_platform.documents.translation import Translated
    from rag_platform.enrichment.chain import Enrichment
    from rag_platform.erasure.eraser import Eraser
    from rag_platform.erasure.parts import Stage
    from rag_platform.platform import Platform
    from rag_platform.storage.pages import PageStore


def eraser(platform: "Platform", source: str) -> "Eraser":
    """What erases documents of a source. Raises `UnknownName`."""
    from rag_platform.documents.sources.selection import Selection
    from rag_platform.erasure.eraser import Eraser, Neighbours
    from rag_platform.erasure.parts import StoredParts

    rules = platform.source_settings(source)
    others = [name for name, one in platform.settings.sources.items() if one.tenant == rules.tenant]
    selection = Selection.of(rules.include, rules.exclude)
    return Eraser(
        source,
        tenant=rules.tenant,
        catalog=platform.catalog,
        vectors=platform.vectors,
        parts=StoredParts(
            source,
            platform.objects,
            platform.pages,
            stages=lambda pages: _stages(_over(platform, pages), source),
        ),
        neighbours=Neighbours(
            others,
            waiting=lambda ids: _waiting(platform, others, ids),
            answers=_answers(platform, source),
            answered=lambda ids: _answered(platform, others, ids),
            regroup=lambda ids: _regroup(platform, source, ids),
        ),
        selected=lambda key: key in selection,
    )


def _over(platform: "Platform", pages: "PageStore") -> "Platform":
    """The same platform with its stage outputs elsewhere."""
    if pages is platform.pages:
        return platform
    other = dataclasses.replace(platform)
    shared = {name: getattr(platform, name) for name in ("catalog", "memo", "llm", "vectors")}
    other.__dict__.update(shared, pages=pages)
    return other


def _stages(platform: "Platform", source: str) -> "list[Stage]":
    """The stages of a source whose parts stand on each other, each before those that read it."""
    stages: list[Stage] = [platform.parsed(source), platform.clean(source)]
    if platform.source_settings(source).translate is not None:
        stages.append(platform.translated(source))
    stages += [platform.chunks(source, index) for index in platform.indexes]
    if source in platform.settings.enrichment.sources:
        enrichment = platform.enrichment(source)
        stages += [*enrichment.steps, enrichment.enriched]
    return stages


def _answers(platform: "Platform", source: str) -> Callable[[Mapping[str, Any]], Iterable[bytes]]:
    """Gives the memo keys of what models said of a clean row."""

    @functools.cache
    def stages() -> "tuple[Enrichment | None, Translated | None]":
        is_enriched = source in platform.settings.enrichment.sources
        is_translated = platform.source_settings(source).translate is not None
        return (
            platform.enrichment(source) if is_enriched else None,
            platform.translated(source) if is_translated else None,
        )

    def keys(row: Mapping[str, Any]) -> Iterator[bytes]:
        from rag_platform.enrichment.remembered import memo_keys

        enrichment, translated = stages()
        if enrichment is not None:
            labels = platform.settings.enrichment.labels
            yield from memo_keys(enrichment, platform.memo, row, labels=labels)
        if translated is not None:
            yield from translated.memo_keys(row)

    return keys


def _answered(platform: "Platform", sources: Sequence[str], ids: Sequence[str]) -> Iterator[bytes]:
    """The memo keys of the translations of all other documents: they have paragraphs in common."""
    for source in sources:
        if platform.source_settings(source).translate is not None:
            translated = platform.translated(source)
            for row in _clean_rows(platform, source):
                if row["doc_id"] not in ids:
                    yield from translated.memo_keys(row)


def _regroup(platform: "Platform", source: str, ids: Sequence[str]) -> None:
    """Take documents out of the groups of near copies, and tell the points of the others."""
    from rag_platform.documents.near_duplicates import NearDuplicates
    from rag_platform.indexing.near_copies import NearCopies
    from rag_platform.indexing.payloads import PayloadFigures

    threshold = platform.source_settings(source).near_duplicates
    NearDuplicates(source, catalog=platform.catalog, threshold=threshold).forget(ids)
    there = platform.vectors.names()
    for index in platform.indexes:
        copies = NearCopies(index, source, catalog=platform.catalog)
        if index in there:
            with (
                platform.catalog.exclusive(f"index-{index}"),
                platform.vectors.open_existing(index) as collection,
            ):
                copies.apply(collection, PayloadFigures())


def _clean_rows(platform: "Platform", source: str) -> Iterator[dict[str, Any]]:
    """The rows of all clean documents of a source as they are now."""
    from rag_platform.documents.page import passes_of, standing

    clean = platform.clean(source)
    for window in sorted(platform.raw(source).written()):
        with platform.catalog.read() as connection:
            numbers = passes_of(connection, source, window)
        for pass_no in numbers:
            part = clean.part(window, pass_no)
            if part is None or platform.pages.version(part) is None:
                continue
            with platform.catalog.read() as connection:
                rows = connection.execute(standing(source, window, pass_no))
                stands = {row.seq for row in rows}
            for batch in platform.pages.read(part):
                yield from (row for row in batch.to_pylist() if row["seq"] in stands)


def _waiting(platform: "Platform", sources: Sequence[str], ids: Sequence[str]) -> Iterator[str]:
    """The hashes of passages of other documents that an index is still to take."""
    from rag_platform.indexing.progress import unapplied

    for source in sources:
        for index in platform.indexes:
            left = unapplied(index, source).subquery()
            with platform.catalog.read() as connection:
                pages = connection.execute(sa.select(left.c.window, left.c.pass_no).distinct())
                waiting = pages.all()
            chunks = platform.chunks(source, index) if waiting else None
            for window, pass_no in waiting:
                part = chunks.part(window, pass_no) if chunks else None
                if part is None or platform.pages.version(part) is None:
                    continue
                for batch in platform.pages.read(part, columns=["doc_id", "text_hash"]):
                    rows = batch.to_pylist()
                    yield from (row["text_hash"] for row in rows if row["doc_id"] not in ids)
