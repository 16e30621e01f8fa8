"""Baselines of programs: every version that was ever learned."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_profiles (
            tenant_no bigint NOT NULL,
            group_name text NOT NULL,
            version integer NOT NULL,
            learned_at timestamptz NOT NULL,
            learned_by text NOT NULL,
            programs integer NOT NULL,
            runs integer NOT NULL,
            calls bigint NOT NULL,
            packed bytea NOT NULL,
            PRIMARY KEY (tenant_no, group_name, version)
        )""")
    secure("risk_profiles", BY_NO, tenant="SELECT, INSERT")


def downgrade() -> None:
    op.execute("DROP TABLE risk_profiles")
