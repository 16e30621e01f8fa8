"""Recalculations that run as jobs."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_recalculations (
            recalculation_id uuid PRIMARY KEY,
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            key text,
            since timestamptz,
            until timestamptz,
            mode text NOT NULL CONSTRAINT risk_recalculations_mode_check CHECK (mode IN ('verify', 'current')),
            dry_run boolean NOT NULL,
            state text NOT NULL CONSTRAINT risk_recalculations_state_check
                CHECK (state IN ('waiting', 'running', 'done', 'failed')),
            events bigint NOT NULL,
            result jsonb,
            asked_by text NOT NULL,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT risk_recalculations_what_check CHECK ((key IS NULL) = (since IS NOT NULL)),
            CONSTRAINT risk_recalculations_span_check CHECK ((since IS NULL) = (until IS NULL)),
            CONSTRAINT risk_recalculations_finished_check
                CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL))
        )""")
    op.execute(
        "CREATE INDEX risk_recalculations_tenant_no_created_at_idx"
        " ON risk_recalculations (tenant_no, created_at, recalculation_id)"
    )
    secure("risk_recalculations", BY_NO)
    # A recalculation on request keeps its row in the request's transaction; the policy holds it to the tenant.
    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT INSERT ON scores TO guardhouse_tenant")


def downgrade() -> None:
    if not op.get_context().opts.get("single_role"):
        op.execute("REVOKE INSERT ON scores FROM guardhouse_tenant")
    op.execute("DROP TABLE risk_recalculations")
