"""The tables of the catalog about its own running: what was measured, and who changed what."""

import sqlalchemy as sa

from rag_platform.storage.schema_base import BigKey, metadata

# Histograms and counters that outlive the process that counted. A row counts the observations of
# one bucket, which are above the bound before it and not above its own.
measures = sa.Table(
    "measures",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True, comment="JSON object, keys sorted"),
    sa.Column("le", sa.Text, primary_key=True, comment="upper bound, or +Inf"),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("total", sa.Float, nullable=False, comment="sum of what was observed"),
)

# What people and the command line changed: a row when it begins, its outcome when it ends.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("via", sa.Text, nullable=False, comment="cli or console"),
    sa.Column("action", sa.Text, nullable=False, comment="such as index.promote"),
    sa.Column("subject", sa.Text, nullable=False, comment="that it was done to"),
    sa.Column("reason", sa.Text),
    sa.Column("facts", sa.JSON, nullable=False, comment="what was asked for besides"),
    sa.Column("outcome", sa.Text, comment="done, refused or failed; null: under way, or killed"),
    sa.Column("detail", sa.Text, comment="what came of it, or why it was refused"),
    sa.Column("ended_at", sa.Float),
    sa.Index("ix_audit_log_at", "at"),
)
