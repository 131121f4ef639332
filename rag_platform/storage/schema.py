"""The tables of the catalog about documents, their pages and the indexes made of them.

`seq` is the change sequence: it only grows, and an index applies a document only when the
number is newer than the one it holds. Times are UTC seconds since 1970 as floats.
"""

import sqlalchemy as sa

from rag_platform.storage.schema_base import BigKey, metadata

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True, comment="object key below the source's URL"),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False, unique=True),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="the newest change"),
    sa.Column("window", sa.Text, nullable=False, comment="page that holds the newest change"),
    sa.Column("pass_no", sa.Integer, nullable=False),
    sa.Column("gone", sa.Boolean, nullable=False, default=False),
    sa.Column("etag", sa.Text),
    sa.Column("size", sa.BigInteger),
    sa.Column("modified", sa.Float),
    sa.Column("sha256", sa.Text, comment="of the bytes; null when they could not be had"),
    sa.Column("text_hash", sa.Text, comment="of the clean text; null until cleaned or dead"),
    sa.Column("empty", sa.Boolean, nullable=False, default=False),
    sa.Column("acl", sa.Text, comment="JSON list of tags of readers; null: everybody"),
    sa.Index("ix_documents_text", "source", "text_hash"),
    sa.Index("ix_documents_seq", "seq"),
)

passes = sa.Table(
    "passes",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("window", sa.Text, primary_key=True),
    sa.Column("pass_no", sa.Integer, primary_key=True),
    sa.Column("listed_at", sa.Float, nullable=False),
    sa.Column("objects", sa.BigInteger, nullable=False, comment="objects in the listing"),
    sa.Column("listed", sa.BigInteger, nullable=False, comment="documents decided on"),
    sa.Column("unchanged", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False, comment="every change has its outcome"),
    sa.Column(
        "complete",
        sa.Boolean,
        nullable=False,
        default=True,
        server_default=sa.true(),
        comment="false: of what happened since a cursor only",
    ),
    sa.Column("since", sa.Text, comment="cursor after which it was asked"),
    sa.Column("cursor", sa.Text, comment="cursor that it reached"),
)

# Where the next increment of a source goes on; moved in the transaction that records the pass.
source_cursors = sa.Table(
    "source_cursors",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False, comment="page that moved it there"),
    sa.Column("pass_no", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("pass_no", sa.Integer, nullable=False),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, comment="inserted, updated, moved or deleted"),
    sa.Column("moved_from", sa.Text),
    sa.Column("sha256", sa.Text),
    sa.Column("size", sa.BigInteger),
    sa.Column("modified", sa.Float),
    sa.Column("outcome", sa.Text, comment="null until settled"),
    sa.Column("deferred_by", sa.Text, comment="index whose budget made the document wait"),
    sa.Index("ix_changes_page", "source", "window", "pass_no"),
    sa.Index("ix_changes_doc", "doc_id"),
)

# The listing under way of a source; emptied when its pass is recorded. One join against
# `documents` finds what changed, whatever the size of the source.
listing = sa.Table(
    "listing",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text, comment="null: ask whether it changed"),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.Float, nullable=False),
    sa.Column(
        "fetched",
        sa.Boolean,
        nullable=False,
        default=False,
        comment="a candidate taken",
    ),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), comment="of a candidate taken"),
    sa.Column("sha256", sa.Text),
    sa.Column("failure", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("gone", sa.Boolean, nullable=False, default=False, server_default=sa.false()),
    sa.Column("acl", sa.Text),
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("doc_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("pass_no", sa.Integer, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="of the step that refused it"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
)

index_versions = sa.Table(
    "index_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("keep_until", sa.Float, comment="when one that was replaced may be retired"),
    sa.Column("retired_at", sa.Float, comment="when its storage was removed"),
)

# Which index version is live, and was: rows are added and never changed; the newest counts.
index_promotions = sa.Table(
    "index_promotions",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column(
        "action", sa.Text, nullable=False, comment="promoted, rolled_back, refused or retired"
    ),
    sa.Column("index_name", sa.Text, nullable=False, comment="that it happened to"),
    sa.Column("live", sa.Text, nullable=False, comment="that answers afterwards"),
    sa.Column("previous", sa.Text, comment="that answered before"),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False, comment="figures that it was decided by"),
)

# How well an index version answers queries whose answers are known.
index_evaluations = sa.Table(
    "index_evaluations",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("index_name", sa.Text, nullable=False),
    sa.Column("golden", sa.Text, nullable=False, comment="name of the set of queries"),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, comment="of the set of queries"),
    sa.Column("points", sa.BigInteger, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False, comment="means, by metric and by slice"),
    sa.Column("scores", sa.JSON, nullable=False, comment="of each query, for paired comparisons"),
    sa.Index("ix_index_evaluations", "index_name", "golden", "at"),
)

# Searches while two index versions are compared on live traffic.
search_log = sa.Table(
    "search_log",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("unit", sa.Text, nullable=False, comment="digest of who or what asked"),
    sa.Column("query", sa.Text, nullable=False, comment="digest of the query"),
    sa.Column("arm", sa.Text, nullable=False, comment="live or challenger"),
    sa.Column("index_name", sa.Text, nullable=False),
    sa.Column("results", sa.JSON, nullable=False, comment="ids of documents, best first"),
    sa.Column("took_ms", sa.Float, nullable=False),
    sa.Column("chosen", sa.Integer, comment="rank of the result that was taken; null: unknown"),
    sa.Index("ix_search_log_at", "at"),
)

index_documents = sa.Table(
    "index_documents",
    metadata,
    sa.Column("index_name", sa.Text, primary_key=True),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="newest change applied"),
    sa.Column("claimed", sa.BigInteger, nullable=False, comment="newest change begun"),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("pass_no", sa.Integer, nullable=False),
    sa.Column("chunks", sa.Integer, nullable=False, comment="0: known, nothing searchable"),
    sa.Column("digest", sa.Text, nullable=False, comment="over point ids and payloads"),
    sa.Column("text_hash", sa.Text, comment="of the clean text applied; null: no text"),
    sa.Column("enrichment", sa.Text, comment="digest of the enrichment in the payload"),
    sa.Column("access", sa.Text, comment="tenant and readers as in the payload, JSON"),
    sa.Column("canonical", sa.Text, comment="of near copies, as in the payload; null: none"),
    sa.Index("ix_index_documents_source", "index_name", "source"),
    sa.Index("ix_index_documents_access", "access"),
)

index_pages = sa.Table(
    "index_pages",
    metadata,
    sa.Column("index_name", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("window", sa.Text, primary_key=True),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("figures", sa.JSON, nullable=False, comment="of the last run over this page"),
)

memo = sa.Table(
    "memo",
    metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

# What models have made of a document; `fields` is published only with status published.
enrichments = sa.Table(
    "enrichments",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, comment="the change it was made of"),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("text_hash", sa.Text, nullable=False, comment="of the clean text it was made of"),
    sa.Column(
        "status",
        sa.Text,
        nullable=False,
        comment="published, in_review, rejected, deferred, failed or held",
    ),
    sa.Column("reason", sa.Text, nullable=False, comment="why it has this status"),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("confidence", sa.Float, comment="calibrated; null where there is none"),
    sa.Column("raw_confidence", sa.Float),
    sa.Column("method", sa.Text, comment="how the confidence came about"),
    sa.Column("model", sa.Text, comment="that classified; `extractive` without a service"),
    sa.Column("prompt", sa.Text, comment="name@version that classified"),
    sa.Column("published", sa.JSON(none_as_null=True), comment="fields as published; null: none"),
    sa.Column("published_digest", sa.Text, comment="over `published`; null: none"),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("ix_enrichments_doc", "doc_id"),
    sa.Index("ix_enrichments_text", "source", "text_hash"),
    sa.Index("ix_enrichments_window", "source", "window"),
)

# Documents that a person is asked about. A decision holds for the text it was made on.
reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("text_hash", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False, comment="as proposed"),
    sa.Column("label", sa.Text, comment="as proposed"),
    sa.Column("raw_confidence", sa.Float),
    sa.Column("confidence", sa.Float),
    sa.Column("model", sa.Text),
    sa.Column("prompt", sa.Text),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column(
        "status",
        sa.Text,
        nullable=False,
        comment="open, approved, corrected, rejected or superseded",
    ),
    sa.Column("decided_at", sa.Float),
    sa.Column("decided_by", sa.Text),
    sa.Column("decision", sa.JSON(none_as_null=True), comment="fields as corrected"),
    sa.Column("note", sa.Text),
    sa.Column("applied_at", sa.Float, comment="null until review_decisions took it over"),
    sa.Index("ix_reviews_text", "source", "doc_id", "text_hash"),
    sa.Index("ix_reviews_status", "status", "due_at"),
)

# What a step could not do with an item: a document of a source, a record of the rides.
step_letters = sa.Table(
    "step_letters",
    metadata,
    sa.Column("source", sa.Text, primary_key=True, comment="of documents, or `rides`"),
    sa.Column("item", sa.Text, primary_key=True, comment="document id, or file and row"),
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, comment="what a person calls the item"),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="of input and step"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Index("ix_step_letters_window", "source", "window"),
)

# What was found in a document that should not be searched, logged or sent to a model as it is.
safety_findings = sa.Table(
    "safety_findings",
    metadata,
    sa.Column("doc_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("window", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("action", sa.Text, nullable=False, comment="none, masked, quarantined or review"),
    sa.Column("injection", sa.Float, nullable=False, comment="0 to 1"),
    sa.Column("hidden", sa.BigInteger, nullable=False, comment="characters that nobody sees"),
    sa.Column("kinds", sa.JSON, nullable=False, comment="what was found: how often"),
    sa.Index("ix_safety_findings_window", "source", "window"),
)

# Near duplicates: signatures in bands, the shingles that candidates are verified by, and what
# each document is a near copy of.
near_bands = sa.Table(
    "near_bands",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("band", sa.Integer, primary_key=True),
    sa.Column("value", sa.BigInteger, primary_key=True),
    sa.Column("text_hash", sa.Text, primary_key=True),
    sa.Index("ix_near_bands_text", "source", "text_hash"),
)

near_texts = sa.Table(
    "near_texts",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("text_hash", sa.Text, primary_key=True),
    sa.Column("shingles", sa.LargeBinary, nullable=False, comment="hashes, sorted, compressed"),
)

near_documents = sa.Table(
    "near_documents",
    metadata,
    sa.Column("doc_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("text_hash", sa.Text, nullable=False),
    sa.Column("canonical", sa.Uuid(as_uuid=False), nullable=False, comment="itself: no near copy"),
    sa.Column("similarity", sa.Float, nullable=False, comment="exact Jaccard with the canonical"),
    sa.Column(
        "rule", sa.Text, nullable=False, comment="shingles and threshold that it was grouped by"
    ),
    sa.Index("ix_near_documents_canonical", "canonical"),
    sa.Index("ix_near_documents_text", "source", "text_hash"),
)

# Documents that were erased on request, and the proof.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
    sa.Column("requested_at", sa.Float, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("completed_at", sa.Float, comment="null until everything was found empty"),
    sa.Column("receipt", sa.JSON(none_as_null=True), comment="where was looked, what was found"),
    sa.Index("ix_erasures_doc", "doc_id"),
)
