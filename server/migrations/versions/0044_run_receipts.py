"""The receipt of a run, byte for byte, for who sends the same request again; runs at work, by tenant."""

from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE runs ADD COLUMN receipt bytea")
    op.execute("CREATE INDEX runs_processing_idx ON runs (tenant_id) WHERE status = 'PROCESSING'")


def downgrade() -> None:
    op.execute("DROP INDEX runs_processing_idx")
    op.execute("ALTER TABLE runs DROP COLUMN receipt")
