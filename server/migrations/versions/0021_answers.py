"""Verdicts of people with the version of each group's answers; baselines by program; runs that wait to be learned.

Baselines learned before are forgotten: they held whole groups and are learned again from the events that are stored.
"""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_answers (
            tenant_no bigint NOT NULL,
            group_name text NOT NULL,
            version integer NOT NULL,
            PRIMARY KEY (tenant_no, group_name)
        ) WITH (fillfactor = 70)""")
    secure("risk_answers", BY_NO, tenant="SELECT, INSERT, UPDATE")
    op.execute("""
        CREATE TABLE verdicts (
            tenant_no bigint NOT NULL,
            verdict_id uuid NOT NULL,
            agent_no bigint NOT NULL,
            key text NOT NULL,
            group_name text NOT NULL,
            since integer NOT NULL,
            until integer,
            verdict text NOT NULL CONSTRAINT verdicts_verdict_check
                CHECK (verdict IN ('confirmed', 'false_alarm', 'expected')),
            evidence jsonb NOT NULL,
            note text,
            person text NOT NULL,
            given_at timestamptz NOT NULL,
            ended_at timestamptz,
            ended_by text,
            PRIMARY KEY (tenant_no, verdict_id)
        )""")
    op.execute("CREATE INDEX verdicts_agent_no_key_idx ON verdicts (agent_no, key, verdict_id)")
    op.execute("CREATE INDEX verdicts_tenant_no_group_name_idx ON verdicts (tenant_no, group_name)")
    op.execute("""
        CREATE UNIQUE INDEX verdicts_standing_idx ON verdicts (agent_no, key, person) WHERE until IS NULL""")
    secure("verdicts", BY_NO, tenant="SELECT, INSERT, UPDATE")
    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT INSERT ON events_kept TO guardhouse_tenant")  # what is confirmed is kept
    _baselines()
    op.execute("ALTER TABLE score_cursors ADD COLUMN answers_version integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE score_cursors ALTER COLUMN answers_version DROP DEFAULT")


def _baselines() -> None:
    op.execute("DELETE FROM risk_profiles")
    op.execute("ALTER TABLE risk_profiles DROP COLUMN packed")
    op.execute("""
        CREATE TABLE risk_baselines (
            tenant_no bigint NOT NULL,
            profile_id uuid NOT NULL,
            version integer NOT NULL,
            group_name text NOT NULL,
            exe text NOT NULL,
            alphabet text NOT NULL,
            learned_at timestamptz NOT NULL,
            halved_at timestamptz NOT NULL,
            runs integer NOT NULL,
            calls bigint NOT NULL,
            packed bytea NOT NULL,
            PRIMARY KEY (tenant_no, profile_id, version)
        )""")
    op.execute("""
        CREATE INDEX risk_baselines_tenant_no_group_name_idx
            ON risk_baselines (tenant_no, group_name, profile_id)""")
    secure("risk_baselines", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE risk_runs (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            key text NOT NULL,
            after_position bigint NOT NULL,
            last_position bigint NOT NULL,
            root_key text NOT NULL,
            exe text NOT NULL,
            alphabet text NOT NULL,
            started_at timestamptz NOT NULL,
            ended_at timestamptz NOT NULL,
            hits jsonb NOT NULL,
            edge text,
            calm boolean NOT NULL,
            received bigint NOT NULL,
            lost bigint NOT NULL,
            going_on boolean NOT NULL,
            folded_to bigint NOT NULL,
            left_out text,
            PRIMARY KEY (agent_no, key, after_position)
        )""")
    op.execute("CREATE INDEX risk_runs_tenant_no_ended_at_idx ON risk_runs (tenant_no, ended_at)")
    secure("risk_runs", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE risk_runs")
    op.execute("DROP TABLE risk_baselines")
    op.execute("DELETE FROM risk_profiles")
    op.execute("ALTER TABLE risk_profiles ADD COLUMN packed bytea NOT NULL")
    op.execute("ALTER TABLE score_cursors DROP COLUMN answers_version")
    if not op.get_context().opts.get("single_role"):
        op.execute("REVOKE INSERT ON events_kept FROM guardhouse_tenant")
    op.execute("DROP TABLE verdicts")
    op.execute("DROP TABLE risk_answers")
