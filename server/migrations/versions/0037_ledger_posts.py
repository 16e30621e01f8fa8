"""Who moves money: the application inserts holds, resolutions, deposits and refunds; triggers post the transfers.

Nobody else may: not the application's roles, and by the refusing triggers not the owner either.
"""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

APPENDED = ("ledger_transfers", "ledger_blocks", "ledger_holds", "ledger_resolutions", "ledger_deposits",
            "ledger_refunds")  # fmt: skip
POSTED = ("ledger_balances", "ledger_transfers", "ledger_blocks")

# What moves from where to where: first account debited, second credited.
KINDS = {
    "top_up": ("funding", "available"),
    "grant": ("funding", "available"),
    "hold": ("available", "held"),
    "post": ("held", "revenue"),
    "release": ("held", "available"),
    "expire": ("held", "available"),
    "refund": ("revenue", "available"),
    "withdraw": ("available", "funding"),
    "forfeit": ("available", "writeoff"),
}


def upgrade() -> None:
    for statement in (_POST, _LOCK, _ON_HOLD, _ON_RESOLUTION, _ON_DEPOSIT, _ON_REFUND, _REFUSE):
        op.execute(statement)
    for table in ("holds", "resolutions", "deposits", "refunds"):
        op.execute(
            f"CREATE TRIGGER ledger_{table}_post AFTER INSERT ON ledger_{table} REFERENCING NEW TABLE AS made"
            f" FOR EACH STATEMENT EXECUTE FUNCTION ledger_on_{table.removesuffix('s')}()"
        )
    for table in APPENDED:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION ledger_refuse()"
        )
    for table in (*APPENDED, "ledger_balances"):
        op.execute(
            f"CREATE TRIGGER {table}_never_truncated BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()"
        )
    op.execute(
        "CREATE TRIGGER ledger_balances_kept BEFORE DELETE ON ledger_balances"
        " FOR EACH ROW EXECUTE FUNCTION ledger_refuse()"
    )
    _privileges()


_DEBIT = " ".join(
    ["CASE kind", *(f"WHEN '{kind}' THEN '{debit}'" for kind, (debit, _) in KINDS.items()), "END"]
)
_CREDIT = " ".join(
    ["CASE kind", *(f"WHEN '{kind}' THEN '{credit}'" for kind, (_, credit) in KINDS.items()), "END"]
)


def _moved(account: str) -> str:
    """Return the signed sum of what comes into an account."""
    given = ", ".join(f"'{kind}'" for kind, (_, credit) in KINDS.items() if credit == account)
    taken = ", ".join(f"'{kind}'" for kind, (debit, _) in KINDS.items() if debit == account)
    into = f" WHEN kind IN ({given}) THEN amount" if given else ""
    out = f" WHEN kind IN ({taken}) THEN -amount" if taken else ""
    return f"sum(CASE{into}{out} ELSE 0 END)"


# Funding is money from outside: it is debited by what comes in, and its balance says how much that was.
_OUTSIDE = f"-({_moved('funding')})"
# One call is one block: it locks the balance, numbers the transfers without a gap, and chains their text.
_POST = f"""
CREATE FUNCTION ledger_post(the_tenant uuid, kinds text[], amounts bigint[], of_runs uuid[], refs text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  was ledger_balances;
  d_funding bigint := 0; d_available bigint := 0; d_held bigint := 0; d_revenue bigint := 0; d_writeoff bigint := 0;
  n integer := cardinality(kinds);
  said text;
  new_head bytea;
  at timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO was FROM ledger_balances WHERE tenant_id = the_tenant FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO ledger_balances VALUES (the_tenant, 0, 0, 0, 0, 0, 0, 0, '') ON CONFLICT DO NOTHING;
    SELECT * INTO was FROM ledger_balances WHERE tenant_id = the_tenant FOR UPDATE;
  END IF;
  SELECT {_OUTSIDE}, {_moved("available")}, {_moved("held")},
         {_moved("revenue")}, {_moved("writeoff")},
         string_agg(concat_ws(':', was.seq + no, kind, amount, coalesce(run::text, '-'),
                              coalesce(octet_length(ref) || ':' || ref, '-')), E'\\n' ORDER BY no)
    INTO d_funding, d_available, d_held, d_revenue, d_writeoff, said
    FROM unnest(kinds, amounts, of_runs, refs) WITH ORDINALITY AS asked(kind, amount, run, ref, no);
  IF was.available + d_available < 0 THEN
    RAISE EXCEPTION 'insufficient funds' USING ERRCODE = 'GH402',
      DETAIL = format('{{"available": %s, "required": %s}}', was.available, -d_available);
  END IF;
  new_head := sha256(was.head || convert_to(concat_ws(E'\\n', the_tenant, was.block + 1, said), 'UTF8'));
  INSERT INTO ledger_transfers (tenant_id, seq, kind, debit, credit, amount, run_id, ref, created_at)
    SELECT the_tenant, was.seq + no, kind, {_DEBIT}, {_CREDIT}, amount, run, ref, at
    FROM unnest(kinds, amounts, of_runs, refs) WITH ORDINALITY AS asked(kind, amount, run, ref, no);
  INSERT INTO ledger_blocks (tenant_id, block, first_seq, last_seq, prev_hash, hash)
    VALUES (the_tenant, was.block + 1, was.seq + 1, was.seq + n, was.head, new_head);
  UPDATE ledger_balances SET funding = funding + d_funding, available = available + d_available,
      held = held + d_held, revenue = revenue + d_revenue, writeoff = writeoff + d_writeoff,
      seq = seq + n, block = was.block + 1, head = new_head
    WHERE tenant_id = the_tenant;
END $$
"""  # noqa: S608 - constants of this file
# A submit locks the balance before it makes anything: the roles of the application may not, and need not, update it.
_LOCK = """
CREATE FUNCTION ledger_lock(the_tenant uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  asking uuid := nullif(current_setting('guardhouse.tenant', true), '')::uuid;
  found bigint;
BEGIN
  IF asking <> the_tenant THEN
    RAISE EXCEPTION 'the balance belongs to another tenant' USING ERRCODE = 'GH403';
  END IF;
  SELECT available INTO found FROM ledger_balances WHERE tenant_id = the_tenant FOR UPDATE;
  RETURN coalesce(found, 0);
END $$
"""
_FOREIGN = """
  IF EXISTS (SELECT FROM made LEFT JOIN runs USING (run_id) WHERE runs.tenant_id IS DISTINCT FROM made.tenant_id) THEN
    RAISE EXCEPTION 'the run belongs to another tenant, or is none' USING ERRCODE = 'GH403';
  END IF;"""
_EACH_TENANT = "FOR the_tenant IN SELECT DISTINCT tenant_id FROM made ORDER BY 1 LOOP"
_TRIGGER = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$"
_ON_HOLD = f"""
CREATE FUNCTION ledger_on_hold() {_TRIGGER}
DECLARE the_tenant uuid;
BEGIN {_FOREIGN}
  {_EACH_TENANT}
    PERFORM ledger_post(the_tenant, array_agg('hold'::text), array_agg(amount ORDER BY run_id),
                        array_agg(run_id ORDER BY run_id), array_agg(NULL::text))
      FROM made WHERE tenant_id = the_tenant;
  END LOOP;
  RETURN NULL;
END $$
"""
_ON_RESOLUTION = f"""
CREATE FUNCTION ledger_on_resolution() {_TRIGGER}
DECLARE the_tenant uuid;
BEGIN {_FOREIGN}
  {_EACH_TENANT}
    PERFORM ledger_post(the_tenant, array_agg(kind ORDER BY run_id, kind), array_agg(amount ORDER BY run_id, kind),
                        array_agg(run_id ORDER BY run_id, kind), array_agg(reason ORDER BY run_id, kind))
      FROM (
        SELECT 'post' AS kind, posted AS amount, run_id, reason FROM made WHERE tenant_id = the_tenant AND posted > 0
        UNION ALL
        SELECT CASE outcome WHEN 'expired' THEN 'expire' ELSE 'release' END, released, run_id, reason
        FROM made WHERE tenant_id = the_tenant AND released > 0
      ) AS moved;
  END LOOP;
  INSERT INTO run_usage_daily AS kept
    SELECT tenant_id, (created_at AT TIME ZONE 'UTC')::date, pack_type, price_version, count(*),
           count(*) FILTER (WHERE status = 'COMPLETED'), count(*) FILTER (WHERE status = 'FAILED'),
           count(*) FILTER (WHERE status = 'CANCELLED'), sum(posted), sum(hold_amount)
    FROM made JOIN runs USING (run_id, tenant_id) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, usage_date, pack_type, price_version) DO UPDATE SET
      runs_count = kept.runs_count + EXCLUDED.runs_count, success_count = kept.success_count + EXCLUDED.success_count,
      fail_count = kept.fail_count + EXCLUDED.fail_count,
      cancelled_count = kept.cancelled_count + EXCLUDED.cancelled_count,
      cost_micros = kept.cost_micros + EXCLUDED.cost_micros,
      reserved_micros = kept.reserved_micros + EXCLUDED.reserved_micros;
  RETURN NULL;
END $$
"""  # noqa: S608 - constants of this file
_ON_DEPOSIT = f"""
CREATE FUNCTION ledger_on_deposit() {_TRIGGER}
DECLARE the_tenant uuid;
BEGIN
  {_EACH_TENANT}
    PERFORM ledger_post(the_tenant, array_agg(kind ORDER BY deposit_id), array_agg(amount ORDER BY deposit_id),
                        array_agg(NULL::uuid), array_agg(provider || '/' || payment_ref ORDER BY deposit_id))
      FROM made WHERE tenant_id = the_tenant;
  END LOOP;
  RETURN NULL;
END $$
"""
# The run's row is locked first, so two refunds of one run cannot both fit; the sum is then counted, not remembered.
_ON_REFUND = f"""
CREATE FUNCTION ledger_on_refund() {_TRIGGER}
DECLARE the_tenant uuid;
BEGIN {_FOREIGN}
  PERFORM FROM runs WHERE run_id IN (SELECT run_id FROM made) ORDER BY run_id FOR UPDATE;
  IF EXISTS (
    SELECT FROM (SELECT DISTINCT run_id FROM made) AS touched
    LEFT JOIN ledger_resolutions AS resolved USING (run_id)
    WHERE coalesce(resolved.posted, 0) <
          (SELECT sum(amount) FROM ledger_refunds WHERE ledger_refunds.run_id = touched.run_id)
  ) THEN
    RAISE EXCEPTION 'refunds exceed the charge' USING ERRCODE = 'GH409';
  END IF;
  {_EACH_TENANT}
    PERFORM ledger_post(the_tenant, array_agg('refund'::text), array_agg(amount ORDER BY refund_id),
                        array_agg(run_id ORDER BY refund_id), array_agg(refund_id::text ORDER BY refund_id))
      FROM made WHERE tenant_id = the_tenant;
  END LOOP;
  RETURN NULL;
END $$
"""  # noqa: S608 - constants of this file
_REFUSE = """
CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""


def _privileges() -> None:
    op.execute("REVOKE ALL ON FUNCTION ledger_post(uuid, text[], bigint[], uuid[], text[]) FROM PUBLIC")
    for name in ("hold", "resolution", "deposit", "refund"):
        op.execute(f"REVOKE ALL ON FUNCTION ledger_on_{name}() FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION ledger_lock(uuid) FROM PUBLIC")
    if op.get_context().opts.get("single_role"):
        return
    op.execute("GRANT EXECUTE ON FUNCTION ledger_lock(uuid) TO guardhouse_tenant, guardhouse_system")
    for table in APPENDED:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM guardhouse_system")
    for table in (*POSTED, "run_usage_daily"):
        op.execute(f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM guardhouse_system")
    op.execute("REVOKE DELETE ON runs FROM guardhouse_system")


def downgrade() -> None:
    for table in ("holds", "resolutions", "deposits", "refunds"):
        op.execute(f"DROP TRIGGER ledger_{table}_post ON ledger_{table}")
    for table in APPENDED:
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    for table in (*APPENDED, "ledger_balances"):
        op.execute(f"DROP TRIGGER {table}_never_truncated ON {table}")
    op.execute("DROP TRIGGER ledger_balances_kept ON ledger_balances")
    for name in ("hold", "resolution", "deposit", "refund"):
        op.execute(f"DROP FUNCTION ledger_on_{name}()")
    op.execute("DROP FUNCTION ledger_lock(uuid)")
    op.execute("DROP FUNCTION ledger_post(uuid, text[], bigint[], uuid[], text[])")
    op.execute("DROP FUNCTION ledger_refuse()")
