"""The platform assembled: settings in, working parts out. Nothing is opened before it is used."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from rag_platform.documents.windows import Calendar
from rag_platform.errors import PlatformError
from rag_platform.platform_indexes import cost_microusd, index_version, open_embedder
from rag_platform.settings import IndexSettings, Settings, SourceSettings
from rag_platform.storage.memo import DEFAULT_TENANT
from rag_platform.storage.objects import S3Connection, open_store

if TYPE_CHECKING:
    from rag_platform.documents.clean import CleanDocs
    from rag_platform.documents.parsed import ParsedDocs
    from rag_platform.documents.raw import RawDocs
    from rag_platform.documents.sources.base import Source
    from rag_platform.documents.translation import Translated
    from rag_platform.encoders.base import Embedder
    from rag_platform.encoders.openai import OpenAIConnection
    from rag_platform.enrichment.chain import Enrichment
    from rag_platform.enrichment.reviews import Reviews
    from rag_platform.indexing.chunks import Chunks
    from rag_platform.indexing.embeddings import Embeddings
    from rag_platform.indexing.published import PublishedFields
    from rag_platform.indexing.reconcile import Reconciler
    from rag_platform.indexing.vector_index import VectorIndex
    from rag_platform.indexing.version import IndexVersion
    from rag_platform.platform_llm import LlmParts
    from rag_platform.platform_training import ModelParts
    from rag_platform.retrieval.readers import Reader, System
    from rag_platform.retrieval.search import Searcher
    from rag_platform.rides.pipeline import Rides
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.memo import Memo
    from rag_platform.storage.outbox import Outbox
    from rag_platform.storage.pages import PageStore
    from rag_platform.storage.vectors.base import VectorStore


T = TypeVar("T")


class UnknownName(PlatformError):
    """A source or an index that the settings do not have."""


@dataclass
class Platform:
    """All parts of one configuration. `run_id` says on whose account money goes.

    What a Dagster resource configures (`s3`, `openai`, `mlflow_uri`) is None where the settings
    and the environment say it all.
    """

    settings: Settings
    run_id: str = "none"
    s3: S3Connection | None = None
    openai: "OpenAIConnection | None" = None
    mlflow_uri: str | None = None
    _versions: dict[str, "IndexVersion"] = field(default_factory=dict)

    # Storage

    @cached_property
    def catalog(self) -> "Catalog":
        """The SQL database."""
        from rag_platform.storage.catalog import Catalog

        return Catalog(
            self.settings.catalog_url,
            lock_folder=self.settings.home / "locks",
            lock_timeout_s=self.settings.lock_timeout_s,
        )

    @cached_property
    def memo(self) -> "Memo":
        """What was paid for once."""
        from rag_platform.storage.memo import Memo

        return Memo(self.catalog)

    @cached_property
    def objects(self) -> Any:
        """The object store that holds the pages."""
        return open_store(self.settings.storage, self._s3, create=True)

    @cached_property
    def pages(self) -> "PageStore":
        """The stage outputs."""
        from rag_platform.storage.pages import PageStore

        return PageStore(self.objects)

    @cached_property
    def vectors(self) -> "VectorStore":
        """The vector store."""
        if self.settings.vector_store == "embedded":
            from rag_platform.storage.vectors.edge import EdgeVectorStore

            return EdgeVectorStore(
                self.settings.vectors_dir, lock_timeout_s=self.settings.lock_timeout_s
            )
        from rag_platform.storage.vectors.server import ServerVectorStore

        return ServerVectorStore(
            str(self.settings.vector_store), api_key=os.environ.get("QDRANT_API_KEY")
        )

    @property
    def _s3(self) -> S3Connection:
        """Given by the S3 resource, else by the settings and the usual AWS environment."""
        return self.s3 or S3Connection(
            endpoint_url=self.settings.s3.endpoint_url,
            region=self.settings.s3.region,
            profile=self.settings.s3.profile,
        )

    # Sources

    def source_settings(self, name: str) -> SourceSettings:
        """A source's settings; raises `UnknownName`."""
        return _lookup(self.settings.sources, name, "source")

    def calendar(self, name: str) -> Calendar:
        """The windows of a source."""
        source = self.source_settings(name)
        return Calendar(source.cadence, source.start)

    def raw(self, name: str) -> "RawDocs":
        """The stage that asks a source."""
        from rag_platform.documents.access import Access
        from rag_platform.documents.changelog import ChangeLog
        from rag_platform.documents.listing import Listing
        from rag_platform.documents.raw import RawDocs
        from rag_platform.indexing.progress import begin_page

        source = self.source_settings(name)
        listing = Listing(
            name,
            self._reader(name),
            max_bytes=self.settings.limits.max_bytes,
            catalog=self.catalog,
            access=Access(source.acl.groups, source.acl.file) if source.acl else None,
            tenant=source.tenant,
        )
        log = ChangeLog(name, self.catalog, max_deletion_share=source.max_deletion_share)
        return RawDocs(
            listing,
            log,
            calendar=self.calendar(name),
            dated_by=source.dated_by,
            catalog=self.catalog,
            pages=self.pages,
            begin=lambda window: begin_page(
                self.catalog, list(self.settings.indexes), name, window
            ),
        )

    def _reader(self, name: str) -> "Source":
        from rag_platform.documents.sources.registry import open_source
        from rag_platform.documents.sources.selection import Selection

        source = self.source_settings(name)
        return open_source(
            name,
            source.url,
            selection=Selection.of(source.include, source.exclude),
            options=source.options,
            s3=self._s3,
        )

    def parsed(self, name: str) -> "ParsedDocs":
        """The stage that parses."""
        from rag_platform.documents.parsed import ParsedDocs
        from rag_platform.documents.parsing.result import OcrRules, ParseLimits

        return ParsedDocs(
            name,
            catalog=self.catalog,
            memo=self.memo,
            pages=self.pages,
            limits=ParseLimits(
                **self.settings.limits.model_dump(), ocr=OcrRules(**self.settings.ocr.model_dump())
            ),
            tenant=self.source_settings(name).tenant,
        )

    def clean(self, name: str) -> "CleanDocs":
        """The stage that cleans and settles."""
        from rag_platform.documents.clean import CleanDocs

        return CleanDocs(
            self.raw(name).source,
            self.parsed(name),
            catalog=self.catalog,
            pages=self.pages,
            safety=self.source_settings(name).safety,
        )

    def translated(self, name: str) -> "Translated":
        """The stage that translates, of a source with `translate`."""
        from rag_platform.documents.translation import Translated

        source = self.source_settings(name)
        if source.translate is None:
            raise UnknownName(f"source {name!r}: is not translated; set sources.{name}.translate.")
        return Translated(
            self.clean(name),
            source.translate,
            gateway=partial(self.llm.gateway, f"{name}/translated_docs", source.tenant),
            catalog=self.catalog,
            memo=self.memo,
            pages=self.pages,
            tenant=source.tenant,
        )

    # Models

    @cached_property
    def outbox(self) -> "Outbox":
        """What people are to be told."""
        from rag_platform.storage.outbox import Outbox

        return Outbox(self.catalog)

    @cached_property
    def llm(self) -> "LlmParts":
        """What asks models."""
        from rag_platform.platform_llm import LlmParts

        return LlmParts(self.settings.llm, self.catalog, self.run_id, self.openai)

    @cached_property
    def models(self) -> "ModelParts":
        """What trains models and serves them."""
        from rag_platform.platform_training import ModelParts

        return ModelParts(
            self.settings,
            catalog=self.catalog,
            outbox=self.outbox,
            store=self.objects,
            s3=self._s3,
            gateway=self.llm.gateway,
            mlflow_uri=self.mlflow_uri or self.settings.mlflow_uri,
        )

    def cost_microusd(self, index: str, tokens: int) -> int:
        """What embedding some tokens for an index costs at list price."""
        return cost_microusd(self.index_settings(index), self.llm, tokens)

    # Indexes

    def index_settings(self, name: str) -> IndexSettings:
        """An index version's settings; raises `UnknownName`."""
        return _lookup(self.settings.indexes, name, "index")

    def version(self, name: str) -> "IndexVersion":
        """An index version with its encoders loaded; loaded once."""
        if name not in self._versions:
            self._versions[name] = index_version(
                name, self.index_settings(name), self._embedder(name)
            )
        return self._versions[name]

    def _embedder(self, name: str) -> "Embedder":
        return open_embedder(name, self.index_settings(name), self.llm)

    def chunks(self, source: str, index: str) -> "Chunks":
        """The stage that chunks a source for an index version."""
        from rag_platform.indexing.chunks import Chunks

        is_translated = self.source_settings(source).translate is not None
        return Chunks(
            self.version(index),
            self.translated(source) if is_translated else self.clean(source),
            catalog=self.catalog,
            pages=self.pages,
            tenant=self.source_settings(source).tenant,
        )

    def embeddings(self, source: str, index: str) -> "Embeddings":
        """The stage that embeds a source for an index version."""
        from rag_platform.indexing.embeddings import Embeddings

        return Embeddings(
            self.chunks(source, index), catalog=self.catalog, memo=self.memo, pages=self.pages
        )

    def vector_index(self, source: str, index: str) -> "VectorIndex":
        """The stage that applies a source's pages to an index version."""
        from rag_platform.indexing.vector_index import VectorIndex

        return VectorIndex(
            self.chunks(source, index),
            catalog=self.catalog,
            memo=self.memo,
            pages=self.pages,
            vectors=self.vectors,
        )

    def published_fields(self, source: str, index: str) -> "PublishedFields":
        """The stage that brings what enrichment published to the points."""
        from rag_platform.indexing.published import PublishedFields

        self.source_settings(source)
        return PublishedFields(
            index,
            source,
            version=lambda: self.version(index),
            catalog=self.catalog,
            vectors=self.vectors,
        )

    def reconciler(self, index: str) -> "Reconciler":
        """Compares an index version with the catalog, and repairs it."""
        from rag_platform.indexing.reconcile import Reconciler

        return Reconciler(
            self.version(index),
            {source: self.chunks(source, index) for source in self.settings.sources},
            catalog=self.catalog,
            memo=self.memo,
            pages=self.pages,
            vectors=self.vectors,
        )

    def reader(self, tenant: str | None = None, groups: Sequence[str] = ()) -> "Reader | System":
        """Who asks. Without any rule in the settings everything is for everybody.

        Raises `UnknownName` for a tenant that has no source, or where several have and none is
        given.
        """
        from rag_platform.retrieval.readers import EVERYTHING, Reader

        sources = self.settings.sources.values()
        tenants = sorted({source.tenant for source in sources}) or [DEFAULT_TENANT]
        if tenant is None and len(tenants) > 1:
            raise UnknownName(f"tenant: say whose documents are searched: {', '.join(tenants)}.")
        if tenant not in (None, *tenants):
            raise UnknownName(f"tenant {tenant!r}: has no source; there are: {', '.join(tenants)}.")
        if tenants == [DEFAULT_TENANT] and not any(source.acl for source in sources):
            return EVERYTHING
        return Reader(tenant or tenants[0], tuple(groups))

    @contextlib.contextmanager
    def searcher(
        self, index: str | None = None, *, reader: "Reader | System | None" = None
    ) -> Iterator["Searcher"]:
        """Search in an index version, by default the live one, for the length of the block.

        Without `reader`, what is for everybody is found.
        """
        from rag_platform.retrieval.search import Searcher

        version = self.version(index or self.settings.live)
        with self.vectors.open_existing(version.name) as collection:
            version.refuse_other(collection)
            yield Searcher(
                collection,
                embedder=version.embedder,
                sparse=version.sparse,
                limits=(reader or self.reader()).limits,
            )

    # Pipelines that stand on models

    def enrichment(self, source: str) -> "Enrichment":
        """The stages that enrich a source."""
        from rag_platform.enrichment.chain import enrichment

        rules = self.settings.enrichment
        if source not in rules.sources:
            known = ", ".join(rules.sources) or "none"
            raise UnknownName(
                f"source {source!r}: not enriched; `enrichment.sources` in platform.yaml has: "
                f"{known}."
            )
        return enrichment(
            self.clean(source),
            rules=rules,
            max_injection=self.source_settings(source).safety.max_injection,
            gateway=partial(self.llm.gateway, tenant=self.source_settings(source).tenant),
            catalog=self.catalog,
            memo=self.memo,
            pages=self.pages,
        )

    @cached_property
    def reviews(self) -> "Reviews":
        """The review queue of all sources."""
        from rag_platform.enrichment.reviews import Reviews

        return Reviews(self.catalog, labels=list(self.settings.enrichment.labels))

    @cached_property
    def rides(self) -> "Rides":
        """The stages over the rides; raises `UnknownName` where the settings have none."""
        from rag_platform.rides.pipeline import Rides

        if self.settings.rides is None:
            raise UnknownName("rides: not in the settings. Set `rides.url` in platform.yaml.")
        return Rides(
            self.settings.rides,
            catalog=self.catalog,
            memo=self.memo,
            store=self.objects,
            storage_url=self.settings.storage,
            s3=self._s3,
            gateway=lambda: self.llm.gateway("rides/ride_summaries"),
        )

    def close(self) -> None:
        """Release what was opened."""
        if "catalog" in self.__dict__:
            self.catalog.close()


def _lookup(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise UnknownName(
            f"{what} {name!r}: not in the settings; there are: {', '.join(known) or 'none'}."
        )
    return known[name]
