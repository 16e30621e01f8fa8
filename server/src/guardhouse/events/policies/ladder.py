"""How long a policy bans an address, and which network that is; pure."""

from datetime import datetime, timedelta
from typing import Final

from guardhouse.analysis.abuse.address import PREFIX_V6, Scored
from guardhouse.analysis.abuse.networks import Network
from guardhouse.events.policies.policy import Effect

QUIET: Final = timedelta(days=7)


def step_after(step: int, until: datetime, now: datetime, effect: Effect) -> int:
    """Return the step for an offender whose last one ended at ``until``; after seven quiet days it is the first."""
    if now - until >= QUIET:
        return 0
    return min(step + 1, len(effect.for_s) - 1)


def net_of(scored: Scored, effect: Effect) -> Network | None:
    """Return the network that a ban of an address is of; None for a hash."""
    network = scored.network
    if network is None or network.version == 4 or effect.prefix_v6 >= PREFIX_V6:  # noqa: PLR2004 - of the two
        return network
    return network.supernet(new_prefix=effect.prefix_v6)
