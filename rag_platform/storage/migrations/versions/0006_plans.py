"""An index by which a decision finds what shares its text."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_enrichments_text", "enrichments", ["source", "text_hash"], unique=False)
