"""The catalog as first released."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="inserted, updated, moved or deleted"),
        sa.Column("moved_from", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("modified", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True, comment="null until settled"),
        sa.Column(
            "deferred_by",
            sa.Text(),
            nullable=True,
            comment="index whose budget made the document wait",
        ),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_changes_doc", "changes", ["doc_id"], unique=False)
    op.create_index("ix_changes_page", "changes", ["source", "window", "pass_no"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="of the step that refused it"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("doc_id"),
    )
    op.create_table(
        "documents",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="object key below the source's URL"),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the newest change"),
        sa.Column("window", sa.Text(), nullable=False, comment="page that holds the newest change"),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("modified", sa.Float(), nullable=True),
        sa.Column(
            "sha256",
            sa.Text(),
            nullable=True,
            comment="of the bytes; null when they could not be had",
        ),
        sa.Column(
            "text_hash",
            sa.Text(),
            nullable=True,
            comment="of the clean text; null until cleaned or dead",
        ),
        sa.Column("empty", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key"),
        sa.UniqueConstraint("doc_id"),
    )
    op.create_index("ix_documents_text", "documents", ["source", "text_hash"], unique=False)
    op.create_table(
        "index_documents",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="newest change applied"),
        sa.Column("claimed", sa.BigInteger(), nullable=False, comment="newest change begun"),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False, comment="0: known, nothing searchable"),
        sa.Column("digest", sa.Text(), nullable=False, comment="over point ids and payloads"),
        sa.Column(
            "text_hash",
            sa.Text(),
            nullable=True,
            comment="of the clean text applied; null: no text",
        ),
        sa.PrimaryKeyConstraint("index_name", "doc_id"),
    )
    op.create_index(
        "ix_index_documents_source", "index_documents", ["index_name", "source"], unique=False
    )
    op.create_table(
        "index_pages",
        sa.Column("index_name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False, comment="of the last run over this page"),
        sa.PrimaryKeyConstraint("index_name", "source", "window"),
    )
    op.create_table(
        "index_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "ledger",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False, comment="UTC date of the reservation"),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False, comment="asset or command that asked"),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("reserved_microusd", sa.BigInteger(), nullable=False),
        sa.Column(
            "settled_microusd", sa.BigInteger(), nullable=True, comment="null while in flight"
        ),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False, comment="reserved, settled or failed"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_ledger_day", "ledger", ["day"], unique=False)
    op.create_index("ix_ledger_run", "ledger", ["run_id"], unique=False)
    op.create_table(
        "listing",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.Float(), nullable=False),
        sa.Column("fetched", sa.Boolean(), nullable=False, comment="a candidate taken"),
        sa.Column("doc_id", sa.Uuid(as_uuid=False), nullable=True, comment="of a candidate taken"),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "key"),
    )
    op.create_table(
        "memo",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "passes",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("listed_at", sa.Float(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False, comment="objects in the listing"),
        sa.Column("listed", sa.BigInteger(), nullable=False, comment="documents decided on"),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False, comment="every change has its outcome"),
        sa.PrimaryKeyConstraint("source", "window", "pass_no"),
    )
