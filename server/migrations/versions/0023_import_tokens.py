"""Import tokens: addresses for tools that cannot set headers."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0023"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE import_tokens (
            token_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            agent_no bigint NOT NULL REFERENCES host_agents,
            format text NOT NULL CONSTRAINT import_tokens_format_check
                CHECK (format IN ('falco', 'tetragon', 'tracee')),
            digest bytea NOT NULL UNIQUE,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            last_used_at timestamptz,
            revoked_at timestamptz
        )""")
    op.execute(
        "CREATE INDEX import_tokens_agent_no_created_at_idx ON import_tokens (agent_no, created_at, token_id)"
    )
    secure("import_tokens", BY_ID)


def downgrade() -> None:
    op.execute("DROP TABLE import_tokens")
