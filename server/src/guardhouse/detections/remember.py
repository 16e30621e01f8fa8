"""Remember verdicts for a while: in this process, and beside it in Redis where there is one.

A verdict is kept before any threshold, under what it depends on: the version of the policy (whose id is its tenant's
alone), the model, the channel and the digest of the text. Equal texts in flight are judged once. What another engine
stood in for is never kept, and what goes to Redis is sealed, because reasons show parts of the text.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import CannotOpen

MOST_ENTRIES: Final = 20_000
MOST_BYTES: Final = 64 << 20
REDIS_SECONDS: Final = 0.002
JOIN_SECONDS: Final = 0.5  # for what another call of this process is having judged
PREFIX: Final = "guardhouse:verdict:"
PURPOSE: Final = "detection cache"
FAULTS: Final = (RedisError, OSError, TimeoutError, CannotOpen)

OUTCOMES: Final = Counter(
    "guardhouse_detection_cache_total", "Looks at remembered verdicts, by what came of it.", ["outcome"]
)


def key_of(*parts: bytes) -> bytes:
    """Return the digest of parts, each with its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


class Remembered:
    """Encoded verdicts of this process, the least recently used going first."""

    def __init__(self, resources: Resources) -> None:
        self._seal = resources.master_key
        url = resources.settings.redis_url
        self._redis = None if url is None else Redis.from_url(url.get_secret_value(), max_connections=2)
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._in_flight: dict[bytes, asyncio.Future[bytes | None]] = {}

    async def close(self) -> None:
        """End the connection to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def find_or_make(
        self, key: bytes, seconds: int, make: Callable[[], Awaitable[bytes | None]]
    ) -> tuple[bytes, bool] | None:
        """Return what is remembered, with True, or what ``make`` makes now; None when that may not be kept.

        Whoever asks while another makes it waits for that, and makes it too where nothing came of it.
        """
        found = self._find(key) or await self._find_shared(key, seconds)
        if found is not None:
            return found, True
        under_way = self._in_flight.get(key)
        if under_way is not None:
            done, _ = await asyncio.wait({under_way}, timeout=JOIN_SECONDS)
            made = under_way.result() if done else None
            if made is not None:
                OUTCOMES.labels("joined").inc()
                return made, True
        OUTCOMES.labels("miss").inc()
        return await self._make(key, seconds, make)

    async def _make(
        self, key: bytes, seconds: int, make: Callable[[], Awaitable[bytes | None]]
    ) -> tuple[bytes, bool] | None:
        promise: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = promise
        made: bytes | None = None
        try:
            made = await make()
        finally:
            promise.set_result(made)
            if self._in_flight.get(key) is promise:
                del self._in_flight[key]
        if made is None:
            return None
        self._keep(key, made, seconds)
        await self._share(key, made, seconds)
        return made, False

    def _find(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        until, value = entry
        if until < time.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        OUTCOMES.labels("hit").inc()
        return value

    def _keep(self, key: bytes, value: bytes, seconds: int) -> None:
        self._drop(key)
        self._entries[key] = time.monotonic() + seconds, value
        self._bytes += len(value)
        while len(self._entries) > MOST_ENTRIES or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[1])

    async def _find_shared(self, key: bytes, seconds: int) -> bytes | None:
        if self._redis is None:
            return None
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                sealed = await self._redis.get(PREFIX + key.hex())
            if not isinstance(sealed, bytes):
                return None
            value = self._seal.open(sealed, PURPOSE + key.hex())
        except FAULTS:
            OUTCOMES.labels("error").inc()
            return None
        OUTCOMES.labels("shared").inc()
        self._keep(key, value, seconds)
        return value

    async def _share(self, key: bytes, value: bytes, seconds: int) -> None:
        if self._redis is None:
            return
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                sealed = self._seal.seal(value, PURPOSE + key.hex())
                await self._redis.set(PREFIX + key.hex(), sealed, ex=seconds)
        except FAULTS:
            OUTCOMES.labels("error").inc()
