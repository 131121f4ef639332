"""The tables of the catalog: what is known about documents, pages, indexes and money.

`seq` is the change sequence: it only grows, and an index applies a document only when the
number is newer than the one it holds. Times are UTC seconds since 1970 as floats.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# SQLite gives a rowid alias (and so a fast, growing key) to INTEGER PRIMARY KEY only.
BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

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
    sa.Index("ix_documents_text", "source", "text_hash"),
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
    sa.Column("etag", sa.Text),
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
    sa.Index("ix_index_documents_source", "index_name", "source"),
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

# One row per attempt to have a model answer: reserved at its worst case before it is sent, settled
# at its price after. A row that was never settled keeps counting at its worst case.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False, comment="when it was let through"),
    sa.Column("day", sa.Text, nullable=False, comment="UTC date of the reservation"),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False, comment="asset or command that asked"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("reserved_microusd", sa.BigInteger, nullable=False),
    sa.Column("settled_microusd", sa.BigInteger, comment="null while in flight"),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column(
        "status",
        sa.Text,
        nullable=False,
        comment="reserved, settled, failed, lost, withdrawn or cached",
    ),
    sa.Column("call_id", sa.Text, comment="shared by the attempts of one call"),
    sa.Column("endpoint", sa.Text, comment="address of the service; null where none was asked"),
    sa.Column("prompt", sa.Text, comment="name@version; null for embeddings"),
    sa.Column("reserved_tokens", sa.BigInteger, comment="most that it may read and write"),
    sa.Column("expires_at", sa.Float, comment="end of the lease: by then it has ended or died"),
    sa.Column("error", sa.Text, comment="why an attempt failed, in a word"),
    sa.Column("saved_microusd", sa.BigInteger, comment="what a cached answer did cost before"),
    sa.Index("ix_ledger_day", "day"),
    sa.Index("ix_ledger_run", "run_id"),
    sa.Index("ix_ledger_endpoint", "endpoint", "at"),
)

# Answers of models for a time. The key is a digest over every parameter of the request.
llm_cache = sa.Table(
    "llm_cache",
    metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False, comment="JSON"),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Index("ix_llm_cache_expires", "expires_at"),
)

# Until when a service, or a model of it, is left alone: it asked for that, or it keeps failing.
llm_cooldowns = sa.Table(
    "llm_cooldowns",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False, comment="one after the other"),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

# Batches at a service's Batch API; a row is written before anything is sent.
llm_batches = sa.Table(
    "llm_batches",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="our own, also in the batch's metadata"),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("remote_id", sa.Text, comment="the service's; null until it took the batch"),
    sa.Column("status", sa.Text, nullable=False, comment="preparing, sent, ended or abandoned"),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

llm_batch_items = sa.Table(
    "llm_batch_items",
    metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("custom_id", sa.Text, primary_key=True),
    sa.Column("cache_key", sa.LargeBinary(32), nullable=False),
    sa.Column("ledger_id", sa.BigInteger, nullable=False, comment="its reservation"),
    sa.Column("request", sa.Text, nullable=False, comment="JSON, what ingesting needs"),
    sa.Column("status", sa.Text, nullable=False, comment="open, done, failed or expired"),
    sa.Index("ix_llm_batch_items_key", "cache_key"),
)

# Which version of a prompt a run works with: the first resolution counts for all of the run.
run_prompts = sa.Table(
    "run_prompts",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# What people are told. The key makes a message one that is told once.
notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("sent_at", sa.Float, comment="null until delivered"),
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

# What was said about a message on a channel. Without a row it was not tried there yet.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("notification_id", BigKey, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True, comment="log, slack or mail"),
    sa.Column("status", sa.Text, nullable=False, comment="sending, sent, waiting or given_up"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False, comment="of the last attempt"),
    sa.Column("next_at", sa.Float, nullable=False, comment="not tried again before"),
    sa.Column("error", sa.Text),
)

# What happened to the versions of a model, in order; rows are added and never changed.
promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column(
        "action",
        sa.Text,
        nullable=False,
        comment="registered, challenger, step, promoted, rolled_back or withdrawn",
    ),
    sa.Column("version", sa.Text, nullable=False, comment="that it happened to"),
    sa.Column("champion", sa.Text, comment="that serves afterwards; null: none"),
    sa.Column("share", sa.Integer, comment="percent of units that the challenger answers"),
    sa.Column("actor", sa.Text, nullable=False, comment="a person, or `rollout`"),
    sa.Column("run_id", sa.Text, comment="of Dagster"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False, comment="figures that it was decided by"),
    sa.Index("ix_promotions_model", "model", "id"),
)

# How far the challenger of a model has come; one row a model.
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("challenger", sa.Text, nullable=False, comment="version"),
    sa.Column("share", sa.Integer, nullable=False, comment="percent; 0 in shadow"),
    sa.Column("began_at", sa.Float, nullable=False),
    sa.Column("counted_day", sa.Text, comment="last day of scores that was counted"),
    sa.Column("units", sa.BigInteger, nullable=False, comment="answered on this step"),
)

# How rows differed from those that the model knows: before training, and daily when scored.
model_drift = sa.Table(
    "model_drift",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True, comment="training or scores"),
    sa.Column("window", sa.Text, primary_key=True, comment="week or day"),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("drifted", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False, comment="what drifted, in a line"),
    sa.Column("asked_at", sa.Float, comment="when training was asked for because of it"),
)

# What the master of a Monday decided for each model, and what came of it.
master_decisions = sa.Table(
    "master_decisions",
    metadata,
    sa.Column("monday", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("decision", sa.Text, nullable=False, comment="train or skip"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
