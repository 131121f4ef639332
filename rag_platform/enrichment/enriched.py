"""enriched_docs: what the steps made of each document, and what of it is published."""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.clean import CleanDocs
from rag_platform.enrichment.calibration import Calibrations
from rag_platform.enrichment.fields import missing_of
from rag_platform.enrichment.gate import Proposal, Verdict, decide, lowered
from rag_platform.enrichment.letters import forget_gone
from rag_platform.enrichment.metadata import UNKNOWN_LANGUAGE, document_metadata
from rag_platform.enrichment.progress import clean_documents
from rag_platform.enrichment.quality import Measures, PageMeter, PageQuality, history
from rag_platform.enrichment.review_queue import ReviewQueue, close_gone, decisions_for
from rag_platform.enrichment.steps import Step, standing_rows
from rag_platform.settings_documents import SafetySettings
from rag_platform.settings_pipelines import EnrichmentSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import documents, enrichments

logger = logging.getLogger(__name__)

STAGE = "enriched_docs"
# Part of every part's name; a change means that columns, metadata or merging changed.
ENRICHED_VERSION = "2"
_BATCH = 200
_PATIENCE_S = 600.0
_CLEAN = ["seq", "doc_id", "key", "reason", "empty", "text", "text_hash", "title", "language"]
_CLEAN += ["metadata", "quality", "injection"]


@dataclass(slots=True)
class EnrichedFigures:
    """What one run decided: `statuses` counts the page's documents by status, `removed` the
    enrichments of documents that are gone or have another text."""

    statuses: Counter[str] = field(default_factory=Counter)
    quality: PageQuality = field(default_factory=PageQuality)
    removed: int = 0
    reused_passes: int = 0


class EnrichedDocs:
    """The last stage of the enrichment of one source."""

    def __init__(
        self,
        clean: CleanDocs,
        steps: Sequence[Step],
        *,
        rules: EnrichmentSettings,
        catalog: Catalog,
        pages: PageStore,
        max_injection: float = SafetySettings().max_injection,
    ) -> None:
        self.source = clean.name
        self._max_injection = max_injection
        self._clean = clean
        self._steps = steps  # entities, summary, classification
        self._rules = rules
        self._catalog = catalog
        self._pages = pages

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the proposals of one pass are kept; None before all steps ran."""
        inputs = [self._clean.part(window, pass_no)]
        inputs += [step.part(window, pass_no) for step in self._steps]
        versions = [self._pages.version(part) if part else None for part in inputs]
        if None in versions:
            return None
        basis = [ENRICHED_VERSION, *map(str, versions)]
        fingerprint = hashlib.sha256("\n".join(basis).encode()).hexdigest()
        return PartKey((self.source,), STAGE, window, pass_no, fingerprint)

    def run(self, window: str) -> EnrichedFigures:
        """Merge what the steps have, judge the page, and publish or hold each of its documents."""
        figures = EnrichedFigures()
        parts = [self._made(window, pass_no, figures) for pass_no in self._steps[0].passes(window)]
        with self._catalog.exclusive(f"enriched-{self.source}", timeout_s=_PATIENCE_S):
            figures.quality = self._judge(window, parts)
            calibrations = Calibrations(self._catalog)
            for batch in self._batches(parts):
                self._write(window, batch, calibrations, figures)
            figures.removed = forget(self._catalog, self.source)
        return figures

    # Merging

    def _made(self, window: str, pass_no: int, figures: EnrichedFigures) -> PartKey:
        part = self.part(window, pass_no)
        if part is None:
            raise RuntimeError(
                f"{self.source} {window}: classification must run before enriched_docs"
            )
        if self._pages.version(part) is not None:
            figures.reused_passes += 1
            return part
        with self._pages.writer(part, enriched_schema()) as writer:
            for row in self._merged(window, pass_no):
                writer.add(row, size=len(row["fields"]) + 300)
        self._pages.retire(part)
        return part

    def _merged(self, window: str, pass_no: int) -> Iterator[dict[str, Any]]:
        clean = self._clean.part(window, pass_no)
        assert clean is not None
        streams = [self._rows(step.part(window, pass_no)) for step in self._steps]
        for document in standing_rows(
            self._catalog, self._pages, clean, source=self.source, columns=_CLEAN
        ):
            # A document stood when the steps saw it, if it stands now; the order is the same.
            results = {
                step.stage: next(row for row in stream if row["seq"] == document["seq"])
                for step, stream in zip(self._steps, streams, strict=True)
            }
            yield _merge(document, results)

    def _rows(self, part: PartKey | None) -> Iterator[dict[str, Any]]:
        assert part is not None
        return (row for batch in self._pages.read(part) for row in batch.to_pylist())

    # Deciding

    def _batches(self, parts: Sequence[PartKey]) -> Iterator[list[Proposal]]:
        """The standing documents of some passes."""
        for part in parts:
            for batch in self._pages.read(part, rows=_BATCH):
                rows = [_proposal(row) for row in batch.to_pylist()]
                with self._catalog.read() as connection:
                    stands = self._standing(connection, rows)
                if kept := [row for row in rows if row.doc_id in stands]:
                    yield kept

    def _standing(
        self, connection: sa.Connection, rows: Sequence[Proposal], *, hold: bool = False
    ) -> set[str]:
        """Those of the documents whose change and text are still as the proposals have them;
        `hold` keeps it so until the transaction ends."""
        statement = sa.select(documents.c.doc_id, documents.c.seq, documents.c.text_hash).where(
            clean_documents(self.source), documents.c.doc_id.in_([row.doc_id for row in rows])
        )
        if hold:
            statement = statement.with_for_update(read=True)
        found = {(row.doc_id, row.seq, row.text_hash) for row in connection.execute(statement)}
        return {row.doc_id for row in rows if (row.doc_id, row.seq, row.text_hash) in found}

    def _judge(self, window: str, parts: Sequence[PartKey]) -> PageQuality:
        meter = PageMeter()
        for batch in self._batches(parts):
            for proposal in batch:
                if proposal.waiting is None:
                    meter.add(proposal.key, missing_of(proposal.fields), _measures(proposal))
        rules = self._rules.quality
        found = meter.judge(history(self._catalog, self.source, window), rules)
        for problem in found.problems if rules.reaction != "stop" else ():
            logger.warning("%s %s: %s", self.source, window, problem)
        return found

    def _write(
        self,
        window: str,
        batch: Sequence[Proposal],
        calibrations: Calibrations,
        figures: EnrichedFigures,
    ) -> None:
        now = time.time()
        with self._catalog.begin() as connection:
            stands = self._standing(connection, batch, hold=True)
            current = [proposal for proposal in batch if proposal.doc_id in stands]
            reviewed = decisions_for(connection, self.source, [p.text_hash for p in current])
            before = self._published(connection, current)
            queue = ReviewQueue(connection, self.source, hours=self._rules.review_hours)
            rows = []
            for proposal in current:
                calibration = calibrations.of(proposal.prompt, proposal.model)
                raw = proposal.raw_confidence
                confidence = lowered(
                    None if raw is None else calibration(raw),
                    proposal.injection,
                    self._max_injection,
                )
                verdict = decide(
                    proposal,
                    confidence=confidence,
                    rules=self._rules,
                    page_problems=figures.quality.problems,
                    max_injection=self._max_injection,
                    decision=reviewed.get(proposal.text_hash),
                )
                figures.statuses[verdict.status] += 1
                row = _enrichment(self.source, window, proposal, verdict, confidence, now)
                if verdict.status == "deferred":
                    row |= before.get(proposal.doc_id, {})
                rows.append(row)
                queue.bring_to(proposal, verdict, confidence, window)
            queue.write(now)
            self._catalog.upsert(connection, enrichments, rows)

    def _published(
        self, connection: sa.Connection, batch: Sequence[Proposal]
    ) -> dict[str, dict[str, Any]]:
        """What is published of the same texts: it stays while a document waits for better."""
        texts = {(proposal.doc_id, proposal.text_hash) for proposal in batch}
        rows = connection.execute(
            sa.select(
                enrichments.c.doc_id,
                enrichments.c.text_hash,
                enrichments.c.published,
                enrichments.c.published_digest,
            ).where(
                enrichments.c.source == self.source,
                enrichments.c.doc_id.in_([proposal.doc_id for proposal in batch]),
                enrichments.c.published_digest.is_not(None),
            )
        )
        return {
            row.doc_id: {"published": row.published, "published_digest": row.published_digest}
            for row in rows
            if (row.doc_id, row.text_hash) in texts
        }


def forget(catalog: Catalog, source: str) -> int:
    """Remove what was made of documents that are gone or have another text now, with their open
    reviews and letters; returns the number of enrichments removed."""
    stands = sa.exists().where(
        clean_documents(source),
        documents.c.doc_id == enrichments.c.doc_id,
        documents.c.text_hash == enrichments.c.text_hash,
    )
    with catalog.begin() as connection:
        removed = connection.execute(
            sa.delete(enrichments).where(enrichments.c.source == source, ~stands)
        ).rowcount
        close_gone(connection, source)
        forget_gone(connection, source)
    return int(removed)


def _merge(document: dict[str, Any], results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    values = {
        stage: json.loads(row["value"]) if row["value"] else {} for stage, row in results.items()
    }
    classified = results["classification"]
    found = document_metadata(document)
    label = values["classification"].get("label")
    names = {
        name: values["entities"].get(name, [])
        for name in ("topics", "people", "organizations", "dates")
    }
    fields = {
        "title": found.title,
        "characters": len(document["text"]),
        "label": label,
        **names,
        "summary": values["summary"].get("summary"),
        "author": found.author,
        "date": found.date,
        "language": None if found.language == UNKNOWN_LANGUAGE else found.language,
        "quality": found.quality,
    }
    waiting = [row["reason"] for row in results.values() if row["status"] == "deferred"]
    return {
        **{name: document[name] for name in ("seq", "doc_id", "key", "title", "text_hash")},
        "waiting": waiting[0] if waiting else None,
        "failed": [stage for stage, row in results.items() if row["status"] == "failed"],
        "fields": json.dumps(fields, ensure_ascii=False, sort_keys=True),
        "label": label,
        "raw_confidence": classified["confidence"],
        **{name: classified[name] for name in ("method", "model", "prompt")},
        "injection": round(document["injection"], 3),
    }


def _proposal(row: dict[str, Any]) -> Proposal:
    return Proposal(**{**row, "fields": json.loads(row["fields"])})


def _measures(proposal: Proposal) -> Measures:
    fields = proposal.fields
    return Measures(fields["characters"], fields["quality"], proposal.raw_confidence)


def _enrichment(
    source: str,
    window: str,
    proposal: Proposal,
    verdict: Verdict,
    confidence: float | None,
    now: float,
) -> dict[str, Any]:
    return {
        "source": source,
        "doc_id": proposal.doc_id,
        "seq": proposal.seq,
        "window": window,
        "text_hash": proposal.text_hash,
        "status": verdict.status,
        "reason": verdict.reason,
        "fields": dict(verdict.fields),
        "label": verdict.fields.get("label"),
        "confidence": confidence,
        "raw_confidence": proposal.raw_confidence,
        "method": proposal.method,
        "model": proposal.model,
        "prompt": proposal.prompt,
        "published": verdict.published,
        "published_digest": verdict.digest,
        "updated_at": now,
    }


def enriched_schema() -> Any:
    """The columns of an enriched part: one row per document. `fields` is a JSON object."""
    import pyarrow as pa

    return pa.schema(
        [
            ("seq", pa.int64()),
            ("doc_id", pa.string()),
            ("key", pa.string()),
            ("title", pa.string()),
            ("text_hash", pa.string()),
            ("waiting", pa.string()),
            ("failed", pa.list_(pa.string())),
            ("fields", pa.string()),
            ("label", pa.string()),
            ("raw_confidence", pa.float64()),
            ("method", pa.string()),
            ("model", pa.string()),
            ("prompt", pa.string()),
            ("injection", pa.float64()),
        ]
    )
