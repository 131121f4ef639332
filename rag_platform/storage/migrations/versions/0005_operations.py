"""What is measured across processes, and the record of who changed what."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "measures",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False, comment="JSON object, keys sorted"),
        sa.Column("le", sa.Text(), nullable=False, comment="upper bound, or +Inf"),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Float(), nullable=False, comment="sum of what was observed"),
        sa.PrimaryKeyConstraint("name", "labels", "le"),
    )
    op.create_table(
        "audit_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False, comment="cli or console"),
        sa.Column("action", sa.Text(), nullable=False, comment="such as index.promote"),
        sa.Column("subject", sa.Text(), nullable=False, comment="that it was done to"),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False, comment="what was asked for besides"),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=True,
            comment="done, refused or failed; null: under way, or killed",
        ),
        sa.Column(
            "detail", sa.Text(), nullable=True, comment="what came of it, or why it was refused"
        ),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_documents_seq", "documents", ["seq"], unique=False)
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
