"""Verdict heads by version, and which of them an agent was scored with last."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_heads (
            tenant_no bigint NOT NULL,
            version integer NOT NULL,
            alphabet text NOT NULL,
            state text NOT NULL CONSTRAINT risk_heads_state_check CHECK (state IN ('shadow', 'on', 'off')),
            auc double precision NOT NULL,
            confirmed integer NOT NULL,
            harmless integer NOT NULL,
            created_at timestamptz NOT NULL,
            on_at timestamptz,
            off_at timestamptz,
            packed bytea NOT NULL,
            PRIMARY KEY (tenant_no, version)
        )""")
    op.execute("CREATE UNIQUE INDEX risk_heads_on_idx ON risk_heads (tenant_no, alphabet) WHERE state = 'on'")
    secure("risk_heads", BY_NO, tenant="SELECT, INSERT, UPDATE")
    op.execute("ALTER TABLE score_cursors ADD COLUMN heads text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE score_cursors ALTER COLUMN heads DROP DEFAULT")


def downgrade() -> None:
    op.execute("ALTER TABLE score_cursors DROP COLUMN heads")
    op.execute("DROP TABLE risk_heads")
