"""Rules of tenants: their versions, the sets they were in force in, hits by day, shadows; and previews."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, BY_NO, secure

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE risk_rules (
            tenant_no bigint NOT NULL,
            rule_id text NOT NULL,
            version integer NOT NULL,
            source jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            PRIMARY KEY (tenant_no, rule_id, version)
        )""")
    secure("risk_rules", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE risk_rule_sets (
            tenant_no bigint NOT NULL,
            version integer NOT NULL,
            content jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            PRIMARY KEY (tenant_no, version)
        )""")
    secure("risk_rule_sets", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE risk_shipped_rules (
            tenant_no bigint NOT NULL,
            version text NOT NULL,
            packed bytea NOT NULL,
            PRIMARY KEY (tenant_no, version)
        )""")
    secure("risk_shipped_rules", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE risk_rule_hits (
            tenant_no bigint NOT NULL,
            agent_no bigint NOT NULL,
            rule_id text NOT NULL,
            day date NOT NULL,
            hits bigint NOT NULL,
            added bigint NOT NULL,
            PRIMARY KEY (agent_no, rule_id, day)
        )""")
    op.execute("CREATE INDEX risk_rule_hits_tenant_no_day_idx ON risk_rule_hits (tenant_no, day)")
    secure("risk_rule_hits", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE risk_rule_shadows (
            tenant_id uuid NOT NULL,
            tenant_no bigint NOT NULL,
            rule_id text NOT NULL,
            began_at timestamptz NOT NULL,
            ends_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, rule_id)
        )""")
    secure("risk_rule_shadows", BY_ID)
    op.execute("ALTER TABLE score_cursors ADD COLUMN shipped_rules text, ADD COLUMN rules_version integer")
    op.execute("""
        CREATE TABLE score_previews (
            tenant_no bigint NOT NULL,
            preview_id uuid PRIMARY KEY,
            asked jsonb NOT NULL,
            since timestamptz NOT NULL,
            until timestamptz NOT NULL,
            state text NOT NULL CONSTRAINT score_previews_state_check
                CHECK (state IN ('running', 'done', 'failed')),
            result jsonb,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            finished_at timestamptz
        )""")
    op.execute("CREATE INDEX score_previews_tenant_no_made_at_idx ON score_previews (tenant_no, made_at)")
    secure("score_previews", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE score_previews")
    op.execute("ALTER TABLE score_cursors DROP COLUMN shipped_rules, DROP COLUMN rules_version")
    for table in ("shadows", "hits", "sets"):
        op.execute(f"DROP TABLE risk_rule_{table}")
    op.execute("DROP TABLE risk_shipped_rules")
    op.execute("DROP TABLE risk_rules")
