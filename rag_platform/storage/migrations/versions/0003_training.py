"""Training: promotions, rollouts, drift, the master's decisions; messages by channel."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column(
            "notification_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("channel", sa.Text(), nullable=False, comment="log, slack or mail"),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="sending, sent, waiting or given_up"
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False, comment="of the last attempt"),
        sa.Column("next_at", sa.Float(), nullable=False, comment="not tried again before"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("notification_id", "channel"),
    )
    op.create_table(
        "master_decisions",
        sa.Column("monday", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False, comment="train or skip"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("monday", "model"),
    )
    op.create_table(
        "model_drift",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="training or scores"),
        sa.Column("window", sa.Text(), nullable=False, comment="week or day"),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("drifted", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="what drifted, in a line"),
        sa.Column(
            "asked_at",
            sa.Float(),
            nullable=True,
            comment="when training was asked for because of it",
        ),
        sa.PrimaryKeyConstraint("model", "kind", "window"),
    )
    op.create_table(
        "promotions",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column(
            "action",
            sa.Text(),
            nullable=False,
            comment="registered, challenger, step, promoted, rolled_back or withdrawn",
        ),
        sa.Column("version", sa.Text(), nullable=False, comment="that it happened to"),
        sa.Column(
            "champion", sa.Text(), nullable=True, comment="that serves afterwards; null: none"
        ),
        sa.Column(
            "share",
            sa.Integer(),
            nullable=True,
            comment="percent of units that the challenger answers",
        ),
        sa.Column("actor", sa.Text(), nullable=False, comment="a person, or `rollout`"),
        sa.Column("run_id", sa.Text(), nullable=True, comment="of Dagster"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False, comment="figures that it was decided by"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_promotions_model", "promotions", ["model", "id"], unique=False)
    op.create_table(
        "rollouts",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("challenger", sa.Text(), nullable=False, comment="version"),
        sa.Column("share", sa.Integer(), nullable=False, comment="percent; 0 in shadow"),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column(
            "counted_day", sa.Text(), nullable=True, comment="last day of scores that was counted"
        ),
        sa.Column("units", sa.BigInteger(), nullable=False, comment="answered on this step"),
        sa.PrimaryKeyConstraint("model"),
    )
