"""Incidents of process risk, the events they cite, when states cool, and what was told of agents and scores."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_incidents (
            incident_id uuid PRIMARY KEY,
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            root_key text NOT NULL,
            tree_id text NOT NULL,
            process_id text NOT NULL,
            status text NOT NULL CONSTRAINT risk_incidents_status_check CHECK (status IN ('open', 'closed')),
            opened_at timestamptz NOT NULL,
            opened_position bigint NOT NULL,
            seen_at timestamptz NOT NULL,
            position bigint NOT NULL,
            band text NOT NULL,
            risk integer NOT NULL,
            peak_band text NOT NULL,
            peak_risk integer NOT NULL,
            peak_at timestamptz NOT NULL,
            contributions jsonb NOT NULL,
            versions jsonb NOT NULL,
            version integer NOT NULL,
            closed_at timestamptz,
            closed_by text,
            close_reason text
        )""")
    op.execute(
        "CREATE UNIQUE INDEX risk_incidents_open_key ON risk_incidents (agent_no, root_key) WHERE status = 'open'"
    )
    op.execute("CREATE INDEX risk_incidents_agent_no_root_key_idx ON risk_incidents (agent_no, root_key)")
    op.execute(
        "CREATE INDEX risk_incidents_tenant_no_opened_at_idx"
        " ON risk_incidents (tenant_no, opened_at, incident_id)"
    )
    secure("risk_incidents", BY_NO, tenant="SELECT, UPDATE")
    op.execute("""
        CREATE TABLE risk_incident_notices (
            incident_id uuid NOT NULL,
            band text NOT NULL,
            evidence_id text NOT NULL,
            tenant_no bigint NOT NULL,
            notice_id uuid NOT NULL,
            number integer NOT NULL,
            at timestamptz NOT NULL,
            position bigint NOT NULL,
            process_id text NOT NULL,
            previous_band text NOT NULL,
            risk integer NOT NULL,
            contributions jsonb NOT NULL,
            PRIMARY KEY (incident_id, band, evidence_id)
        )""")
    secure("risk_incident_notices", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE risk_score_episodes (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            key text NOT NULL,
            threshold smallint NOT NULL,
            position bigint NOT NULL,
            PRIMARY KEY (agent_no, key, threshold)
        )""")
    secure("risk_score_episodes", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE events_kept (
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
            PRIMARY KEY (tenant_no, event_id)
        )""")
    secure("events_kept", BY_NO, tenant="SELECT")
    op.execute("ALTER TABLE processes ADD COLUMN hot boolean NOT NULL DEFAULT false")
    op.execute("UPDATE processes SET hot = true WHERE band <> 'low' OR tree_band <> 'low'")
    op.execute("ALTER TABLE processes ALTER COLUMN hot DROP DEFAULT")
    op.execute("CREATE INDEX processes_agent_no_hot_idx ON processes (agent_no) WHERE hot")
    op.execute(
        "ALTER TABLE score_cursors ADD COLUMN clock_at timestamptz, ADD COLUMN heard_at timestamptz,"
        " ADD COLUMN cools_at timestamptz, ADD COLUMN swept_at timestamptz, ADD COLUMN loss_told_at timestamptz"
    )
    op.execute(
        "CREATE INDEX score_cursors_cools_at_idx ON score_cursors (agent_no) WHERE cools_at IS NOT NULL"
    )
    op.execute("ALTER TABLE host_agents ADD COLUMN silent_told_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE host_agents DROP COLUMN silent_told_at")
    op.execute("DROP INDEX score_cursors_cools_at_idx")
    op.execute(
        "ALTER TABLE score_cursors DROP COLUMN clock_at, DROP COLUMN heard_at, DROP COLUMN cools_at,"
        " DROP COLUMN swept_at, DROP COLUMN loss_told_at"
    )
    op.execute("ALTER TABLE processes DROP COLUMN hot")
    for table in ("events_kept", "risk_score_episodes", "risk_incident_notices", "risk_incidents"):
        op.execute(f"DROP TABLE {table}")
