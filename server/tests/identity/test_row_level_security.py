"""The second wall, table by table: what the database's catalogue says, and what a session without the first wall sees.

A table is here as soon as a store declares it.
"""

import ast
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint

from guardhouse.foundation.database import TenantKey, metadata
from guardhouse.foundation.migrate import import_stores
from server.tests.components.postgres import Clone
from server.tests.components.two_tenants import TwoTenants, two_tenants

import_stores()
TABLES = sorted(metadata.tables)
PARTITIONED = sorted(
    name for name, table in metadata.tables.items() if table.dialect_options["postgresql"].get("partition_by")
)
COUNTED = "SELECT count(*) FROM done"
PACKAGE = Path(__file__).parents[2] / "src" / "guardhouse"
BY_ID = "nullif(current_setting('guardhouse.tenant', true), '')::uuid"
BY_NO = "nullif(current_setting('guardhouse.tenant_no', true), '')::bigint"
# A tenant sees and makes its test twin.
EXTRA_POLICIES = {("tenants", "twin")}
# Tables of nobody in particular that the tenant role may use all the same, and for what.
SHARED: dict[str, set[str]] = {}
# Indexes that the system reads across tenants; each is named with its reader.
SYSTEM_INDEXES = {
    "detection_inputs_at_idx",  # pruning
    "detections_short_lived_idx",  # detections.records.jobs, which forgets
    "agent_keys_agent_id_idx",  # signatures: the key that fits names the tenant
    "agent_nonces_expires_at_idx",  # pruning
    "api_keys_expires_at_idx",  # the notice that a key ends
    "channel_subjects_told_at_idx",  # pruning
    "channel_tallies_due_idx",  # summaries that are due
    "idempotency_keys_expires_at_idx",  # pruning
    "identity_issuers_issuer_idx",  # a bearer's issuer, before the tenant is known
    "ingest_batches_keep_until_idx",  # pruning
    "instances_due_at_idx",  # what time alone changes
    "event_minutes_late_idx",  # the worker that seals every tenant's minutes
    "event_minutes_open_idx",
    "ip_scores_due_at_idx",  # the worker that scores every tenant's addresses
    "jobs_dead_idx",  # workers serve every tenant
    "jobs_ready_idx",
    "jobs_running_idx",
    "jobs_waiting_idx",
    "rule_revisions_due_at_idx",  # revisions that time alone makes
    "runs_claimed_idx",  # the worker that ends every tenant's runs: unfinished claims, lost leases, retention
    "runs_lease_idx",
    "runs_resolved_idx",  # the key to the resolution
    "runs_retention_idx",
    "spent_token_ids_expires_at_idx",  # pruning
    "oauth_revocations_expires_at_idx",  # pruning
    "otlp_receipts_received_at_idx",  # pruning
    "quarantine_received_at_idx",  # pruning
    "stream_tickets_expires_at_idx",  # pruning
    "streams_waiting_idx",  # judging, by lane
    "telemetry_receipts_received_at_idx",  # pruning
    "stream_decisions_decided_at_idx",  # pruning
    "stream_seen_seen_at_idx",  # pruning
    "telemetry_seen_seen_at_idx",  # pruning
    "webhook_deliveries_due_idx",  # the dispatcher, by endpoint
    "webhook_deliveries_ordered_idx",  # the dispatcher, by endpoint and subject
    "webhook_endpoints_shard_idx",  # the dispatcher, by its share
}


def wall_of(table: str) -> str | None:
    """Return the column by which a table's rows belong to a tenant."""
    columns = metadata.tables[table].columns
    return next((name for name in ("tenant_id", "tenant_no") if name in columns), None)


WALLED = [table for table in TABLES if wall_of(table)]
# Columns whose values belong to one tenant each, since they are the key of a table of tenants' rows: `agent_no`, ...
OWNED = {"tenant_id", "tenant_no"} | {
    index.columns[0].name
    for table in WALLED
    for index in (*metadata.tables[table].indexes, *metadata.tables[table].constraints)
    if isinstance(index, (PrimaryKeyConstraint, UniqueConstraint)) and len(index.columns) == 1
}


@pytest_asyncio.fixture(scope="module")
async def both(postgres: Clone, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoTenants]:
    async with two_tenants(postgres, tmp_path_factory.mktemp("walls")) as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def login(both: TwoTenants) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Return a session of the login that serves, as the pool opens it: no role, no tenant."""
    connection = await asyncpg.connect(both.resources.database.driver_url)
    yield connection
    await connection.close()


async def rows_of(both: TwoTenants, sql: str, *values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in await both.database.fetch(sql, *values)]


async def privileges(both: TwoTenants, table: str, role: str) -> set[str]:
    names = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    found = {
        name: await both.database.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, name)
        for name in names
    }
    return {name for name, held in found.items() if held}


async def test_the_stores_declare_every_table_there_is(both: TwoTenants) -> None:
    found = await rows_of(
        both,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND relname <> 'alembic_version' ORDER BY 1",
    )
    assert [row["relname"] for row in found] == TABLES


@pytest.mark.parametrize("table", TABLES)
async def test_row_level_security_is_forced(both: TwoTenants, table: str) -> None:
    (row,) = await rows_of(
        both,
        "SELECT relrowsecurity AS on, relforcerowsecurity AS forced FROM pg_class WHERE oid = $1::text::regclass",
        table,
    )
    assert row == {"on": True, "forced": True}, f"call secure({table!r}, ...) in the migration"


@pytest.mark.parametrize("table", TABLES)
async def test_the_policies_are_the_three(both: TwoTenants, table: str) -> None:
    found = await rows_of(
        both,
        "SELECT polname, pg_get_expr(polqual, polrelid) AS seen, pg_get_expr(polwithcheck, polrelid) AS written,"
        " (SELECT array_agg(rolname::text) FROM pg_roles WHERE oid = ANY (polroles)) AS roles, polpermissive"
        " FROM pg_policy WHERE polrelid = $1::text::regclass",
        table,
    )
    policies = {row["polname"]: row for row in found if (table, row["polname"]) not in EXTRA_POLICIES}
    wall = wall_of(table)
    opened = await privileges(both, table, "guardhouse_tenant")
    for name in ("owner", "system"):
        assert (policies[name]["roles"], policies[name]["seen"]) == ([f"guardhouse_{name}"], "true")
    if wall is None or not opened:
        assert set(policies) == {"owner", "system"} or wall is not None, policies
        assert opened <= SHARED.get(table, set()), (
            f"{table} belongs to no tenant, yet the tenant role may {opened}: give it a tenant, or list it in SHARED"
        )
        return
    condition = f"({wall} = ({_shown(BY_ID if wall == 'tenant_id' else BY_NO)}))"
    policy = policies["tenant"]
    assert policy["roles"] == ["guardhouse_tenant"]
    assert _bare(policy["seen"]) == _bare(policy["written"]) == _bare(condition)
    assert set(policies) == {"owner", "system", "tenant"}


def _shown(expression: str) -> str:
    """Return an expression as PostgreSQL prints it."""
    inner, kind = expression.rsplit("::", 1)
    return (
        f"({inner.replace('nullif', 'NULLIF')})::{kind}".replace(", '')", ", ''::text)")
        .replace("'guardhouse.tenant'", "'guardhouse.tenant'::text")
        .replace("'guardhouse.tenant_no'", "'guardhouse.tenant_no'::text")
    )


def _bare(expression: str | None) -> str:
    return (expression or "").replace("(", "").replace(")", "").replace(" ", "")


@pytest.mark.parametrize("table", TABLES)
async def test_no_role_of_the_product_empties_or_owns_a_table(both: TwoTenants, table: str) -> None:
    for role in ("guardhouse_tenant", "guardhouse_system"):
        assert "TRUNCATE" not in await privileges(both, table, role)
    login = both.resources.database.url.split("//")[1].split(":")[0]
    assert await privileges(both, table, login) == set(), "the login itself, without a role, has no access"


@pytest.mark.parametrize("table", WALLED)
async def test_an_index_begins_with_the_tenant_or_is_unique_by_id(both: TwoTenants, table: str) -> None:
    found = await rows_of(
        both,
        "SELECT c.relname AS name, indisunique AS only, indisprimary AS main, array(SELECT attname::text"
        " FROM unnest(indkey[0:indnkeyatts - 1]) WITH ORDINALITY k (n, place) JOIN pg_attribute a"
        " ON a.attrelid = indrelid AND a.attnum = k.n ORDER BY place) AS columns"
        " FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = $1::text::regclass",
        table,
    )
    wrong = [
        f"{row['name']} ({', '.join(row['columns'])})"
        for row in found
        if not OWNED.intersection(row["columns"][:1])
        and not row["only"]
        and row["name"] not in SYSTEM_INDEXES
    ]
    assert not wrong, f"begin with the tenant, or list it in SYSTEM_INDEXES with its reader: {wrong}"


@pytest.mark.parametrize("table", PARTITIONED)
async def test_a_partition_is_not_read_or_changed_on_its_own(both: TwoTenants, table: str) -> None:
    day = date(2031, 5, 17)
    await both.database.execute("SELECT guardhouse_create_day($1, $2)", table, day)
    try:
        found = await rows_of(
            both,
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass",
            table,
        )
        assert found, f"{table} has no partition to look at"
        for row in found:
            for role in ("guardhouse_tenant", "guardhouse_system"):
                assert await privileges(both, row["name"], role) <= {"INSERT"}, row["name"]
    finally:  # other tests of this worker count the days
        await both.database.execute("SELECT guardhouse_drop_day($1, $2)", table, day)


@pytest.mark.parametrize("table", TABLES)
async def test_without_a_role_nothing_is_seen(
    login: "asyncpg.Connection[asyncpg.Record]", both: TwoTenants, table: str
) -> None:
    async with login.transaction():
        await login.execute(f"SET LOCAL guardhouse.tenant = '{both.first.tenant.id}'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"SELECT FROM {table}")


@pytest.mark.parametrize("table", WALLED)
async def test_a_session_of_the_second_tenant_meets_the_wall(
    login: "asyncpg.Connection[asyncpg.Record]", both: TwoTenants, table: str
) -> None:
    """Statements here name no tenant: what is left is the wall alone."""
    wall = wall_of(table)
    first = both.first.tenant
    condition = f"{wall} = " + (f"'{first.id}'" if wall == "tenant_id" else str(first.no))
    held = await privileges(both, table, "guardhouse_tenant")
    theirs = await both.database.fetchrow(
        f"SELECT to_jsonb(t)::text AS row FROM {table} t WHERE {condition} LIMIT 1"
    )
    for name, statement in {
        "SELECT": f"SELECT count(*) FROM {table} WHERE {condition}",
        "UPDATE": f"WITH done AS (UPDATE {table} SET {wall} = {wall} WHERE {condition} RETURNING 1) {COUNTED}",
        "DELETE": f"WITH done AS (DELETE FROM {table} WHERE {condition} RETURNING 1) {COUNTED}",
    }.items():
        if name in held and (name == "SELECT" or "SELECT" in held):
            async with Undone(login, both.second.tenant):
                assert await login.fetchval(statement) == 0, f"{name} reaches rows of another tenant"
    if theirs is not None and "INSERT" in held and table not in PARTITIONED:
        names = ", ".join(column.name for column in metadata.tables[table].columns if column.computed is None)
        copied = f"SELECT {names} FROM jsonb_populate_record(NULL::{table}, $1::jsonb)"
        insert = f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE {copied}"
        async with Undone(login, both.second.tenant):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await login.execute(insert, theirs["row"])


@pytest.mark.parametrize("table", WALLED)
@pytest.mark.parametrize("forged", ["", "0", "00000000-0000-0000-0000-000000000000", "*", "' OR true --"])
async def test_a_tenant_that_is_none_sees_nothing(
    login: "asyncpg.Connection[asyncpg.Record]", both: TwoTenants, table: str, forged: str
) -> None:
    if "SELECT" not in await privileges(both, table, "guardhouse_tenant"):
        return
    async with Undone(login, None):
        await login.execute("SELECT set_config('guardhouse.tenant', $1, true)", forged)
        await login.execute("SELECT set_config('guardhouse.tenant_no', $1, true)", forged)
        try:
            seen = await login.fetchval(f"SELECT count(*) FROM {table}")
        except asyncpg.DataError:
            return  # what is no id at all is refused
        assert seen == 0


class Undone:
    """A transaction of the tenant role that is rolled back; without a tenant, none is named."""

    def __init__(self, login: "asyncpg.Connection[asyncpg.Record]", tenant: TenantKey | None) -> None:
        self.login = login
        self.tenant = tenant
        self.transaction = login.transaction()

    async def __aenter__(self) -> None:
        await self.transaction.start()
        await self.login.execute("SET LOCAL ROLE guardhouse_tenant")
        if self.tenant is not None:
            await self.login.execute(f"SET LOCAL guardhouse.tenant = '{self.tenant.id}'")
            await self.login.execute(f"SET LOCAL guardhouse.tenant_no = '{self.tenant.no}'")

    async def __aexit__(self, *_: object) -> None:
        await self.transaction.rollback()


async def test_the_two_tenants_have_rows_to_hide(both: TwoTenants) -> None:
    await both.know_everything()
    filled = {name for name, (count, _) in (await both.rows()).items() if count and name in WALLED}
    assert filled >= {
        "api_keys",
        "host_agents",
        "process_events",
        "processes",
        "scores",
        "invites",
        "projects",
    }


async def test_a_telemetry_row_belongs_to_the_caller_whatever_it_says(both: TwoTenants) -> None:
    """COPY into a partition is not checked by the wall: the tenant's number comes from the caller alone."""
    before = await both.database.fetchval(
        "SELECT count(*) FROM process_events WHERE tenant_no = $1", both.first.tenant.no
    )
    event = {
        "pid": 7,
        "syscall": "read",
        "tenant_no": both.first.tenant.no,
        "tenant_id": str(both.first.tenant.id),
    }
    body = {
        "agent_id": "smuggler",
        "tenant_no": both.first.tenant.no,
        "tenant_id": str(both.first.tenant.id),
        "events": [event],
    }
    sent = await both.client.post(
        f"/api/v1/events?tenant_no={both.first.tenant.no}",
        content=json.dumps(body),
        headers=both.second.headers
        | {"content-type": "application/json", "guardhouse-family": "host", "idempotency-key": uuid4().hex}
        | {"x-tenant-id": str(both.first.tenant.id), "guardhouse-tenant": str(both.first.tenant.id)},
    )
    assert sent.status_code == 207, sent.text
    after = await both.database.fetchval(
        "SELECT count(*) FROM process_events WHERE tenant_no = $1", both.first.tenant.no
    )
    own = await both.database.fetchval(
        "SELECT count(*) FROM process_events WHERE tenant_no = $1", both.second.tenant.no
    )
    assert (after, own) == (before, 1)


def test_only_twins_are_entered_from_another_tenant() -> None:
    """``Tx.inside`` leaves one tenant's wall for another's: each place that may do so is known."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "inside"
    }
    assert users == {"identity/keys.py", "identity/reach.py"}
