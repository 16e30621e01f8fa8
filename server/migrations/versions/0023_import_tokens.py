"""Import tokens: addresses for tools that cannot set headers. Keys of agents say which signatures they are good for."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0023"
down_revision = "0022"
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
    op.execute("ALTER TABLE agent_keys ADD COLUMN rfc9421 boolean NOT NULL DEFAULT true")
    op.execute("ALTER TABLE agent_keys ALTER COLUMN rfc9421 DROP DEFAULT")
    op.execute("""
        UPDATE agent_keys k SET rfc9421 = false FROM host_agents a
        WHERE a.tenant_id = k.tenant_id AND a.agent_id = k.agent_id AND a.state = 'active'
          AND NOT 'rfc9421' = ANY (a.signature_modes)""")


def downgrade() -> None:
    op.execute("ALTER TABLE agent_keys DROP COLUMN rfc9421")
    op.execute("DROP TABLE import_tokens")
