"""What a tenant's plan lets its runs be: which packs, how dear, how many at once, how long results are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.money import LEAST_MICROS, MICROS_PER_USD, format_usd
from guardhouse.usage import plans

ANY: Final = "*"


class PackTypeNotAllowed(Problem):
    """The plan does not include this pack."""

    status, code, title = 400, "pack_type_not_allowed", "Pack not in the plan"
    remediation = "GET /api/v1/plan shows what the plan includes."


class MaxCostTooLow(Problem):
    """The ceiling is below what any run costs."""

    status, code, title = 400, "max_cost_too_low", "Ceiling too low"
    remediation = "Allow at least 0.0050 dollars."


class MaxCostExceeded(Problem):
    """The ceiling is above what the plan allows for one run."""

    status, code, title = 402, "max_cost_exceeded", "Ceiling above the plan"
    remediation = "Send a lower `max_cost_usd`, or move to another plan."


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Ceilings by pack in micros (``*``: any other), runs at work at once, days that results are kept."""

    name: str
    version: int
    ceilings: Mapping[str, int]
    at_once: int
    retention_days: int

    def admit(self, pack_type: str, ceiling_micros: int) -> None:
        """Insist on what the plan allows.

        Raises:
            PackTypeNotAllowed, MaxCostTooLow, MaxCostExceeded: as they say.
        """
        most = self.ceilings.get(pack_type, self.ceilings.get(ANY))
        if most is None:
            raise PackTypeNotAllowed(f"The plan {self.name} does not include {pack_type}.")
        if ceiling_micros < LEAST_MICROS:
            raise MaxCostTooLow(f"A run costs at least {format_usd(LEAST_MICROS)} dollars.")
        if ceiling_micros > most:
            raise MaxCostExceeded(
                f"The plan {self.name} allows {format_usd(most)} dollars for a run of {pack_type}.",
                limit_usd=format_usd(most),
            )


STANDARD: Final = {ANY: 25 * MICROS_PER_USD}
# By the name of the plan in force; a plan that is not here has the terms of ``standard``.
TERMS: Final[Mapping[str, tuple[Mapping[str, int], int, int]]] = {
    "basic": ({"decision": 50_000, "url": 100_000}, 2, 30),
    "standard": (STANDARD, 8, 30),
    "premium": (
        {ANY: 100 * MICROS_PER_USD, "replay": 1_000 * MICROS_PER_USD, "evidence": 1_000 * MICROS_PER_USD},
        64,
        90,
    ),
}


def terms_of(name: str, version: int) -> RunPlan:
    """Return what a plan lets runs be."""
    ceilings, at_once, days = TERMS.get(name, TERMS["standard"])
    return RunPlan(name, version, ceilings, at_once, days)


async def concurrency_of(tx: Tx, tenants: Sequence[UUID]) -> dict[UUID, int]:
    """Return how many runs of each tenant may be at work at once."""
    named = await plans.names_of(tx, tenants)
    return {tenant: terms_of(named.get(tenant, "standard"), 1).at_once for tenant in tenants}
