"""The tables of the catalog about models: what is asked of them, paid, trained and told of it."""

import sqlalchemy as sa

from rag_platform.storage.schema_base import BigKey, metadata

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
