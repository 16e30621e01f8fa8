"""Policies of detections, their versions, and which key is judged by which."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE policies (
            tenant_id uuid NOT NULL REFERENCES tenants,
            policy_id uuid NOT NULL,
            name text NOT NULL,
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            PRIMARY KEY (tenant_id, policy_id),
            UNIQUE (tenant_id, name)
        )""")
    secure("policies", BY_ID)
    op.execute("""
        CREATE TABLE policy_versions (
            tenant_id uuid NOT NULL,
            policy_id uuid NOT NULL,
            version integer NOT NULL,
            body jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            PRIMARY KEY (tenant_id, policy_id, version),
            FOREIGN KEY (tenant_id, policy_id) REFERENCES policies
        )""")
    secure("policy_versions", BY_ID, tenant="SELECT, INSERT")
    op.execute(
        "ALTER TABLE api_keys ADD COLUMN policy_id uuid, ADD CONSTRAINT api_keys_tenant_id_policy_id_fkey"
        " FOREIGN KEY (tenant_id, policy_id) REFERENCES policies"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE api_keys DROP COLUMN policy_id")
    op.execute("DROP TABLE policy_versions")
    op.execute("DROP TABLE policies")
