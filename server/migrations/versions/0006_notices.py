"""The outbox and its readers."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, grant_sequence, secure

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The epoch is a sequence because it only ever counts up, belongs to nobody, and travels with a dump.
    op.execute("CREATE SEQUENCE notice_epochs AS integer")
    op.execute("SELECT nextval('notice_epochs')")
    grant_sequence("notice_epochs")
    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT SELECT ON SEQUENCE notice_epochs TO guardhouse_tenant, guardhouse_system")
    op.execute("CREATE SEQUENCE notice_ids")
    grant_sequence("notice_ids")
    op.execute("""
        CREATE TABLE notices (
            epoch integer NOT NULL,
            txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            id bigint NOT NULL DEFAULT nextval('notice_ids'),
            notice_id uuid NOT NULL,
            tenant_id uuid NOT NULL,
            kind text NOT NULL,
            version smallint NOT NULL,
            severity text NOT NULL CONSTRAINT notices_severity_check
                CHECK (severity IN ('info', 'low', 'medium', 'high', 'critical')),
            subject text NOT NULL,
            subject_seq bigint NOT NULL,
            data jsonb NOT NULL,
            api_key_id uuid,
            project_id uuid,
            correlation_id text NOT NULL,
            trace_id text,
            occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (epoch, txid, id, occurred_at)
        ) PARTITION BY RANGE (occurred_at)""")
    op.execute("CREATE INDEX notices_tenant_id_epoch_idx ON notices (tenant_id, epoch, txid, id)")
    op.execute("CREATE INDEX notices_tenant_id_subject_idx ON notices (tenant_id, subject, subject_seq)")
    secure("notices", BY_ID, tenant="SELECT, INSERT")
    op.execute(
        "SELECT guardhouse_create_day('notices', (now() AT TIME ZONE 'UTC')::date + step)"
        " FROM generate_series(-1, 7) AS step"
    )
    op.execute("""
        CREATE TABLE notice_cursors (
            reader text PRIMARY KEY,
            epoch integer NOT NULL,
            txid xid8 NOT NULL,
            id bigint NOT NULL
        )""")
    secure("notice_cursors", None)
    op.execute("""
        CREATE TABLE stream_tickets (
            ticket_hash bytea PRIMARY KEY,
            tenant_id uuid NOT NULL,
            tenant_no bigint NOT NULL,
            scopes text[] NOT NULL,
            project_id uuid,
            credential_id text NOT NULL,
            expires_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX stream_tickets_expires_at_idx ON stream_tickets (expires_at)")
    secure("stream_tickets", BY_ID, tenant="INSERT")


def downgrade() -> None:
    for table in ("stream_tickets", "notice_cursors", "notices"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP SEQUENCE notice_ids")
    op.execute("DROP SEQUENCE notice_epochs")
