"""The chain of one source: raw, parsed and clean documents, then a branch per index version."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents import checks, metadata
from rag_platform.defs.documents.translation import translated
from rag_platform.defs.shared import (
    FOLLOW,
    NETWORK_RETRIES,
    OWNERS,
    WINDOWS_PER_RUN,
    asset_key,
    one_line,
    partitions,
)
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


class RawDocsConfig(dg.Config):
    """How to ask the source."""

    refresh: bool = False
    allow_deletions: bool = False


class ParsedDocsConfig(dg.Config):
    """What to parse."""

    retry_dead_letters: bool = False
    # Of these documents only.
    retry_keys: list[str] | None = None


def chain(name: str, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of a source."""
    assets = [_raw(name, settings), _parsed(name, settings), _clean(name, settings)]
    if settings.sources[name].translate:
        assets.append(translated(name, settings))
    for index in settings.indexes:
        assets += [
            _chunks(name, settings, index),
            _embeddings(name, settings, index),
            _vector_index(name, settings, index),
        ]
    return assets


def _raw(name: str, settings: Settings) -> dg.AssetsDefinition:
    source = settings.sources[name]
    scheme = source.url.partition("://")[0]
    is_remote = scheme != "file"

    @dg.asset(
        **_common(
            name,
            "raw_docs",
            settings,
            is_remote=is_remote,
            kinds={"python", "parquet"} | ({scheme} & {"s3", "kafka"}),
        ),
        code_version="1",
        check_specs=[checks.LISTING.spec(name)],
        description=(
            f"What {source.url} has, asked window by window: which documents came, changed, moved "
            "or went, and their bytes. A page that a later one follows is replayed as recorded."
        ),
    )
    def raw_docs(
        context: dg.AssetExecutionContext, config: RawDocsConfig, platform: PlatformResource
    ) -> Iterator[Any]:
        for window in context.partition_keys:
            try:
                with one_line():
                    result = platform.parts.raw(name).run(
                        window, refresh=config.refresh, allow_deletions=config.allow_deletions
                    )
            except dg.Failure as failure:
                yield checks.LISTING.result(name, failure.description)
                raise
            context.add_asset_metadata(
                {
                    "objects in source": result.objects,
                    "documents decided on": result.listed,
                    "waiting for their window": result.waiting,
                    "asked": "replayed as recorded" if result.pass_no is None else "the source",
                    "changes": metadata.bars(result.changes, "change"),
                },
                partition_key=window,
            )
        yield checks.LISTING.result(name, None)
        yield dg.MaterializeResult()

    return raw_docs


def _parsed(name: str, settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(name, "parsed_docs", settings, deps=["raw_docs"], kinds={"python", "parquet"}),
        code_version="1",
        description=(
            "The text of every document of the page as Markdown, with title and pages, or the "
            "reason why there is none. Parsed in killable processes under limits."
        ),
    )
    def parsed_docs(
        context: dg.AssetExecutionContext, config: ParsedDocsConfig, platform: PlatformResource
    ) -> dg.MaterializeResult:
        from rag_platform.compute.fill import fill
        from rag_platform.compute.jobs import Job

        def told(key: str, page: int, pages: int) -> None:
            context.log.info(f"{key}: page {page:,} of {pages:,}")

        keys = config.retry_keys
        retry = config.retry_dead_letters if keys is None else frozenset(keys)
        parts = platform.parts
        with one_line():
            job = Job("parsed_docs", name)
            filled = {} if retry else fill(parts, job, context.partition_keys)
        for window in context.partition_keys:
            with one_line():
                result = parts.parsed(name).run(
                    window, retry=retry, watch=told, filled=filled.get(window)
                )
            context.add_asset_metadata(metadata.figures(asdict(result)), partition_key=window)
        return dg.MaterializeResult()

    return parsed_docs


def _clean(name: str, settings: Settings) -> dg.AssetsDefinition:
    max_dead_share = settings.sources[name].max_dead_letter_share
    gates = (checks.OUTCOMES, checks.DEAD_LETTERS, checks.SCHEMA)

    @dg.asset(
        **_common(name, "clean_docs", settings, deps=["parsed_docs"], kinds={"python", "parquet"}),
        code_version="1",
        check_specs=[gate.spec(name) for gate in gates],
        description=(
            "Clean text that may be indexed, and for every document of the page exactly one "
            "outcome. What has no text stands in the dead letters with its reason."
        ),
    )
    def clean_docs(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        from rag_platform.operations.dead_letters import tell_of_many

        parts = platform.parts
        for window in context.partition_keys:
            with one_line():
                result = parts.clean(name).run(window)
            tell_of_many(parts.catalog, parts.outbox, name, [window])
            context.add_asset_metadata(
                _page_metadata(parts, name, window) | metadata.figures(asdict(result)),
                partition_key=window,
            )
        windows = context.partition_keys
        return dg.MaterializeResult(
            check_results=[
                checks.outcomes_sum(parts, name, windows),
                checks.dead_letters_in_bounds(parts, name, windows, max_dead_share),
                checks.clean_schema_holds(parts, name, windows),
            ]
        )

    return clean_docs


def _chunks(name: str, settings: Settings, index: str) -> dg.AssetsDefinition:
    before = "translated_docs" if settings.sources[name].translate else "clean_docs"

    @dg.asset(
        **_common(name, "chunks", settings, index=index, deps=[before], kinds={"parquet"}),
        code_version="1",
        check_specs=[checks.CHUNK_SIZES.spec(name, index)],
        description=f"The passages of the page's documents, cut as index {index} says.",
    )
    def chunks(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        parts = platform.parts
        for window in context.partition_keys:
            with one_line():
                result = parts.chunks(name, index).run(window)
            sizes = {f"{size} to {size + 49} tokens": n for size, n in sorted(result.sizes.items())}
            context.add_asset_metadata(
                {
                    "documents": result.documents,
                    "chunks": result.chunks,
                    "tokens": result.tokens,
                    "reused passes": result.reused_passes,
                    "sizes": metadata.bars(sizes, "size"),
                    "sample": _sample(parts, name, index, window),
                },
                partition_key=window,
            )
        return dg.MaterializeResult(
            check_results=[checks.chunk_sizes_hold(parts, name, index, context.partition_keys)]
        )

    return chunks


def _embeddings(name: str, settings: Settings, index: str) -> dg.AssetsDefinition:
    is_local = settings.indexes[index].embedder.is_local

    @dg.asset(
        **_common(
            name,
            "embeddings",
            settings,
            is_remote=not is_local,
            index=index,
            deps=["chunks"],
            kinds={"numpy"} if is_local else {"openai"},
        ),
        code_version="1",
        pool=None if is_local else "llm_api",
        check_specs=[checks.EMBEDDINGS.spec(name, index), checks.DEFERRED.spec(name, index)],
        description=(
            "A vector for every passage. A text is paid for once per embedder, whatever document, "
            "page or index version it stands in; every batch is kept before the next is sent."
        ),
    )
    def embeddings(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        from rag_platform.compute.fill import fill
        from rag_platform.compute.jobs import Job

        parts = platform.parts
        with one_line():
            filled = fill(parts, Job("embeddings", name, index), context.partition_keys)
        for window in context.partition_keys:
            with one_line():
                result = parts.embeddings(name, index).run(window, filled=filled.get(window))
            cost = parts.cost_microusd(index, result.embedded_tokens)
            context.add_asset_metadata(
                metadata.figures(asdict(result)) | {"estimated cost in USD": cost / 1_000_000},
                partition_key=window,
            )
        return dg.MaterializeResult(
            check_results=[
                checks.embeddings_are_valid(parts, name, index, context.partition_keys),
                checks.nothing_deferred(parts, name, index, context.partition_keys),
            ]
        )

    return embeddings


def _vector_index(name: str, settings: Settings, index: str) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(
            name,
            "vector_index",
            settings,
            is_remote=settings.vector_store != "embedded",
            index=index,
            deps=["embeddings"],
            kinds={"qdrant"},
        ),
        code_version="1",
        pool="vector_store",
        check_specs=[checks.AGREES.spec(name, index)],
        description=(
            f"The collection {index}, brought to what the page says by difference: new points "
            "are added, unchanged ones left alone, stale ones removed, last."
        ),
    )
    def vector_index(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        parts = platform.parts
        results = []
        for window in context.partition_keys:
            with one_line():
                result = parts.vector_index(name, index).run(window)
            results.append(result)
            figures = asdict(result)
            done = {
                what: figures.pop(what) for what in ("inserted", "updated", "skipped", "deleted")
            }
            context.add_asset_metadata(
                metadata.figures(figures)
                | {"written": metadata.bars(done, "points")}
                | console_link(settings, "indexes", index),
                partition_key=window,
            )
        return dg.MaterializeResult(check_results=[checks.index_agrees(name, index, results)])

    return vector_index


def _common(
    name: str,
    stage: str,
    settings: Settings,
    *,
    kinds: set[str],
    is_remote: bool = False,
    index: str | None = None,
    deps: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """What every asset of a chain shares. `is_remote`: it talks to a service of its own."""
    source = settings.sources[name]
    is_remote |= settings.storage.startswith("s3:") or settings.catalog_url.startswith("postgres")
    above = {"chunks": None, "embeddings": index, "vector_index": index}.get(stage)
    return {
        "key": asset_key(name, stage, index),
        "deps": [asset_key(name, dep, above) for dep in deps],
        "partitions_def": partitions(source),
        "backfill_policy": dg.BackfillPolicy.multi_run(WINDOWS_PER_RUN[source.cadence]),
        "automation_condition": FOLLOW if deps else None,
        "retry_policy": NETWORK_RETRIES if is_remote else None,
        "group_name": name,
        "owners": OWNERS,
        "kinds": kinds,
        **more,
    }


def _page_metadata(parts: Platform, name: str, window: str) -> dict[str, Any]:
    from rag_platform.documents.dead_letters import letters, remedy
    from rag_platform.documents.near_report import near_copies
    from rag_platform.documents.report import report, safety

    page = report(parts.catalog, name, window)
    if page is None:
        return {}
    dead = letters(parts.catalog, source=name, window=window)
    found: dict[str, Any] = {
        "outcomes": metadata.bars(page.outcomes, "outcome"),
        "documents": page.standing,
        "dead letters": len(dead),
    }
    if dead:
        rows = [
            [d.key, d.stage, d.reason, d.detail, d.attempts, remedy(d.reason)] for d in dead[:20]
        ]
        header = ["document", "stage", "reason", "detail", "attempts", "what to do"]
        found["dead letter list"] = metadata.table(header, rows)
        found |= console_link(parts.settings, "dead-letters", source=name)
    screened = safety(parts.catalog, name, window)
    if screened.documents:
        held = [[kind, n, screened.findings[kind]] for kind, n in screened.documents.items()]
        found["findings"] = metadata.table(["kind", "documents", "findings"], held)
        found["documents by action"] = metadata.bars(screened.actions, "action")
    near = near_copies(parts.catalog, name, window)
    if near.copies:
        found["near copies"] = near.copies
        pairs = [[pair.key, pair.canonical, f"{pair.similarity:.3f}"] for pair in near.pairs]
        found["near copy list"] = metadata.table(["document", "near copy of", "likeness"], pairs)
    return found


def _sample(parts: Platform, name: str, index: str, window: str) -> Any:
    rows = parts.chunks(name, index).sample(window, 5)
    columns = ["key", "heading", "page", "tokens", "text"]
    if not parts.settings.show_content:
        columns = ["key", "page", "tokens"]
    return metadata.table(columns, [[row[column] for column in columns] for row in rows])
