"""Background jobs, their schedules, and the workers that run them."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE jobs (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL,
            payload jsonb NOT NULL,
            tenant_id uuid,
            tenant_no bigint,
            fairness_key text COLLATE "C" NOT NULL,
            priority smallint NOT NULL,
            unique_key text,
            state text NOT NULL CONSTRAINT jobs_state_check
                CHECK (state IN ('waiting', 'ready', 'running', 'dead')),
            run_at timestamptz NOT NULL DEFAULT now(),
            lease_until timestamptz,
            worker_id uuid,
            attempt integer NOT NULL DEFAULT 0,
            failures integer NOT NULL DEFAULT 0,
            reason text,
            correlation_id text NOT NULL
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)""")
    op.execute("CREATE INDEX jobs_ready_idx ON jobs (fairness_key, priority, id) WHERE state = 'ready'")
    op.execute("CREATE INDEX jobs_waiting_idx ON jobs (run_at) WHERE state = 'waiting'")
    op.execute("CREATE INDEX jobs_running_idx ON jobs (lease_until) WHERE state = 'running'")
    op.execute("CREATE INDEX jobs_dead_idx ON jobs (name, id) WHERE state = 'dead'")
    op.execute("""
        CREATE UNIQUE INDEX jobs_unique_key_idx ON jobs (tenant_id, name, unique_key) NULLS NOT DISTINCT
        WHERE unique_key IS NOT NULL""")
    secure("jobs", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE job_schedules (
            name text PRIMARY KEY,
            next_at timestamptz NOT NULL,
            last_job bigint
        )""")
    secure("job_schedules", None)
    op.execute("""
        CREATE TABLE workers (
            id uuid PRIMARY KEY,
            host text NOT NULL,
            pid integer NOT NULL,
            started_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL
        )""")
    secure("workers", None)


def downgrade() -> None:
    for table in ("workers", "job_schedules", "jobs"):
        op.execute(f"DROP TABLE {table}")
