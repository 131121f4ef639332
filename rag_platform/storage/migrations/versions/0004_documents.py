"""Documents in depth: sources that tell what happened, readers, safety, near duplicates, and the
life of index versions."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "completed_at",
            sa.Float(),
            nullable=True,
            comment="null until everything was found empty",
        ),
        sa.Column(
            "receipt",
            sa.JSON(none_as_null=True),
            nullable=True,
            comment="where was looked, what was found",
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_erasures_doc", "erasures", ["doc_id"], unique=False)
    op.create_table(
        "index_evaluations",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("golden", sa.Text(), nullable=False, comment="name of the set of queries"),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="of the set of queries"),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False, comment="means, by metric and by slice"),
        sa.Column(
            "scores", sa.JSON(), nullable=False, comment="of each query, for paired comparisons"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_index_evaluations", "index_evaluations", ["index_name", "golden", "at"], unique=False
    )
    op.create_table(
        "index_promotions",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column(
            "action", sa.Text(), nullable=False, comment="promoted, rolled_back, refused or retired"
        ),
        sa.Column("index_name", sa.Text(), nullable=False, comment="that it happened to"),
        sa.Column("live", sa.Text(), nullable=False, comment="that answers afterwards"),
        sa.Column("previous", sa.Text(), nullable=True, comment="that answered before"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False, comment="figures that it was decided by"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "near_bands",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "band", "value", "text_hash"),
    )
    op.create_index("ix_near_bands_text", "near_bands", ["source", "text_hash"], unique=False)
    op.create_table(
        "near_documents",
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column(
            "canonical", sa.Uuid(as_uuid=False), nullable=False, comment="itself: no near copy"
        ),
        sa.Column(
            "similarity", sa.Float(), nullable=False, comment="exact Jaccard with the canonical"
        ),
        sa.Column(
            "rule",
            sa.Text(),
            nullable=False,
            comment="shingles and threshold that it was grouped by",
        ),
        sa.PrimaryKeyConstraint("doc_id"),
    )
    op.create_index("ix_near_documents_canonical", "near_documents", ["canonical"], unique=False)
    op.create_index(
        "ix_near_documents_text", "near_documents", ["source", "text_hash"], unique=False
    )
    op.create_table(
        "near_texts",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column(
            "shingles", sa.LargeBinary(), nullable=False, comment="hashes, sorted, compressed"
        ),
        sa.PrimaryKeyConstraint("source", "text_hash"),
    )
    op.create_table(
        "safety_findings",
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "action", sa.Text(), nullable=False, comment="none, masked, quarantined or review"
        ),
        sa.Column("injection", sa.Float(), nullable=False, comment="0 to 1"),
        sa.Column("hidden", sa.BigInteger(), nullable=False, comment="characters that nobody sees"),
        sa.Column("kinds", sa.JSON(), nullable=False, comment="what was found: how often"),
        sa.PrimaryKeyConstraint("doc_id"),
    )
    op.create_index(
        "ix_safety_findings_window", "safety_findings", ["source", "window"], unique=False
    )
    op.create_table(
        "search_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False, comment="digest of who or what asked"),
        sa.Column("query", sa.Text(), nullable=False, comment="digest of the query"),
        sa.Column("arm", sa.Text(), nullable=False, comment="live or challenger"),
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False, comment="ids of documents, best first"),
        sa.Column("took_ms", sa.Float(), nullable=False),
        sa.Column(
            "chosen",
            sa.Integer(),
            nullable=True,
            comment="rank of the result that was taken; null: unknown",
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_search_log_at", "search_log", ["at"], unique=False)
    op.create_table(
        "source_cursors",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False, comment="page that moved it there"),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
    op.add_column(
        "documents",
        sa.Column(
            "acl", sa.Text(), nullable=True, comment="JSON list of tags of readers; null: everybody"
        ),
    )
    op.add_column(
        "index_documents",
        sa.Column(
            "access", sa.Text(), nullable=True, comment="tenant and readers as in the payload, JSON"
        ),
    )
    op.create_index("ix_index_documents_access", "index_documents", ["access"], unique=False)
    op.add_column(
        "index_documents",
        sa.Column(
            "canonical",
            sa.Text(),
            nullable=True,
            comment="of near copies, as in the payload; null: none",
        ),
    )
    op.add_column(
        "index_versions",
        sa.Column(
            "keep_until",
            sa.Float(),
            nullable=True,
            comment="when one that was replaced may be retired",
        ),
    )
    op.add_column(
        "index_versions",
        sa.Column("retired_at", sa.Float(), nullable=True, comment="when its storage was removed"),
    )
    op.add_column(
        "listing", sa.Column("gone", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("listing", sa.Column("acl", sa.Text(), nullable=True))
    op.add_column(
        "passes",
        sa.Column(
            "complete",
            sa.Boolean(),
            server_default=sa.true(),
            nullable=False,
            comment="false: of what happened since a cursor only",
        ),
    )
    op.add_column(
        "passes",
        sa.Column("since", sa.Text(), nullable=True, comment="cursor after which it was asked"),
    )
    op.add_column(
        "passes", sa.Column("cursor", sa.Text(), nullable=True, comment="cursor that it reached")
    )
