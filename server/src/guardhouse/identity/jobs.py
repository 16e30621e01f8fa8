"""What time does to credentials: what ran out is forgotten, ends of keys are told, last uses are written."""

import asyncio
import contextlib
from typing import Final

from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import expiry, sessions
from guardhouse.identity.agent_keys.store import prune_nonces as prune_spent
from guardhouse.identity.key_cache import KeyCache
from guardhouse.identity.last_use.store import mark_used
from guardhouse.identity.people import store as people_store
from guardhouse.identity.registration import store as registration
from guardhouse.identity.session_cache import SessionCache

PRUNED_AT_ONCE: Final = 5000
LAST_USE_SECONDS: Final = 10.0


@every(60, "identity.prune_nonces")
async def prune_nonces(context: JobContext) -> None:
    """Delete expired nonces, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            gone = await prune_spent(tx, context.resources.clock.now(), PRUNED_AT_ONCE)
        if gone < PRUNED_AT_ONCE:
            return


@every(600, "identity.prune_sessions")
async def prune_sessions(context: JobContext) -> None:
    """Delete sessions and links that open nothing any more."""
    now = context.resources.clock.now()
    async with system_transaction(context.resources.database) as tx:
        await people_store.prune(tx, now, now - sessions.IDLE)


@every(600, "identity.tell_expiring")
async def tell_expiring(context: JobContext) -> None:
    """Publish that keys end within a week, each once, in short steps."""
    while True:
        async with system_transaction(context.resources.database) as tx:
            told = await expiry.tell_expiring(tx, context.resources.clock.now())
        if told < expiry.TOLD_AT_ONCE:
            return


@every(3600, "identity.prune_registrations")
async def prune_registrations(context: JobContext) -> None:
    """Forget addresses that registered longer ago than matters."""
    async with system_transaction(context.resources.database) as tx:
        await registration.prune(tx, context.resources.clock.now() - registration.WINDOW)


async def keep_last_use(resources: Resources, cache: KeyCache) -> None:
    """Write which keys were used, in one statement every ten seconds and once more at the end."""
    try:
        while True:
            await asyncio.sleep(LAST_USE_SECONDS)
            await write_last_use(resources, cache)
    finally:
        await write_last_use(resources, cache)


async def write_last_use(resources: Resources, cache: KeyCache) -> None:
    """Write the uses noted since the last time; while the database is away they are lost, which is no harm."""
    used = cache.take_used()
    if used:
        with contextlib.suppress(DatabaseAway):
            async with system_transaction(resources.database) as tx:
                await mark_used(tx, used)


async def keep_last_seen(resources: Resources, cache: SessionCache) -> None:
    """Write when sessions were used, in one statement every ten seconds and once more at the end."""
    try:
        while True:
            await asyncio.sleep(LAST_USE_SECONDS)
            await write_last_seen(resources, cache)
    finally:
        await write_last_seen(resources, cache)


async def write_last_seen(resources: Resources, cache: SessionCache) -> None:
    """Write the uses noted since the last time; while the database is away they wait."""
    seen = cache.take_seen()
    if seen:
        try:
            async with system_transaction(resources.database) as tx:
                await people_store.mark_seen(tx, seen)
        except DatabaseAway:
            for session_id, at in seen:
                cache.keep_seen(session_id, at)
