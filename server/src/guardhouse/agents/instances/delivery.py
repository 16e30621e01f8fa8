"""What of everything captured in a project has arrived, and where the rest is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from guardhouse.agents.instances import queries, store
from guardhouse.agents.instances.fold import fold
from guardhouse.agents.instances.ledger import Account, Received
from guardhouse.agents.instances.ledger import settle as settle_lane
from guardhouse.agents.instances.queries import Counted
from guardhouse.agents.instances.sender import Generation, generation_of
from guardhouse.agents.instances.settle import unaccounted_in
from guardhouse.agents.instances.store import Instance, Place
from guardhouse.foundation.database import Tx

LISTED: Final = 100
AT_ONCE: Final = 1_000


@dataclass(slots=True)
class Exact:
    """Processes that keep a ledger, all of them together, and those whose ledger leaves something open."""

    instances: int = 0
    events: Account = field(default_factory=Account)
    metrics: Account = field(default_factory=Account)
    open: list[Instance] = field(default_factory=list)


@dataclass(slots=True)
class Counts:
    """Installations of one generation that keep no ledger: what came in, and nothing about what did not."""

    generation: Generation
    installations: int = 0
    batches: int = 0
    replays: int = 0
    events: Received = field(default_factory=Received)
    metrics: Received = field(default_factory=Received)

    @property
    def resend_factor(self) -> float | None:
        """How often an item came on average, until it was here; None before the first one."""
        total = self.events.total + self.metrics.total
        new = total - self.events.duplicates - self.metrics.duplicates
        return total / new if new else None


@dataclass(slots=True)
class Delivery:
    """Both kinds of one project."""

    exact: Exact
    released: list[Counts]


async def get_delivery(tx: Tx, place: Place) -> Delivery:
    """Return the delivery of a project since its beginning, archived processes with the others."""
    await fold(tx, place)
    exact = Exact()
    after: int | None = 0
    while after is not None:
        page = await store.list_with_ledger(tx, place.project_no, after=after, limit=AT_ONCE)
        for instance in page:
            _add(exact, instance)
        after = page[-1].no if len(page) == AT_ONCE else None
    return Delivery(exact, _by_generation(await queries.sum_without_ledger(tx, place.project_no)))


def _add(exact: Exact, instance: Instance) -> None:
    if instance.ledger is None:
        return
    exact.instances += 1
    exact.events.add(settle_lane(instance.ledger.events, instance.events))
    exact.metrics.add(settle_lane(instance.ledger.metrics, instance.metrics))
    if unaccounted_in(instance) and len(exact.open) < LISTED:
        exact.open.append(instance)


def _by_generation(rows: Sequence[Counted]) -> list[Counts]:
    found: dict[Generation, Counts] = {}
    installations: set[tuple[Generation, str]] = set()
    for row in rows:
        generation = generation_of(row.user_agent)
        counts = found.setdefault(generation, Counts(generation))
        installations.add((generation, row.installation))
        counts.batches += row.batches
        counts.replays += row.replays
        counts.events += row.events
        counts.metrics += row.metrics
    for generation, counts in found.items():
        counts.installations = sum(of == generation for of, _ in installations)
    return [found[generation] for generation in sorted(found)]
