"""Keys with limits, address rules, rotation and exposure; test twins of tenants; invitations and registrations."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A tenant sees and makes its own twin; the twin does not see the tenant it belongs to.
TWIN = "twin_of = nullif(current_setting('guardhouse.tenant', true), '')::uuid AND env = 'test'"
ADDED = {
    "version": "integer NOT NULL DEFAULT 1",
    "rate_limit_per_minute": "integer",
    "rate_limit_per_day": "integer",
    "ip_allow": "text[] NOT NULL DEFAULT '{}'",
    "rotates_until": "timestamptz",
    "replaced_by": "uuid",
    "last_used_ip": "text",
    "exposed_at": "timestamptz",
    "expiry_told": "boolean NOT NULL DEFAULT false",
}
# Keys for tests acted in the tenant itself before: they move to its twin, out of any project.
TWINS = """
INSERT INTO tenants (tenant_id, slug, name, state, env, settings, created_at, twin_of)
SELECT gen_random_uuid(), slug || '.test', name || ' (test)', state, 'test', settings, now(), tenant_id FROM tenants t
WHERE env = 'live' AND EXISTS (SELECT FROM api_keys k WHERE k.tenant_id = t.tenant_id AND k.env = 'test')
ON CONFLICT DO NOTHING
"""
MOVED = """
UPDATE api_keys k SET tenant_id = t.tenant_id, project_id = NULL FROM tenants t
WHERE k.env = 'test' AND t.twin_of = k.tenant_id
"""
# A key bound to what is no project of its tenant could do nothing; unbound it must not do more.
ESTRANGED = """
UPDATE api_keys k SET project_id = NULL, state = 'revoked' WHERE k.project_id IS NOT NULL AND NOT EXISTS
  (SELECT FROM projects p WHERE p.tenant_id = k.tenant_id AND p.project_id = k.project_id)
"""


def upgrade() -> None:
    _twins()
    added = ", ".join(f"ADD COLUMN {name} {kind}" for name, kind in ADDED.items())
    op.execute(f"ALTER TABLE api_keys {added}")
    for name in ("version", "ip_allow", "expiry_told"):
        op.execute(f"ALTER TABLE api_keys ALTER COLUMN {name} DROP DEFAULT")
    op.execute(TWINS)
    op.execute(MOVED)
    op.execute(
        "ALTER TABLE projects ADD CONSTRAINT projects_tenant_id_project_id_key UNIQUE (tenant_id, project_id)"
    )
    op.execute(ESTRANGED)
    op.execute(
        "ALTER TABLE api_keys ADD CONSTRAINT api_keys_tenant_id_project_id_fkey"
        " FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, project_id)"
    )
    op.execute(
        "CREATE INDEX api_keys_expires_at_idx ON api_keys (expires_at)"
        " WHERE expires_at IS NOT NULL AND NOT expiry_told"
    )
    _invites()


def _twins() -> None:
    op.execute("ALTER TABLE tenants ADD COLUMN twin_of uuid UNIQUE REFERENCES tenants")
    op.execute(
        "UPDATE tenants t SET twin_of = live.tenant_id FROM tenants live"
        " WHERE t.env = 'test' AND t.slug = live.slug || '.test'"
    )
    op.execute(
        "ALTER TABLE tenants ADD CONSTRAINT tenants_twin_check CHECK (twin_of IS NULL OR env = 'test')"
    )
    if not op.get_context().opts.get("single_role"):
        op.execute(f"CREATE POLICY twin ON tenants TO guardhouse_tenant USING ({TWIN}) WITH CHECK ({TWIN})")
        op.execute("GRANT INSERT ON tenants TO guardhouse_tenant")


def _invites() -> None:
    op.execute("""
        CREATE TABLE invites (
            invite_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            digest bytea NOT NULL UNIQUE,
            note text,
            role text NOT NULL,
            scopes text[] NOT NULL,
            uses integer NOT NULL,
            max_uses integer NOT NULL,
            expires_at timestamptz NOT NULL,
            revoked_at timestamptz,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            CONSTRAINT invites_uses_check CHECK (uses BETWEEN 0 AND max_uses)
        )""")
    op.execute("CREATE INDEX invites_tenant_id_created_at_idx ON invites (tenant_id, created_at, invite_id)")
    secure("invites", BY_ID)
    op.execute("""
        CREATE TABLE registrations (
            registration_id uuid PRIMARY KEY,
            address text NOT NULL,
            at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX registrations_address_at_idx ON registrations (address, at)")
    secure("registrations", None)


def downgrade() -> None:
    op.execute("DROP TABLE registrations")
    op.execute("DROP TABLE invites")
    op.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_tenant_id_project_id_fkey")
    op.execute("ALTER TABLE projects DROP CONSTRAINT projects_tenant_id_project_id_key")
    op.execute("ALTER TABLE api_keys " + ", ".join(f"DROP COLUMN {name}" for name in ADDED))
    if not op.get_context().opts.get("single_role"):
        op.execute("REVOKE INSERT ON tenants FROM guardhouse_tenant")
        op.execute("DROP POLICY twin ON tenants")
    op.execute("ALTER TABLE tenants DROP COLUMN twin_of CASCADE")
