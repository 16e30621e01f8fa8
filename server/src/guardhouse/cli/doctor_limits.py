"""Doctor's look at the rate limits: where they are kept, and what happens while Redis is away."""

import asyncio
from collections.abc import Iterator

from redis.asyncio import Redis

from guardhouse.cli.finding import Finding, good, warning
from guardhouse.settings import Settings
from guardhouse.usage.redis_windows import CONNECT_SECONDS, FAULTS

_FALLBACKS = {
    "share": "each API process keeps its share",
    "open": "every call is admitted",
    "closed": "metered calls get 503",
}


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is found."""
    if settings.redis_url is None:
        yield good("Rate limits", "in each API process, its share of every limit")
        return
    fallback = _FALLBACKS[settings.rate_limit_fallback]
    try:
        version = asyncio.run(_version(settings.redis_url.get_secret_value()))
    except (*FAULTS, ValueError) as error:
        yield warning(
            "Rate limits",
            f"Redis cannot be used ({type(error).__name__}); meanwhile {fallback}",
            "Start Redis, or correct GUARDHOUSE_REDIS_URL.",
        )
        return
    yield good("Rate limits", f"shared on Redis {version}; while it is away {fallback}")


async def _version(url: str) -> str:
    redis = Redis.from_url(
        url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS, retry=None
    )
    try:
        await redis.script_load("return 1")  # what the limits need it to allow
        found = await redis.info("server")
        return str(found["redis_version"])
    finally:
        await redis.aclose()
