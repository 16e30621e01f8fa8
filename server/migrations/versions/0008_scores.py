"""Processes with their packed states, scores by day, and who scores which lane."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE processes (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            key text NOT NULL,
            process_id text NOT NULL,
            pid integer NOT NULL,
            started_at timestamptz NOT NULL,
            last_seen timestamptz NOT NULL,
            exited_at timestamptz,
            first_position bigint NOT NULL,
            last_position bigint NOT NULL,
            calls bigint NOT NULL,
            other_events bigint NOT NULL,
            risk integer NOT NULL,
            tree_risk integer NOT NULL,
            risk_score integer NOT NULL,
            anomaly_score integer,
            band text NOT NULL,
            tree_band text NOT NULL,
            exe text,
            comm text,
            parent_key text,
            root_key text NOT NULL,
            alphabet text NOT NULL,
            profile_version integer,
            score_id uuid,
            PRIMARY KEY (agent_no, key)
        ) WITH (fillfactor = 70)""")
    op.execute(
        "CREATE INDEX processes_tenant_no_last_seen_idx ON processes (tenant_no, last_seen, agent_no, key)"
    )
    op.execute("CREATE INDEX processes_tenant_no_risk_idx ON processes (tenant_no, risk, agent_no, key)")
    op.execute("CREATE INDEX processes_tenant_no_process_id_idx ON processes (tenant_no, process_id)")
    op.execute("CREATE INDEX processes_agent_no_root_key_idx ON processes (agent_no, root_key)")
    secure("processes", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE process_states (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            key text NOT NULL,
            state bytea NOT NULL,
            PRIMARY KEY (agent_no, key)
        ) WITH (fillfactor = 70)""")
    secure("process_states", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE process_inputs (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            position bigint NOT NULL,
            n smallint NOT NULL,
            key text,
            kind text NOT NULL,
            data jsonb NOT NULL,
            PRIMARY KEY (agent_no, position, n)
        )""")
    secure("process_inputs", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE score_cursors (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL PRIMARY KEY,
            position bigint NOT NULL,
            profile_version integer,
            state bytea NOT NULL
        ) WITH (fillfactor = 70)""")
    secure("score_cursors", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE score_lanes (
            lane smallint PRIMARY KEY,
            owner uuid,
            lease_until timestamptz
        ) WITH (fillfactor = 50)""")
    op.execute("INSERT INTO score_lanes (lane) SELECT generate_series(0, 63)")
    secure("score_lanes", None)
    op.execute("""
        CREATE TABLE scores (
            score_id uuid NOT NULL,
            calculated_at timestamptz NOT NULL,
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            position bigint NOT NULL,
            pid integer NOT NULL,
            risk integer NOT NULL,
            tree_risk integer NOT NULL,
            risk_score integer NOT NULL,
            anomaly_score integer,
            key text NOT NULL,
            root_key text NOT NULL,
            process_id text NOT NULL,
            band text NOT NULL,
            reasons text[] NOT NULL,
            evidence jsonb NOT NULL,
            versions jsonb NOT NULL,
            PRIMARY KEY (tenant_no, score_id, calculated_at)
        ) PARTITION BY RANGE (calculated_at)""")
    op.execute(
        "CREATE INDEX scores_tenant_no_calculated_at_idx ON scores (tenant_no, calculated_at, score_id)"
    )
    op.execute("CREATE INDEX scores_agent_no_key_position_idx ON scores (agent_no, key, position)")
    secure("scores", BY_NO, tenant="SELECT")


def downgrade() -> None:
    for table in ("scores", "score_lanes", "score_cursors", "process_inputs", "process_states", "processes"):
        op.execute(f"DROP TABLE {table}")
