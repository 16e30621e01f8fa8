"""When every process had applied a revision of an app's rules."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE rule_revisions ADD COLUMN adopted_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE rule_revisions DROP COLUMN adopted_at")
