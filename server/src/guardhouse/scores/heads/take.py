"""The verdict heads that an agent has taken, from where they are stored to the engine.

What was taken is a text like ``3+ 4-``: versions with whether they count (+) or are in shadow (-). It is kept with
the position, so that a replay takes the same ones there; weights never change.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from guardhouse.analysis.risk.head import Head, HeadSet
from guardhouse.foundation.database import Tx
from guardhouse.scores.heads import store

MAX_HELD: Final = 256
newest_taken = store.newest


@dataclass(slots=True)
class Heads:
    """Heads used lately, least recent first; forgetting one costs a reload, never a result."""

    _held: OrderedDict[tuple[int, int], Head] = field(default_factory=OrderedDict)

    async def get(self, tx: Tx, tenant_no: int, taken: str) -> HeadSet | None:
        """Return the heads of a tenant with those that are taken; None when it has none.

        Heads that are off are among them: a process that met one goes on with what it has shown to it.
        """
        versions = await store.list_versions(tx, tenant_no)
        missing = [version for version in versions if (tenant_no, version) not in self._held]
        found = {version: self._held[tenant_no, version] for version in versions if version not in missing}
        for version, packed in await store.load(tx, tenant_no, missing) if missing else ():
            found[version] = self._held[tenant_no, version] = Head.unpack(packed)
        for version in found:
            self._held.move_to_end((tenant_no, version))
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        states = {int(word[:-1]): word[-1] == "+" for word in taken.split()}
        return HeadSet(found, {v: counts for v, counts in states.items() if v in found}) if found else None


def taken_text(heads: HeadSet | None) -> str:
    """Return which heads are taken, as it is kept."""
    taken = {} if heads is None else heads.taken
    return " ".join(f"{version}{'+' if counts else '-'}" for version, counts in taken.items())
