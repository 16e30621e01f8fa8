"""Verdicts of people, the version of each group's answers, and which one an agent is scored with."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0021"
down_revision = "0018"
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
    op.execute("ALTER TABLE score_cursors ADD COLUMN answers_version integer NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE score_cursors ALTER COLUMN answers_version DROP DEFAULT")


def downgrade() -> None:
    op.execute("ALTER TABLE score_cursors DROP COLUMN answers_version")
    op.execute("DROP TABLE verdicts")
    op.execute("DROP TABLE risk_answers")
