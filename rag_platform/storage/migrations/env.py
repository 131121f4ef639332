"""Alembic runs the migrations on the connection that `Catalog` hands over."""

from alembic import context

from rag_platform.storage.schema_base import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
