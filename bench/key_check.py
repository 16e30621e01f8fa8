"""An API key's check, from its text to the Caller: out of the cache, and by a look-up. `python bench/key_check.py`."""

import asyncio
import gc
import time

from _kit import Platform, finish, platform

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys
from guardhouse.identity.caller import check
from guardhouse.identity.key_cache import KeyCache

ROUNDS = 7
CACHED_CALLS, LOOK_UPS = 200_000, 500
CACHED_MUST_US, LOOK_UP_MUST_US = 2.0, 1000.0


async def look_up(resources: Resources, cache: KeyCache, text: str) -> None:
    """Find a key as a request does whose key is not in the cache."""
    generation = cache.generation
    async with system_transaction(resources.database) as tx:
        found = await keys.find_key(tx, resources.peppers, text)
    known = cache.keep(text, found, generation)
    if known.key is None:
        raise RuntimeError("the key is not found")
    check(known, known.key, resources.clock.now())


def cached(resources: Resources, cache: KeyCache, text: str) -> float:
    """Return microseconds per check out of the cache: hash, age, expiry, Caller, and the use noted."""
    now = resources.clock.now
    started = time.perf_counter()
    for _ in range(CACHED_CALLS):
        known = cache.find(text)
        if known is None or known.key is None:
            raise RuntimeError("the cache has forgotten the key")
        instant = now()
        check(known, known.key, instant)
        cache.mark_used(known.key.id, instant)
    return (time.perf_counter() - started) / CACHED_CALLS * 1e6


async def measure(made: Platform) -> tuple[list[float], list[float]]:
    """Return microseconds per look-up and per check out of the cache, by round."""
    looked_up, found = [], []
    async with made.resources() as resources:
        cache = KeyCache(lambda: True)
        await look_up(resources, cache, made.key)
        gc.disable()
        for number in range(ROUNDS):
            started = time.perf_counter()
            for _ in range(LOOK_UPS):
                await look_up(resources, cache, made.key)
            looked_up.append((time.perf_counter() - started) / LOOK_UPS * 1e6)
            found.append(cached(resources, cache, made.key))
            print(f"round {number + 1}: looked up {looked_up[-1]:,.0f} µs, cached {found[-1]:.2f} µs")
        gc.enable()
    return looked_up, found


if __name__ == "__main__":
    with platform() as prepared:
        by_look_up, by_cache = asyncio.run(measure(prepared))
    finish("key_look_up", by_look_up, [], "µs", on="ours", better="lower", must=LOOK_UP_MUST_US)
    finish("key_check_cached", by_cache, [], "µs", on="ours", better="lower", must=CACHED_MUST_US)
