"""Tenants, API keys, keys and nonces of agents."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tenants (
            tenant_id uuid PRIMARY KEY,
            tenant_no bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
            slug text NOT NULL UNIQUE,
            name text NOT NULL,
            state text NOT NULL CONSTRAINT tenants_state_check CHECK (state IN ('active', 'suspended', 'closed')),
            env text NOT NULL CONSTRAINT tenants_env_check CHECK (env IN ('live', 'test')),
            settings jsonb NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    secure("tenants", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE api_keys (
            key_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            name text NOT NULL,
            role text NOT NULL,
            scopes text[] NOT NULL,
            project_id uuid,
            env text NOT NULL,
            state text NOT NULL CONSTRAINT api_keys_state_check CHECK (state IN ('active', 'suspended', 'revoked')),
            digest bytea NOT NULL UNIQUE,
            pepper_kid text NOT NULL,
            prefix text NOT NULL,
            last4 text NOT NULL,
            expires_at timestamptz,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            last_used_at timestamptz
        )""")
    op.execute("CREATE INDEX api_keys_tenant_id_created_at_idx ON api_keys (tenant_id, created_at, key_id)")
    secure("api_keys", BY_ID)
    op.execute("""
        CREATE TABLE agent_keys (
            tenant_id uuid NOT NULL REFERENCES tenants,
            agent_id text NOT NULL,
            n integer NOT NULL,
            sealed bytea NOT NULL,
            legacy boolean NOT NULL,
            created_at timestamptz NOT NULL,
            valid_until timestamptz,
            PRIMARY KEY (tenant_id, agent_id, n)
        )""")
    op.execute("CREATE INDEX agent_keys_agent_id_idx ON agent_keys (agent_id)")
    secure("agent_keys", BY_ID)
    op.execute("""
        CREATE TABLE agent_nonces (
            tenant_id uuid NOT NULL,
            keyid text NOT NULL,
            nonce bytea NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, keyid, nonce)
        )""")
    op.execute("CREATE INDEX agent_nonces_expires_at_idx ON agent_nonces (expires_at)")
    secure("agent_nonces", BY_ID, tenant="SELECT, INSERT")


def downgrade() -> None:
    for table in ("agent_nonces", "agent_keys", "api_keys", "tenants"):
        op.execute(f"DROP TABLE {table}")
