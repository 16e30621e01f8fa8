"""Alembic's environment: one transaction, one advisory lock, tables owned by ``guardhouse_owner``."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from guardhouse.foundation import migrate
from guardhouse.foundation.database import metadata

ROLES = """
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['guardhouse_owner', 'guardhouse_tenant', 'guardhouse_system'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
      END;
    END IF;
    IF wanted <> current_user AND NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
      EXECUTE format('GRANT %I TO %I', wanted, current_user);
    END IF;
  END LOOP;
  IF current_user <> 'guardhouse_owner' THEN
    GRANT USAGE, CREATE ON SCHEMA public TO guardhouse_owner;
  END IF;
  GRANT USAGE ON SCHEMA public TO guardhouse_tenant, guardhouse_system;
END $$
"""


def _options() -> dict[str, Any]:
    return {
        "target_metadata": metadata,
        "include_object": migrate.include_object,
        "compare_server_default": False,
        "transaction_per_migration": False,
        "single_role": context.config.attributes.get("single_role", False),
    }


def _run(connection: Connection) -> None:
    context.configure(connection=connection, **_options())
    with context.begin_transaction():
        # Another migration is waited for however long it takes; a table in use is not.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.ADVISORY_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        if not context.config.attributes.get("single_role", False):
            connection.execute(text(ROLES))
            connection.execute(text("SET LOCAL ROLE guardhouse_owner"))
        context.run_migrations()


async def _run_online() -> None:
    engine = create_async_engine(context.config.attributes["url"], poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
            await connection.commit()
    finally:
        await engine.dispose()


migrate.import_stores()
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **_options())
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(_run_online())
