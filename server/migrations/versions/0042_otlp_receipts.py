"""Receipts of OTLP exports: a retried one is not counted twice."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE otlp_receipts (
            tenant_no bigint NOT NULL,
            sha256 bytea NOT NULL,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, sha256)
        )""")
    op.execute("CREATE INDEX otlp_receipts_received_at_idx ON otlp_receipts (received_at)")
    secure("otlp_receipts", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE otlp_receipts")
