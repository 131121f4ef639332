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

# One row per paid request: reserved at its worst case before it is sent, settled at its
# price after. A row that was never settled keeps counting at its worst case.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("day", sa.Text, nullable=False, comment="UTC date of the reservation"),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False, comment="asset or command that asked"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("reserved_microusd", sa.BigInteger, nullable=False),
    sa.Column("settled_microusd", sa.BigInteger, comment="null while in flight"),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False, comment="reserved, settled or failed"),
    sa.Index("ix_ledger_day", "day"),
    sa.Index("ix_ledger_run", "run_id"),
)
