"""Members, their sessions and one-time links; what proves the audit log: signing keys, signed heads, checks."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE members (
            member_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            issuer text NOT NULL,
            subject text NOT NULL,
            email text,
            name text,
            role text NOT NULL,
            state text NOT NULL CONSTRAINT members_state_check CHECK (state IN ('active', 'suspended')),
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            last_sign_in_at timestamptz,
            UNIQUE (tenant_id, issuer, subject)
        )""")
    op.execute("CREATE INDEX members_tenant_id_created_at_idx ON members (tenant_id, created_at, member_id)")
    secure("members", BY_ID)
    op.execute("""
        CREATE TABLE sign_in_links (
            link_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            digest bytea NOT NULL UNIQUE,
            role text NOT NULL,
            created_by text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL
        )""")
    secure("sign_in_links", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE sessions (
            session_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            digest bytea NOT NULL UNIQUE,
            member_id uuid REFERENCES members ON DELETE CASCADE,
            key_id uuid REFERENCES api_keys ON DELETE CASCADE,
            link_id uuid,
            role text NOT NULL,
            scopes text[] NOT NULL,
            issuer_id uuid,
            sid text,
            sub text,
            created_at timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            ip text,
            user_agent text,
            CONSTRAINT sessions_holder_check CHECK (num_nonnulls(member_id, key_id, link_id) = 1)
        )""")
    op.execute(
        "CREATE INDEX sessions_tenant_id_created_at_idx ON sessions (tenant_id, created_at, session_id)"
    )
    secure("sessions", BY_ID)
    op.execute("""
        CREATE TABLE audit_signing_keys (
            key_id text PRIMARY KEY,
            public_key bytea NOT NULL,
            sealed bytea NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    secure("audit_signing_keys", None)
    op.execute("""
        CREATE TABLE audit_signed_heads (
            tenant_id uuid NOT NULL REFERENCES tenants,
            seq bigint NOT NULL,
            hash bytea NOT NULL,
            signed_at timestamptz NOT NULL,
            key_id text NOT NULL REFERENCES audit_signing_keys,
            signature bytea NOT NULL,
            PRIMARY KEY (tenant_id, seq)
        )""")
    secure("audit_signed_heads", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE audit_checks (
            tenant_id uuid PRIMARY KEY REFERENCES tenants,
            checked_at timestamptz NOT NULL,
            last_seq bigint NOT NULL,
            broken_seq bigint,
            fault text
        )""")
    secure("audit_checks", BY_ID, tenant="SELECT")
    if not op.get_context().opts.get("single_role"):
        op.execute("REVOKE UPDATE, DELETE ON audit_signed_heads FROM guardhouse_system")
        op.execute("REVOKE DELETE ON audit_signing_keys FROM guardhouse_system")


def downgrade() -> None:
    for table in (
        "audit_checks",
        "audit_signed_heads",
        "audit_signing_keys",
        "sessions",
        "sign_in_links",
        "members",
    ):
        op.execute(f"DROP TABLE {table}")
