"""Finds settings of an app that its own events show to be wrong, and explains each."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guardhouse.agents.projects.read import Project
from guardhouse.events.app import queries
from guardhouse.foundation.database import TenantKey, Tx

LOOKED_BACK: Final = timedelta(hours=24)
LOOKED_AT: Final = 10_000
FEWEST: Final = 20
SUSPICIOUS: Final = "suspicious_request"
TRUSTED_PROXIES: Final = (
    "More than half of the events say that a request carried a forwarding header from an address that the app does not"
    " trust. This is what an app behind a proxy reports about every request while `trusted_proxies` does not name that"
    " proxy; it then also takes the proxy's address for the client's, and bans and limits hit everyone. Set"
    " `trusted_proxies` to the addresses of your load balancer or CDN, and `trusted_proxy_depth` to how many of them"
    " stand in a row."
)


@dataclass(frozen=True, slots=True)
class Hint:
    """One setting that looks wrong: its code, what share of the events shows it, and what to do."""

    code: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Hints:
    """What was looked at, and what it shows. ``events``: rows and rolled-up events since ``since``."""

    since: datetime
    events: int
    found: tuple[Hint, ...]


async def find_hints(tx: Tx, tenant: TenantKey, project: Project, now: datetime) -> Hints:
    """Look at the newest events of a project, of 24 hours at most, and what was rolled up meanwhile."""
    looked = await queries.count_type(tx, (tenant.no, project.no), SUSPICIOUS, now - LOOKED_BACK, LOOKED_AT)
    share = looked.of_type / looked.events if looked.events else 0.0
    told = looked.events >= FEWEST and share > 0.5  # noqa: PLR2004 - a half
    hint = Hint("trusted_proxies", round(share, 3), TRUSTED_PROXIES)
    return Hints(looked.since, looked.events, (hint,) if told else ())
