"""Texts that wait for the worker, their batches, and deliveries to URLs that came with a call."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE detection_batches (
            tenant_id uuid NOT NULL REFERENCES tenants,
            id uuid NOT NULL,
            at timestamptz NOT NULL,
            kind text NOT NULL,
            credential text NOT NULL,
            webhook_url text,
            total integer NOT NULL,
            succeeded integer NOT NULL,
            failed integer NOT NULL,
            finished_at timestamptz,
            PRIMARY KEY (tenant_id, id)
        )""")
    secure("detection_batches", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE detection_inputs (
            tenant_id uuid NOT NULL REFERENCES tenants,
            id uuid NOT NULL,
            at timestamptz NOT NULL,
            batch_id uuid,
            place integer NOT NULL,
            name text,
            kind text NOT NULL,
            credential text NOT NULL,
            project_id uuid,
            state text NOT NULL CONSTRAINT detection_inputs_state_check
                CHECK (state IN ('queued', 'running', 'completed', 'failed')),
            packed bytea,
            error jsonb,
            finished_at timestamptz,
            PRIMARY KEY (tenant_id, id),
            CONSTRAINT detection_inputs_packed_check
                CHECK ((packed IS NULL) = (state IN ('completed', 'failed')))
        )""")
    op.execute(
        "CREATE INDEX detection_inputs_batch_id_idx ON detection_inputs (tenant_id, batch_id, place)"
        " WHERE batch_id IS NOT NULL"
    )
    op.execute("CREATE INDEX detection_inputs_at_idx ON detection_inputs (at)")
    op.execute(
        "CREATE INDEX detection_inputs_waiting_idx ON detection_inputs (tenant_id, at) WHERE packed IS NOT NULL"
    )
    secure("detection_inputs", BY_ID, tenant="SELECT, INSERT")
    op.execute("ALTER TABLE webhook_endpoints DROP CONSTRAINT webhook_endpoints_channel_check")
    op.execute(
        "ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_channel_check"
        " CHECK (channel IN ('webhook', 'slack', 'pagerduty', 'email', 'adhoc'))"
    )


def downgrade() -> None:
    op.execute("DELETE FROM webhook_endpoints WHERE channel = 'adhoc'")
    op.execute("ALTER TABLE webhook_endpoints DROP CONSTRAINT webhook_endpoints_channel_check")
    op.execute(
        "ALTER TABLE webhook_endpoints ADD CONSTRAINT webhook_endpoints_channel_check"
        " CHECK (channel IN ('webhook', 'slack', 'pagerduty', 'email'))"
    )
    op.execute("DROP TABLE detection_inputs")
    op.execute("DROP TABLE detection_batches")
