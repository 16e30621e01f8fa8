"""Rules of apps by the revisions they were good in, the revisions themselves, and the documents agents were given."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

OF_PROJECT = "FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, project_id)"
KINDS = (
    "'ban_net', 'release_net', 'allow_net', 'block_country', 'allow_countries', 'block_cloud', 'block_user_agent',"
    " 'block_pattern', 'limit_global', 'limit_endpoint', 'toggle', 'emergency'"
)


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE rule_revisions (
            project_id uuid NOT NULL,
            revision bigint NOT NULL,
            tenant_id uuid NOT NULL,
            published_at timestamptz NOT NULL,
            author text NOT NULL,
            cause text NOT NULL CONSTRAINT rule_revisions_cause_check CHECK (
                cause IN ('change', 'restore', 'start', 'expiry', 'renewal', 'policy')),
            reason text,
            restored bigint,
            baseline jsonb NOT NULL,
            targets jsonb NOT NULL,
            due_at timestamptz,
            PRIMARY KEY (project_id, revision),
            CONSTRAINT rule_revisions_tenant_id_project_id_fkey {OF_PROJECT}
        )""")
    op.execute("CREATE INDEX rule_revisions_due_at_idx ON rule_revisions (due_at) WHERE due_at IS NOT NULL")
    op.execute(f"""
        CREATE TABLE rules (
            project_id uuid NOT NULL,
            rule_id uuid NOT NULL,
            since bigint NOT NULL,
            until bigint,
            tenant_id uuid NOT NULL,
            kind text NOT NULL CONSTRAINT rules_kind_check CHECK (kind IN ({KINDS})),
            value jsonb NOT NULL,
            target jsonb NOT NULL,
            reason text,
            source text NOT NULL CONSTRAINT rules_source_check CHECK (source IN ('manual', 'auto', 'import')),
            priority integer NOT NULL,
            enabled boolean NOT NULL,
            starts_at timestamptz,
            expires_at timestamptz,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            PRIMARY KEY (project_id, rule_id, since),
            CONSTRAINT rules_tenant_id_project_id_fkey {OF_PROJECT}
        )""")
    op.execute("CREATE UNIQUE INDEX rules_now_idx ON rules (project_id, rule_id) WHERE until IS NULL")
    op.execute("CREATE INDEX rules_project_id_since_idx ON rules (project_id, since)")
    op.execute("CREATE INDEX rules_project_id_until_idx ON rules (project_id, until)")
    op.execute("""
        CREATE TABLE rule_documents (
            project_id uuid NOT NULL,
            revision bigint NOT NULL,
            target_hex text NOT NULL,
            tenant_id uuid NOT NULL,
            targets jsonb NOT NULL,
            document text NOT NULL,
            not_served text[] NOT NULL,
            PRIMARY KEY (project_id, revision, target_hex),
            CONSTRAINT rule_documents_project_id_revision_fkey
                FOREIGN KEY (project_id, revision) REFERENCES rule_revisions (project_id, revision)
        )""")
    secure("rule_revisions", BY_ID, tenant="SELECT, INSERT, UPDATE")
    secure("rules", BY_ID, tenant="SELECT, INSERT, UPDATE")
    secure("rule_documents", BY_ID, tenant="SELECT, INSERT")


def downgrade() -> None:
    op.execute("DROP TABLE rule_documents")
    op.execute("DROP TABLE rules")
    op.execute("DROP TABLE rule_revisions")
