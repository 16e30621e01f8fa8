"""Baselines of one group over time: a process keeps the version it was bound to, a new one takes the newest."""

from dataclasses import dataclass, field

from guardhouse.analysis.risk.profile import Profile, ProfileSet
from guardhouse.foundation.database import Tx
from guardhouse.scores import store


@dataclass(slots=True)
class ProfileHistory:
    """Every version of a group's baselines; ``current`` is the one that new programs are bound to."""

    tenant_no: int
    group: str
    current: int | None = None
    _sets: dict[int, ProfileSet] = field(default_factory=dict)

    async def load(self, tx: Tx) -> None:
        """Read the versions that are not in memory yet."""
        for packed in await store.load_profiles(tx, self.tenant_no, self.group, max(self._sets, default=0)):
            found = ProfileSet.unpack(packed)
            self._sets[found.version] = found

    @property
    def newest_version(self) -> int | None:
        """The newest version in memory."""
        return max(self._sets, default=None)

    def newest(self, exe: str, alphabet: str) -> Profile | None:
        """Return the baseline that a program is bound to now."""
        return None if self.current is None else self.at(exe, alphabet, self.current)

    def at(self, exe: str, alphabet: str, version: int) -> Profile | None:
        """Return the baseline of a program at one version."""
        found = self._sets.get(version)
        return None if found is None else found.newest(exe, alphabet)
