"""Stored events of hosts, partitioned by day, and the sources they come from."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE process_events (
            event_id uuid NOT NULL,
            occurred_at timestamptz NOT NULL,
            received_at timestamptz NOT NULL,
            claimed_at timestamptz,
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            position bigint NOT NULL,
            start bigint,
            ret bigint,
            source_no integer NOT NULL,
            pid integer,
            tid integer,
            kind smallint NOT NULL,
            flags smallint NOT NULL,
            call text,
            fields bytea,
            PRIMARY KEY (tenant_no, event_id, occurred_at)
        ) PARTITION BY RANGE (occurred_at)""")
    op.execute("CREATE INDEX process_events_agent_no_position_idx ON process_events (agent_no, position)")
    op.execute(
        "CREATE INDEX process_events_agent_no_pid_position_idx ON process_events (agent_no, pid, position)"
    )
    secure("process_events", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE event_sources (
            source_no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            stream text NOT NULL,
            boot_id text NOT NULL,
            alphabet text NOT NULL,
            UNIQUE (tenant_no, agent_no, stream, boot_id, alphabet)
        )""")
    secure("event_sources", BY_NO, tenant="SELECT, INSERT")


def downgrade() -> None:
    op.execute("DROP TABLE event_sources")
    op.execute("DROP TABLE process_events")
