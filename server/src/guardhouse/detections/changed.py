"""Word of a change of what is in force: policies, lists, rule packs, calibrations."""

from typing import Final

from guardhouse.foundation.database import Tx

CHANNEL: Final = "detection_policies"


async def tell_change(tx: Tx) -> None:
    """Tell every process, at commit, that what is in force has changed for somebody."""
    await tx.run("SELECT pg_notify($1, '')", CHANNEL)
