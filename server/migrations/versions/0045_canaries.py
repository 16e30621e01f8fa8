"""Canaries and protected texts: keyed digests of what must not turn up in an answer."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE canaries (
            tenant_id uuid NOT NULL REFERENCES tenants,
            canary_id uuid NOT NULL,
            label text NOT NULL,
            digest bytea NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            expires_at timestamptz,
            PRIMARY KEY (tenant_id, canary_id),
            UNIQUE (tenant_id, digest)
        )""")
    secure("canaries", BY_ID)
    op.execute("""
        CREATE TABLE protected_texts (
            tenant_id uuid NOT NULL REFERENCES tenants,
            protected_text_id uuid NOT NULL,
            label text NOT NULL,
            shingles bytea NOT NULL,
            shingle_count integer NOT NULL,
            pepper text NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            PRIMARY KEY (tenant_id, protected_text_id)
        )""")
    secure("protected_texts", BY_ID)


def downgrade() -> None:
    op.execute("DROP TABLE protected_texts")
    op.execute("DROP TABLE canaries")
