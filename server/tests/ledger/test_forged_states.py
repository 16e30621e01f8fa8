"""States that no program may make: each attempt as the application's own role is refused by PostgreSQL itself."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity.store import Tenant
from server.tests.components.postgres import Clone
from server.tests.identity import make as identity
from server.tests.ledger.make import CENT, CLOSE, ended, funded, held

FOREIGN_KEY, CHECK, UNIQUE, NO_RIGHT, OTHER_TENANT = "23503", "23514", "23505", "42501", "GH403"
RESOLVE = (
    "INSERT INTO ledger_resolutions (run_id, tenant_id, run_open, hold_amount, outcome, posted, released, reason,"
    " resolved_at) VALUES"
)
CLOSE_FREE = (
    "UPDATE runs SET status = 'FAILED', money_state = 'REFUNDED', charged = 0, resolved_run_id = run_id"
)
REOPEN = "UPDATE runs SET status = 'QUEUED', money_state = 'RESERVED', charged = NULL, resolved_run_id = NULL"


@dataclass(frozen=True, slots=True)
class Scene:
    """A tenant with an open run, a completed one and a failed one, and a stranger with an open run."""

    resources: Resources
    tenant: Tenant
    open: UUID
    completed: UUID
    failed: UUID
    other: Tenant
    foreign: UUID

    def told(self, statement: str) -> str:
        """Put the ids where the statement names them."""
        for name in ("open", "completed", "failed", "foreign"):
            statement = statement.replace(f"<{name}>", f"'{getattr(self, name)}'::uuid")
        return (
            statement.replace("<tenant>", f"'{self.tenant.id}'::uuid")
            .replace("<other>", f"'{self.other.id}'::uuid")
            .replace("<new>", f"'{new_id()}'::uuid")
        )


@pytest_asyncio.fixture
async def scene(resources: Resources) -> Scene:
    tenant = await identity.tenant(resources)
    other = await identity.tenant(resources, "other")
    for one in (tenant, other):
        await funded(resources, one, 100 * CENT)
    completed, failed = [await held(resources, tenant, 10 * CENT) for _ in range(2)]
    await ended(resources, tenant, completed, 10 * CENT, posted=2 * CENT)
    await ended(resources, tenant, failed, 10 * CENT, posted=0)
    opened = await held(resources, tenant, 10 * CENT)
    foreign = await held(resources, other, 10 * CENT)
    return Scene(resources, tenant, opened, completed, failed, other, foreign)


@pytest_asyncio.fixture
async def application(database: Clone, scene: Scene) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection as the application has it inside a transaction of its tenant."""
    connection = await asyncpg.connect(database.database_url.replace("+asyncpg", ""))
    await connection.execute(
        "SELECT set_config('role', 'guardhouse_tenant', false),"
        f" set_config('guardhouse.tenant', '{scene.tenant.id}', false)"
    )
    yield connection
    await connection.close()


ATTEMPTS = [
    ("a second hold", "INSERT INTO ledger_holds VALUES (<open>, <tenant>, 10000, now())", UNIQUE),
    (
        "a second resolution",
        f"{RESOLVE} (<completed>, <tenant>, false, 100000, 'voided', 0, 100000, 'x', now())",
        UNIQUE,
    ),
    (
        "a resolution of an open run",
        f"{RESOLVE} (<open>, <tenant>, false, 100000, 'voided', 0, 100000, 'x', now())",
        FOREIGN_KEY,
    ),
    (
        "a resolution that says the run is open",
        f"{RESOLVE} (<open>, <tenant>, true, 100000, 'voided', 0, 100000, 'x', now())",
        CHECK,
    ),
    (
        "a remainder that is lost",
        f"{RESOLVE} (<open>, <tenant>, false, 100000, 'posted', 20000, 70000, 'x', now())",
        CHECK,
    ),
    (
        "more than was held",
        f"{RESOLVE} (<open>, <tenant>, false, 200000, 'posted', 150000, 50000, 'x', now())",
        FOREIGN_KEY,
    ),
    (
        "a charge that is called void",
        f"{RESOLVE} (<open>, <tenant>, false, 100000, 'voided', 20000, 80000, 'x', now())",
        CHECK,
    ),
    (
        "a run that ends without a resolution",
        f"{CLOSE_FREE} WHERE run_id = <open>",
        FOREIGN_KEY,
    ),
    (
        "a run that ends with charged NULL",
        "UPDATE runs SET status = 'FAILED', money_state = 'REFUNDED', resolved_run_id = run_id WHERE run_id = <open>",
        CHECK,
    ),
    (
        "a run that ends unresolved",
        "UPDATE runs SET status = 'FAILED', money_state = 'REFUNDED' WHERE run_id = <open>",
        CHECK,
    ),
    (
        "another charge than was posted",
        "UPDATE runs SET charged = 10000 WHERE run_id = <completed>",
        FOREIGN_KEY,
    ),
    (
        "completed without a result",
        "UPDATE runs SET result_objects = NULL WHERE run_id = <completed>",
        CHECK,
    ),
    ("completed free of charge", "UPDATE runs SET status = 'COMPLETED' WHERE run_id = <failed>", CHECK),
    (
        "a run opened again",
        f"{REOPEN} WHERE run_id = <failed>",
        FOREIGN_KEY,
    ),
    ("work without a lease", "UPDATE runs SET status = 'PROCESSING' WHERE run_id = <open>", CHECK),
    (
        "a claim without what it costs",
        "UPDATE runs SET finalize_stage = 'CLAIMED', finalize_token = run_id WHERE run_id = <open>",
        CHECK,
    ),
    ("a run settled while open", "UPDATE runs SET money_state = 'SETTLED' WHERE run_id = <open>", CHECK),
    (
        "the resolution of another run",
        "UPDATE runs SET resolved_run_id = <completed> WHERE run_id = <failed>",
        CHECK,
    ),
    (
        "more refunded than charged",
        "UPDATE runs SET refunded_micros = 20100 WHERE run_id = <completed>",
        CHECK,
    ),
    (
        "a hold of no run",
        "INSERT INTO ledger_holds VALUES (<new>, <tenant>, 10000, now())",
        OTHER_TENANT,
    ),
    (
        "a resolution of a foreign run",
        f"{RESOLVE} (<foreign>, <tenant>, false, 100000, 'voided', 0, 100000, 'x', now())",
        OTHER_TENANT,
    ),
    (
        "a deposit for another tenant",
        "INSERT INTO ledger_deposits VALUES (<new>, <other>, 'grant', 'p', 'r', 100, '', '', '', now())",
        NO_RIGHT,
    ),
    ("a hold below the least", "INSERT INTO ledger_holds VALUES (<open>, <tenant>, 4900, now())", CHECK),
    ("a balance by hand", "UPDATE ledger_balances SET available = 1", NO_RIGHT),
    (
        "a transfer by hand",
        "INSERT INTO ledger_transfers VALUES (<tenant>, 99, 'grant', 'funding', 'available', 100, NULL, NULL, now())",
        NO_RIGHT,
    ),
    (
        "a call of the poster",
        "SELECT ledger_post(<tenant>, '{grant}', '{100}', '{NULL}', '{NULL}')",
        NO_RIGHT,
    ),
    ("another tenant's balance", "SELECT ledger_lock(<other>)", OTHER_TENANT),
    ("a change of what was held", "UPDATE ledger_holds SET amount = 5000", NO_RIGHT),
    ("a hold taken away", "DELETE FROM ledger_holds", NO_RIGHT),
    ("a run taken away", "DELETE FROM runs", NO_RIGHT),
]


@pytest.mark.parametrize(
    ("statement", "state"), [one[1:] for one in ATTEMPTS], ids=[one[0] for one in ATTEMPTS]
)
async def test_a_forged_state_is_refused(
    application: "asyncpg.Connection[asyncpg.Record]", scene: Scene, statement: str, state: str
) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        await application.execute(scene.told(statement))
    assert refused.value.sqlstate == state, refused.value


async def test_the_rows_of_others_are_not_seen(
    application: "asyncpg.Connection[asyncpg.Record]", scene: Scene
) -> None:
    assert await application.fetchval("SELECT count(*) FROM runs WHERE tenant_id <> $1", scene.tenant.id) == 0
    assert await application.execute(CLOSE, scene.foreign, "FAILED", "REFUNDED", 0) == "UPDATE 0"
    await application.execute("SELECT set_config('guardhouse.tenant', '', false)")
    assert await application.fetchval("SELECT count(*) FROM ledger_holds") == 0


@pytest.mark.parametrize(
    "table",
    [
        "ledger_transfers",
        "ledger_blocks",
        "ledger_holds",
        "ledger_resolutions",
        "ledger_deposits",
        "ledger_refunds",
    ],
)
@pytest.mark.usefixtures("scene")
async def test_the_owner_changes_nothing_either(owner_url: str, table: str) -> None:
    owner = await asyncpg.connect(owner_url.replace("+asyncpg", ""))
    try:
        column = (
            "run_id" if table in {"ledger_holds", "ledger_resolutions", "ledger_refunds"} else "tenant_id"
        )
        for change in (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            if not await owner.fetchval(f"SELECT EXISTS (SELECT FROM {table})") and "TRUNCATE" not in change:
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(change)
    finally:
        await owner.close()
