"""Day partitions: made and dropped by functions of the owner, because the service owns no table."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CREATE_DAY = """
CREATE FUNCTION guardhouse_create_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE child text := format('%s_p%s', parent, to_char(day, 'YYYYMMDD'));
BEGIN
  IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = parent::regclass) THEN
    RAISE EXCEPTION '% is not partitioned', parent;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('guardhouse_days'));  -- one maker at a time; the others then find it made
  PERFORM pg_advisory_xact_lock(hashtextextended('guardhouse day ' || child, 0));  -- one maker at a time
  IF to_regclass(child) IS NOT NULL THEN
    RETURN false;
  END IF;
  PERFORM set_config('lock_timeout', '2s', true);
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE
                  INCLUDING COMPRESSION)', child, parent);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                 parent, child, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'guardhouse_tenant')
     AND (SELECT relrowsecurity FROM pg_class WHERE oid = parent::regclass) THEN
    EXECUTE format('GRANT INSERT ON %I TO guardhouse_system', child);
    IF has_table_privilege('guardhouse_tenant', parent, 'INSERT') THEN
      EXECUTE format('GRANT INSERT ON %I TO guardhouse_tenant', child);
    END IF;
  END IF;
  RETURN true;
END $$
"""

DROP_DAY = """
CREATE FUNCTION guardhouse_drop_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE child text := format('%s_p%s', parent, to_char(day, 'YYYYMMDD'));
BEGIN
  IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass AND inhrelid = to_regclass(child)) THEN
    RETURN false;
  END IF;
  PERFORM set_config('lock_timeout', '2s', true);
  EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
  EXECUTE format('DROP TABLE %I', child);
  RETURN true;
END $$
"""


def upgrade() -> None:
    op.execute(CREATE_DAY)
    op.execute(DROP_DAY)
    for function in ("guardhouse_create_day(text, date)", "guardhouse_drop_day(text, date)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        if not op.get_context().opts.get("single_role"):
            op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO guardhouse_system")

    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT SELECT ON alembic_version TO guardhouse_system")


def downgrade() -> None:
    op.execute("DROP FUNCTION guardhouse_drop_day(text, date)")
    op.execute("DROP FUNCTION guardhouse_create_day(text, date)")
