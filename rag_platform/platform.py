"""The platform assembled: settings in, working parts out. Nothing is opened before it is used."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from rag_platform.platform_documents import DocumentParts, UnknownName, lookup
from rag_platform.platform_indexes import cost_microusd, index_version, open_embedder
from rag_platform.settings_indexes import IndexSettings
from rag_platform.settings_values import DEFAULT_TENANT

if TYPE_CHECKING:
    from rag_platform.encoders.base import Embedder
    from rag_platform.enrichment.chain import Enrichment
    from rag_platform.enrichment.reviews import Reviews
    from rag_platform.indexing.chunks import Chunks
    from rag_platform.indexing.embeddings import Embeddings
    from rag_platform.indexing.promotion import Promotions
    from rag_platform.indexing.published import PublishedFields
    from rag_platform.indexing.reconcile import Reconciler
    from rag_platform.indexing.retirement import Retirement
    from rag_platform.indexing.vector_index import VectorIndex
    from rag_platform.indexing.version import IndexVersion
    from rag_platform.retrieval.answers import Answers, Search
    from rag_platform.retrieval.experiment import LiveSearch
    from rag_platform.retrieval.golden import Golden
    from rag_platform.retrieval.readers import Reader, System
    from rag_platform.retrieval.search import Filters, Result, Searcher
    from rag_platform.rides.pipeline import Rides
    from rag_platform.storage.vectors.base import Collection

__all__ = ["Platform", "UnknownName"]


@dataclass
class Platform(DocumentParts):
    """All parts of one configuration."""

    _versions: dict[str, "IndexVersion"] = field(default_factory=dict)

    # Indexes

    def cost_microusd(self, index: str, tokens: int) -> int:
        """What embedding some tokens for an index costs at list price."""
        return cost_microusd(self.index_settings(index), self.llm, tokens)

    def index_settings(self, name: str) -> IndexSettings:
        """An index version's settings; raises `UnknownName`."""
        return lookup(self.settings.indexes, name, "index")

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

        return Chunks(
            self.version(index),
            self.documents(source),
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
        from rag_platform.indexing.access import holds_guarded
        from rag_platform.retrieval.readers import EVERYTHING, Reader

        sources = self.settings.sources.values()
        tenants = sorted({source.tenant for source in sources}) or [DEFAULT_TENANT]
        if tenant is None and len(tenants) > 1:
            raise UnknownName(f"tenant: say whose documents are searched: {', '.join(tenants)}.")
        if tenant not in (None, *tenants):
            raise UnknownName(f"tenant {tenant!r}: has no source; there are: {', '.join(tenants)}.")
        guarded = any(source.acl or source.options.get("acl") for source in sources)
        if tenants == [DEFAULT_TENANT] and not guarded and not holds_guarded(self.catalog):
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

        limits = (reader or self.reader()).limits
        with contextlib.ExitStack() as stack:
            version, collection = self._open(stack, index)
            version.refuse_other(collection)
            yield Searcher(
                collection,
                embedder=version.embedder,
                sparse=version.sparse,
                weights=self.settings.search.weights,
                limits=limits,
            )

    def _open(
        self, stack: contextlib.ExitStack, index: str | None
    ) -> "tuple[IndexVersion, Collection]":
        """The collection of an index, by default of the live one as it is when it is opened."""
        from rag_platform.retrieval.live import with_live

        def opened(name: str) -> "tuple[IndexVersion, Collection]":
            version = self.version(name)
            return version, stack.enter_context(self.vectors.open_existing(name))

        return with_live(self.live, opened) if index is None else opened(index)

    def live(self) -> str:
        """The index that answers now."""
        from rag_platform.retrieval.live import live_index

        return live_index(self.catalog, self.settings.live)

    def live_search(self, reader: "Reader | System | None" = None) -> "LiveSearch":
        """Searches what is live, or for some units what challenges it."""
        from rag_platform.retrieval.experiment import LiveSearch

        return LiveSearch(
            partial(self.searcher, reader=reader),
            catalog=self.catalog,
            default=self.settings.live,
            experiment=self.settings.search.experiment,
        )

    def answers(
        self, reader: "Reader | System | None" = None, *, search: "Search | None" = None
    ) -> "Answers":
        """Answers questions of a reader from what is live; `search` finds the passages where
        given."""
        from rag_platform.retrieval.answers import Answers
        from rag_platform.retrieval.readers import Reader

        reader = reader or self.reader()
        tenant = reader.tenant if isinstance(reader, Reader) else DEFAULT_TENANT
        live = self.live_search(reader)

        def by_question(question: str, k: int, filters: "Filters") -> "list[Result]":
            # Nobody says who asks: a question stands for its asker in an experiment.
            return live.search(question, k, unit=question, filters=filters).results

        return Answers(
            search or by_question,
            gateway=partial(self.llm.gateway, "ask", tenant),
            rules=self.settings.search.ask,
        )

    def golden(self, name: str) -> "Golden":
        """A set of golden queries, read from where it lies. Raises `BadGolden`."""
        from rag_platform.retrieval.golden import read_golden

        rules = lookup(self.settings.golden, name, "golden set")
        source = rules.source or next(iter(self.settings.sources), "")
        return read_golden(name, rules.url, source=source, s3=self._s3)

    def _golden_digest(self, name: str) -> str:
        return self.golden(name).digest

    @cached_property
    def promotions(self) -> "Promotions":
        """What is live, was, and may be."""
        from rag_platform.indexing.gate import Gate
        from rag_platform.indexing.promotion import Promotions

        settings = self.settings
        gate = Gate(
            self.catalog,
            self.vectors,
            sources=list(settings.sources),
            golden={name: partial(self._golden_digest, name) for name in settings.golden},
            rules=settings.promotion,
            reconcile=lambda index: self.reconciler(index).run(repair=False),
        )
        return Promotions(
            self.catalog,
            gate,
            self.outbox,
            indexes=list(settings.indexes),
            default=settings.live,
            rules=settings.promotion,
        )

    @cached_property
    def retirement(self) -> "Retirement":
        """What retires index versions that were replaced."""
        from rag_platform.indexing.retirement import Retirement

        experiment = self.settings.search.experiment
        return Retirement(
            self.catalog,
            self.vectors,
            self.objects,
            default=self.settings.live,
            challenger=experiment.challenger if experiment else None,
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
