"""Rows of the usage log that the worker writes are found without reading those of requests."""

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX usage_log_judged_later_idx ON usage_log (tenant_id, at) WHERE status = 0")


def downgrade() -> None:
    op.execute("DROP INDEX usage_log_judged_later_idx")
