"""OAuth2 clients, their secrets, signing keys and revocations; external issuers."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE oauth_signing_keys (
            kid text PRIMARY KEY,
            public_jwk jsonb NOT NULL,
            sealed bytea NOT NULL,
            created_at timestamptz NOT NULL,
            use_from timestamptz NOT NULL
        )""")
    secure("oauth_signing_keys", None)
    op.execute("""
        CREATE TABLE oauth_clients (
            client_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            name text NOT NULL,
            role text NOT NULL,
            scopes text[] NOT NULL,
            token_seconds integer NOT NULL
                CONSTRAINT oauth_clients_token_seconds_check CHECK (token_seconds BETWEEN 60 AND 3600),
            state text NOT NULL CONSTRAINT oauth_clients_state_check CHECK (state IN ('active', 'suspended')),
            jwks jsonb,
            jwks_uri text,
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL
        )""")
    op.execute(
        "CREATE INDEX oauth_clients_tenant_id_created_at_idx ON oauth_clients (tenant_id, created_at, client_id)"
    )
    secure("oauth_clients", BY_ID)
    op.execute("""
        CREATE TABLE oauth_client_secrets (
            secret_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            client_id uuid NOT NULL REFERENCES oauth_clients ON DELETE CASCADE,
            digest bytea NOT NULL,
            pepper_kid text NOT NULL,
            last4 text NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    op.execute(
        "CREATE INDEX oauth_client_secrets_tenant_id_client_id_idx"
        " ON oauth_client_secrets (tenant_id, client_id, created_at)"
    )
    secure("oauth_client_secrets", BY_ID)
    op.execute("""
        CREATE TABLE oauth_assertions (
            tenant_id uuid NOT NULL,
            client_id uuid NOT NULL,
            jti text NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, client_id, jti)
        )""")
    op.execute("CREATE INDEX oauth_assertions_expires_at_idx ON oauth_assertions (expires_at)")
    secure("oauth_assertions", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE oauth_revocations (
            tenant_id uuid NOT NULL,
            jti uuid NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, jti)
        )""")
    op.execute("CREATE INDEX oauth_revocations_expires_at_idx ON oauth_revocations (expires_at)")
    secure("oauth_revocations", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE identity_issuers (
            issuer_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            name text NOT NULL,
            issuer text NOT NULL,
            audience text NOT NULL,
            algorithms text[] NOT NULL,
            client_id text,
            sealed_secret bytea,
            sign_in_scope text NOT NULL,
            role_claim text NOT NULL,
            role_map jsonb NOT NULL,
            scope_claim text,
            scope_map jsonb NOT NULL,
            tenant_claim text,
            tenant_value text,
            state text NOT NULL CONSTRAINT identity_issuers_state_check CHECK (state IN ('active', 'disabled')),
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL
        )""")
    op.execute(
        "CREATE INDEX identity_issuers_tenant_id_created_at_idx"
        " ON identity_issuers (tenant_id, created_at, issuer_id)"
    )
    op.execute("CREATE INDEX identity_issuers_issuer_idx ON identity_issuers (issuer)")
    secure("identity_issuers", BY_ID)


def downgrade() -> None:
    for table in (
        "identity_issuers",
        "oauth_revocations",
        "oauth_assertions",
        "oauth_client_secrets",
        "oauth_clients",
        "oauth_signing_keys",
    ):
        op.execute(f"DROP TABLE {table}")
