"""Resources: what the whole process shares, built once; server, worker, commands and tests all use it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Database, open_database
from guardhouse.foundation.egress import EgressRules
from guardhouse.foundation.objects import LocalObjects, ObjectStore
from guardhouse.foundation.outbound import Outbound
from guardhouse.foundation.seal import MasterKey
from guardhouse.foundation.start_error import StartError
from guardhouse.foundation.wake import Wake
from guardhouse.settings import Settings


class MissingSetting(StartError):  # noqa: N818 - a sentence for the operator
    """A setting that this process needs is absent; the message names it and how to get it."""


@dataclass(frozen=True, slots=True)
class Pepper:
    """One secret that turns API keys into digests; ``kid`` is stored beside each digest."""

    kid: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by everything in a process. ``drain`` is set when the process has begun to stop."""

    settings: Settings
    database: Database
    objects: ObjectStore
    clock: Clock
    wake: Wake
    outbound: Outbound
    master_key: MasterKey
    peppers: tuple[Pepper, ...]
    drain: asyncio.Event = field(default_factory=asyncio.Event)

    def cursor_keys(self) -> list[bytes]:
        """Return the keys that sign cursors, newest first: one per generation of the master key."""
        return self.master_key.derived(b"guardhouse cursors")


@asynccontextmanager
async def open_resources(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Resources]:
    """Open everything the process shares and close it at the end; connections are made lazily.

    Raises:
        MissingSetting: database URL, master key or peppers are not configured.
    """
    if settings.database_url is None:
        raise MissingSetting(
            "Set GUARDHOUSE_DATABASE_URL, or start with `guardhouse up`, which brings its own database."
        )
    if settings.master_key is None or settings.key_peppers is None:
        raise MissingSetting(
            "Set GUARDHOUSE_MASTER_KEY and GUARDHOUSE_KEY_PEPPERS; `guardhouse keys init-secrets` makes both."
        )
    database = open_database(
        settings.database_url.get_secret_value(),
        single_role=settings.single_role,
        pool_size=settings.database_pool_size,
    )
    wake = Wake(database.driver_url)
    outbound = Outbound(EgressRules.from_settings(settings), proxy=settings.egress_proxy)
    try:
        yield Resources(
            settings=settings,
            database=database,
            objects=LocalObjects(objects_dir(settings)),
            clock=clock or Clock(),
            wake=wake,
            outbound=outbound,
            master_key=MasterKey.parse(settings.master_key.get_secret_value()),
            peppers=parse_peppers(settings.key_peppers.get_secret_value()),
        )
    finally:
        await outbound.close()
        await wake.close()
        await database.close()


def objects_dir(settings: Settings) -> Path:
    """Return the folder of the local object store.

    Raises:
        MissingSetting: the URL is of a kind this version has no adapter for.
    """
    if settings.objects_url is None:
        return settings.data_dir / "objects"
    url = urlsplit(settings.objects_url)
    if url.scheme != "file":
        raise MissingSetting("GUARDHOUSE_OBJECTS_URL must be a file: URL in this version.")
    return Path(unquote(url.path))


def parse_peppers(text: str) -> tuple[Pepper, ...]:
    """Read ``kid:base64url`` pairs separated by commas; the first makes new digests.

    Raises:
        ValueError: a pair is malformed or a value shorter than 16 bytes.
    """
    found = []
    for part in text.split(","):
        kid, _, encoded = part.strip().partition(":")
        value = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        if not kid or len(value) < 16:  # noqa: PLR2004 - 128 bits
            raise ValueError("GUARDHOUSE_KEY_PEPPERS is a list of id:base64url pairs, 16 bytes or more each")
        found.append(Pepper(kid, value))
    return tuple(found)
