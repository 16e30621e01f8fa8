"""Host batches already answered."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingest_batches (
            tenant_no bigint NOT NULL,
            agent_id text NOT NULL,
            key text NOT NULL,
            hash bytea NOT NULL,
            received_at timestamptz NOT NULL,
            position bigint NOT NULL,
            duplicates integer[] NOT NULL,
            keep_until timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, agent_id, key)
        )""")
    op.execute("CREATE INDEX ingest_batches_hash_idx ON ingest_batches (tenant_no, agent_id, hash)")
    op.execute("CREATE INDEX ingest_batches_keep_until_idx ON ingest_batches (keep_until)")
    secure("ingest_batches", BY_NO, tenant="SELECT, INSERT")


def downgrade() -> None:
    op.execute("DROP TABLE ingest_batches")
