"""Secrets of projects, sealed; envelopes that no key opens yet."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, BY_NO, secure

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE project_secrets (
            secret_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            project_id uuid NOT NULL,
            kind text NOT NULL CONSTRAINT project_secrets_kind_check CHECK (kind IN ('encryption', 'signing')),
            state text NOT NULL CONSTRAINT project_secrets_state_check CHECK (state IN ('active', 'previous')),
            sealed bytea NOT NULL,
            last4 text NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            last_used_at timestamptz,
            FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, project_id),
            UNIQUE (tenant_id, project_id, kind, state)
        )""")
    secure("project_secrets", BY_ID)
    op.execute("""
        CREATE TABLE held_envelopes (
            held_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            received_at timestamptz NOT NULL,
            tried_at timestamptz NOT NULL,
            around bytea NOT NULL,
            sender bytea NOT NULL,
            bytes integer NOT NULL,
            payload bytea NOT NULL
        )""")
    op.execute(
        "CREATE INDEX held_envelopes_tenant_no_project_no_idx ON held_envelopes (tenant_no, project_no, held_no)"
    )
    secure("held_envelopes", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE held_envelopes")
    op.execute("DROP TABLE project_secrets")
