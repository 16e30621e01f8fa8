"""Host agents and what was received of their streams."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, BY_NO, secure

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE host_agents (
            agent_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            tenant_no bigint NOT NULL,
            agent_id text NOT NULL,
            name text NOT NULL,
            hostname text,
            metadata jsonb NOT NULL,
            signature_modes text[] NOT NULL,
            state text NOT NULL CONSTRAINT host_agents_state_check CHECK (state IN ('active', 'deleted')),
            next_position bigint NOT NULL,
            last_seen timestamptz,
            clock_skew_ms bigint,
            created_at timestamptz NOT NULL
        ) WITH (fillfactor = 70)""")
    op.execute(
        "CREATE UNIQUE INDEX host_agents_tenant_id_agent_id_key ON host_agents (tenant_id, agent_id)"
        " WHERE state = 'active'"
    )
    secure("host_agents", BY_ID)
    op.execute("""
        CREATE TABLE agent_streams (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL REFERENCES host_agents,
            stream text NOT NULL,
            boot_id text,
            alphabet text,
            low_seq bigint NOT NULL,
            high_seq bigint NOT NULL,
            received bigint NOT NULL,
            seq_reused boolean NOT NULL,
            PRIMARY KEY (tenant_no, agent_no, stream)
        ) WITH (fillfactor = 70)""")
    secure("agent_streams", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE agent_streams")
    op.execute("DROP TABLE host_agents")
