"""Finds streams by id or slug, and makes those that every tenant has."""

import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.anomalies.stream import DEFAULT_SLUGS, Stream, StreamType
from guardhouse.anomalies.streams import store
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id

MOST_AUTOMATIC: Final = 200
"""Streams of one tenant that the first record of a new service may make."""
_NO_HASH: Final = bytes(32)


async def reach_stream(tx: Tx, tenant: TenantKey, name: str, now: datetime, *, lock: bool = False) -> Stream:
    """Return a stream by id or slug, a deleted one too.

    Raises:
        NotFound: there is none.
    """
    if name in DEFAULT_SLUGS:
        await ensure_defaults(tx, tenant, now)
    try:
        by_id: UUID | None = UUID(name)
    except ValueError:
        by_id = None
    slug = name if by_id is None else None
    found = await store.find_stream(tx, tenant.no, stream_id=by_id, slug=slug, lock=lock)
    if found is None:
        raise NotFound("There is no such stream.")
    return found


async def get_stream(tx: Tx, tenant: TenantKey, stream_id: UUID) -> Stream:
    """Return a stream by its id alone.

    Raises:
        NotFound: there is none.
    """
    found = await store.find_stream(tx, tenant.no, stream_id=stream_id)
    if found is None:
        raise NotFound("There is no such stream.")
    return found


async def ensure_defaults(tx: Tx, tenant: TenantKey, now: datetime) -> None:
    """Make the streams that every tenant has, where they are missing."""
    if not await store.has_defaults(tx, tenant.no):
        await store.add_streams(tx, tenant.no, [new_stream(slug, slug, now) for slug in DEFAULT_SLUGS])


async def find_or_make(
    tx: Tx, tenant: TenantKey, wanted: Collection[tuple[str, StreamType]], now: datetime
) -> dict[str, Stream]:
    """Return streams by slug, those that are missing made as far as the tenant may have automatic ones."""
    await ensure_defaults(tx, tenant, now)
    slugs = {slug for slug, _ in wanted} | set(DEFAULT_SLUGS)
    found = await store.find_by_slugs(tx, tenant.no, slugs)
    missing = sorted({(slug, kind) for slug, kind in wanted if slug not in found})
    if not missing:
        return found
    _, automatic = await store.count_streams(tx, tenant.no)
    made = [
        new_stream(slug, kind, now, automatic=True)
        for slug, kind in missing[: max(0, MOST_AUTOMATIC - automatic)]
    ]
    await store.add_streams(tx, tenant.no, made)
    return await store.find_by_slugs(tx, tenant.no, slugs)


def new_stream(
    slug: str,
    kind: StreamType,
    now: datetime,
    *,
    session_key: str | None = None,
    automatic: bool = False,
) -> Stream:
    """Return a stream to be stored; it has a number only then."""
    return Stream(
        no=0,
        id=new_id(),
        slug=slug,
        type=kind,
        seed=secrets.token_hex(8),
        session_key=session_key,
        learning="calibrating",
        paused_at=None,
        automatic=automatic,
        last_seq=0,
        last_sha256=_NO_HASH,
        last_event_at=None,
        processed_seq=0,
        waiting_since=None,
        outliers=0,
        created_at=now,
        deleted_at=None,
        version=1,
    )
