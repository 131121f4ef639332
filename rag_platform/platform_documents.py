"""The lower half of a platform: storage, sources up to clean documents, the way to models."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from rag_platform.documents.windows import Calendar
from rag_platform.errors import PlatformError
from rag_platform.settings import Settings, SourceSettings
from rag_platform.storage.objects import S3Connection, open_store

if TYPE_CHECKING:
    from rag_platform.documents.clean import CleanDocs
    from rag_platform.documents.page import CleanStage
    from rag_platform.documents.parsed import ParsedDocs
    from rag_platform.documents.raw import RawDocs
    from rag_platform.documents.sources.base import Source
    from rag_platform.documents.translation import Translated
    from rag_platform.encoders.openai import OpenAIConnection
    from rag_platform.platform_llm import LlmParts
    from rag_platform.platform_training import ModelParts
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.memo import Memo
    from rag_platform.storage.outbox import Outbox
    from rag_platform.storage.pages import PageStore
    from rag_platform.storage.vectors.base import VectorStore


T = TypeVar("T")


class UnknownName(PlatformError):
    """A source or an index that the settings do not have."""


@dataclass
class DocumentParts:
    """Storage, sources, and what asks models. `run_id` says on whose account money goes.

    What a Dagster resource configures (`s3`, `openai`, `mlflow_uri`) is None where the settings
    and the environment say it all.
    """

    settings: Settings
    run_id: str = "none"
    s3: S3Connection | None = None
    openai: "OpenAIConnection | None" = None
    mlflow_uri: str | None = None

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
        return lookup(self.settings.sources, name, "source")

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
            begin=lambda window: begin_page(self.catalog, self.indexes, name, window),
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
        from rag_platform.documents.near_duplicates import NearDuplicates

        source = self.source_settings(name)
        return CleanDocs(
            self.raw(name).source,
            self.parsed(name),
            catalog=self.catalog,
            pages=self.pages,
            safety=source.safety,
            after_settle=NearDuplicates(
                name, catalog=self.catalog, threshold=source.near_duplicates
            ),
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

    def documents(self, name: str) -> "CleanStage":
        """The stage that the indexes of a source are made from."""
        if self.source_settings(name).translate is not None:
            return self.translated(name)
        return self.clean(name)

    @property
    def indexes(self) -> list[str]:
        """The index versions of the settings that are in service."""
        from rag_platform.indexing.retirement import in_service

        return in_service(self.catalog, self.settings.indexes)

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


def lookup(known: Mapping[str, T], name: str, what: str) -> T:
    """What stands under a name in the settings; raises `UnknownName`."""
    if name not in known:
        raise UnknownName(
            f"{what} {name!r}: not in the settings; there are: {', '.join(known) or 'none'}."
        )
    return known[name]
