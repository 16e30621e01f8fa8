"""The audit log: one hash chain per tenant, appended by a trigger, changed by nobody."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# The bytes that are hashed: the previous hash, then every member as its length, a colon and its UTF-8 text ("-" for
# none), so that no two entries have the same bytes. Times are microseconds since 1970, JSON is PostgreSQL's own text.
MEMBERS = (
    "entry.tenant_id::text", "entry.seq::text", "(extract(epoch FROM entry.at) * 1000000)::bigint::text", "entry.actor",
    "entry.credential", "entry.action", "entry.target", "text_before", "text_after", "entry.reason", "entry.ip",
    "entry.user_agent", "entry.correlation_id",
)  # fmt: skip
BYTES = " || ',' || ".join(f"coalesce(octet_length({m}) || ':' || {m}, '-')" for m in MEMBERS)
# One plain expression: PL/pgSQL keeps it prepared, which a query with an aggregate is not.
HASH = f"""
CREATE FUNCTION guardhouse_audit_hash(prev bytea, entry audit_log) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
DECLARE
  text_before text := entry.before::text;
  text_after text := entry.after::text;
BEGIN
  RETURN sha256(prev || convert_to({BYTES}, 'UTF8'));
END $$
"""
CHAIN = """
CREATE FUNCTION guardhouse_audit_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  SELECT seq + 1, hash INTO NEW.seq, NEW.prev_hash FROM audit_heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO audit_heads (tenant_id, seq, hash) VALUES (NEW.tenant_id, 0, '') ON CONFLICT DO NOTHING;
    SELECT seq + 1, hash INTO NEW.seq, NEW.prev_hash FROM audit_heads WHERE tenant_id = NEW.tenant_id FOR UPDATE;
  END IF;
  NEW.at := clock_timestamp();
  NEW.hash := guardhouse_audit_hash(NEW.prev_hash, NEW);
  UPDATE audit_heads SET seq = NEW.seq, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
  RETURN NEW;
END $$
"""
REFUSE = """
CREATE FUNCTION guardhouse_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""


def upgrade() -> None:
    op.execute("""
        CREATE TABLE audit_heads (
            tenant_id uuid PRIMARY KEY REFERENCES tenants,
            seq bigint NOT NULL,
            hash bytea NOT NULL
        )""")
    secure("audit_heads", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE audit_log (
            tenant_id uuid NOT NULL REFERENCES tenants,
            seq bigint NOT NULL,
            at timestamptz NOT NULL,
            actor text NOT NULL,
            credential text,
            action text NOT NULL,
            target text NOT NULL,
            before jsonb,
            after jsonb,
            reason text,
            ip text,
            user_agent text,
            correlation_id text NOT NULL,
            prev_hash bytea NOT NULL,
            hash bytea NOT NULL,
            PRIMARY KEY (tenant_id, seq)
        )""")
    op.execute("CREATE INDEX audit_log_tenant_id_at_idx ON audit_log (tenant_id, at, seq)")
    secure("audit_log", BY_ID, tenant="SELECT, INSERT")
    if not op.get_context().opts.get("single_role"):
        for table in ("audit_log", "audit_heads"):
            op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM guardhouse_system")
        op.execute("REVOKE INSERT ON audit_heads FROM guardhouse_system")
    for statement in (HASH, CHAIN, REFUSE):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION guardhouse_audit_chain() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER audit_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION guardhouse_audit_chain()"
    )
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_log"
        " FOR EACH ROW EXECUTE FUNCTION guardhouse_audit_refuse()"
    )
    op.execute(
        "CREATE TRIGGER audit_never_truncated BEFORE TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION guardhouse_audit_refuse()"
    )


def downgrade() -> None:
    op.execute("DROP TABLE audit_log CASCADE")
    op.execute("DROP TABLE audit_heads")
    op.execute("DROP FUNCTION IF EXISTS guardhouse_audit_hash(bytea, audit_log)")
    op.execute("DROP FUNCTION guardhouse_audit_chain()")
    op.execute("DROP FUNCTION guardhouse_audit_refuse()")
