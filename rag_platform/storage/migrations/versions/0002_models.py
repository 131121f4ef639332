"""Models: the gateway's ledger, cache and batches, enrichment with review, notifications."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "enrichments",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the change it was made of"),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column(
            "text_hash", sa.Text(), nullable=False, comment="of the clean text it was made of"
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="published, in_review, rejected, deferred, failed or held",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="why it has this status"),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column(
            "confidence", sa.Float(), nullable=True, comment="calibrated; null where there is none"
        ),
        sa.Column("raw_confidence", sa.Float(), nullable=True),
        sa.Column("method", sa.Text(), nullable=True, comment="how the confidence came about"),
        sa.Column(
            "model",
            sa.Text(),
            nullable=True,
            comment="that classified; `extractive` without a service",
        ),
        sa.Column("prompt", sa.Text(), nullable=True, comment="name@version that classified"),
        sa.Column("published", sa.JSON(), nullable=True, comment="fields as published; null: none"),
        sa.Column(
            "published_digest", sa.Text(), nullable=True, comment="over `published`; null: none"
        ),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("source", "doc_id"),
    )
    op.create_index("ix_enrichments_doc", "enrichments", ["doc_id"], unique=False)
    op.create_index("ix_enrichments_window", "enrichments", ["source", "window"], unique=False)
    op.create_table(
        "llm_batch_items",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("cache_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("ledger_id", sa.BigInteger(), nullable=False, comment="its reservation"),
        sa.Column("request", sa.Text(), nullable=False, comment="JSON, what ingesting needs"),
        sa.Column("status", sa.Text(), nullable=False, comment="open, done, failed or expired"),
        sa.PrimaryKeyConstraint("batch_id", "custom_id"),
    )
    op.create_index("ix_llm_batch_items_key", "llm_batch_items", ["cache_key"], unique=False)
    op.create_table(
        "llm_batches",
        sa.Column("id", sa.Text(), nullable=False, comment="our own, also in the batch's metadata"),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column(
            "remote_id",
            sa.Text(),
            nullable=True,
            comment="the service's; null until it took the batch",
        ),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="preparing, sent, ended or abandoned"
        ),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "llm_cache",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_llm_cache_expires", "llm_cache", ["expires_at"], unique=False)
    op.create_table(
        "llm_cooldowns",
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, comment="one after the other"),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "model"),
    )
    op.create_table(
        "notifications",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True, comment="null until delivered"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "reviews",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False, comment="as proposed"),
        sa.Column("label", sa.Text(), nullable=True, comment="as proposed"),
        sa.Column("raw_confidence", sa.Float(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="open, approved, corrected, rejected or superseded",
        ),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decision", sa.JSON(), nullable=True, comment="fields as corrected"),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "applied_at",
            sa.Float(),
            nullable=True,
            comment="null until review_decisions took it over",
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reviews_status", "reviews", ["status", "due_at"], unique=False)
    op.create_index("ix_reviews_text", "reviews", ["source", "doc_id", "text_hash"], unique=False)
    op.create_table(
        "run_prompts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name"),
    )
    op.create_table(
        "step_letters",
        sa.Column("source", sa.Text(), nullable=False, comment="of documents, or `rides`"),
        sa.Column("item", sa.Text(), nullable=False, comment="document id, or file and row"),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="what a person calls the item"),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="of input and step"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("source", "item", "stage"),
    )
    op.create_index("ix_step_letters_window", "step_letters", ["source", "window"], unique=False)
    op.add_column(
        "index_documents",
        sa.Column(
            "enrichment",
            sa.Text(),
            nullable=True,
            comment="digest of the enrichment in the payload",
        ),
    )
    op.add_column(
        "ledger",
        sa.Column(
            "call_id", sa.Text(), nullable=True, comment="shared by the attempts of one call"
        ),
    )
    op.add_column(
        "ledger",
        sa.Column(
            "endpoint",
            sa.Text(),
            nullable=True,
            comment="address of the service; null where none was asked",
        ),
    )
    op.add_column(
        "ledger",
        sa.Column("prompt", sa.Text(), nullable=True, comment="name@version; null for embeddings"),
    )
    op.add_column(
        "ledger",
        sa.Column(
            "reserved_tokens",
            sa.BigInteger(),
            nullable=True,
            comment="most that it may read and write",
        ),
    )
    op.add_column(
        "ledger",
        sa.Column(
            "expires_at",
            sa.Float(),
            nullable=True,
            comment="end of the lease: by then it has ended or died",
        ),
    )
    op.add_column(
        "ledger",
        sa.Column("error", sa.Text(), nullable=True, comment="why an attempt failed, in a word"),
    )
    op.add_column(
        "ledger",
        sa.Column(
            "saved_microusd",
            sa.BigInteger(),
            nullable=True,
            comment="what a cached answer did cost before",
        ),
    )
    op.create_index("ix_ledger_endpoint", "ledger", ["endpoint", "at"], unique=False)
