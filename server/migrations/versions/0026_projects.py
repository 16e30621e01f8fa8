"""Projects have a name, a version and an end; a tenant's own people say whether naming one makes it."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE projects ADD COLUMN name text, ADD COLUMN archived_at timestamptz,
            ADD COLUMN version integer NOT NULL DEFAULT 1""")
    op.execute("ALTER TABLE projects DROP CONSTRAINT projects_state_check")
    op.execute("""
        ALTER TABLE projects ADD CONSTRAINT projects_state_check
            CHECK (state IN ('active', 'archived', 'deleted'))""")
    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT UPDATE (settings) ON tenants TO guardhouse_tenant")


def downgrade() -> None:
    if not op.get_context().opts.get("single_role"):
        op.execute("REVOKE UPDATE (settings) ON tenants FROM guardhouse_tenant")
    op.execute("UPDATE projects SET state = 'archived' WHERE state = 'deleted'")
    op.execute("ALTER TABLE projects DROP CONSTRAINT projects_state_check")
    op.execute("""
        ALTER TABLE projects ADD CONSTRAINT projects_state_check CHECK (state IN ('active', 'archived'))""")
    op.execute("ALTER TABLE projects DROP COLUMN name, DROP COLUMN archived_at, DROP COLUMN version")
