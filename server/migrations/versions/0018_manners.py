"""Answers kept under Idempotency-Keys, the platform's mode, and the trace a job belongs to."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE idempotency_keys (
            tenant_id uuid NOT NULL,
            route text NOT NULL,
            key text NOT NULL,
            fingerprint bytea NOT NULL,
            status smallint,
            headers jsonb,
            body bytea,
            lease_until timestamptz,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, route, key),
            CONSTRAINT idempotency_keys_answered_or_leased_check
                CHECK ((status IS NULL) = (lease_until IS NOT NULL))
        )""")
    op.execute("CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at)")
    secure("idempotency_keys", BY_ID)
    op.execute("""
        CREATE TABLE platform_mode (
            only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT platform_mode_only_row_check CHECK (only_row),
            mode text NOT NULL CONSTRAINT platform_mode_mode_check
                CHECK (mode IN ('NORMAL', 'SAFE_MODE', 'HARD_STOP')),
            reason text NOT NULL,
            until timestamptz,
            changed_at timestamptz NOT NULL,
            changed_by text NOT NULL,
            version bigint NOT NULL
        )""")
    secure("platform_mode", None)
    op.execute("ALTER TABLE jobs ADD COLUMN trace_id text")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP COLUMN trace_id")
    op.execute("DROP TABLE platform_mode")
    op.execute("DROP TABLE idempotency_keys")
