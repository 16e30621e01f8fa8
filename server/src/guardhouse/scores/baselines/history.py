"""The baselines of one group as one agent's engine sees them: what it needs is read before its events.

A program is bound to the newest version that its agent has taken; a process keeps the one it was bound to.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from guardhouse.analysis.risk.act import EXEC_CALLS, clean_path, path_of
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.profile import Baseline, Profile
from guardhouse.analysis.risk.surprise import CallCounts
from guardhouse.foundation.database import Tx
from guardhouse.scores.baselines import store
from guardhouse.scores.baselines.store import StoredBaseline

MAX_KEPT: Final = 4_096
EVERYONE: Final = ""  # the program that stands for all of them


class BaselineMissing(LookupError):  # noqa: N818 - tells the caller what to read
    """A baseline is asked for that nobody has read; fetch it and ask again."""

    def __init__(self, exe: str, alphabet: str, version: int) -> None:
        super().__init__(exe, alphabet, version)
        self.exe = exe
        self.alphabet = alphabet
        self.version = version


def profile_id(group: str, exe: str, alphabet: str) -> UUID:
    """Return the id of a program's baseline within a tenant: 16 bytes of SHA-256."""
    return UUID(bytes=hashlib.sha256(f"{group}\0{alphabet}\0{exe}".encode()).digest()[:16])


@dataclass(slots=True)
class Kept:
    """Baselines and profiles in memory, the least recent forgotten first; shared by the agents of a worker."""

    _held: "OrderedDict[tuple[object, ...], Baseline | CallCounts | Profile]" = field(
        default_factory=OrderedDict
    )

    def get(self, key: tuple[object, ...]) -> Baseline | CallCounts | Profile | None:
        """Return what is held under a key."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: tuple[object, ...], made: Baseline | CallCounts | Profile) -> None:
        """Hold something under a key."""
        self._held[key] = made
        if len(self._held) > MAX_KEPT:
            self._held.popitem(last=False)


@dataclass(slots=True)
class ProfileHistory:
    """A group's baselines for one agent; ``current`` is the version that new programs are bound to."""

    tenant_no: int
    group: str
    kept: Kept = field(default_factory=Kept)
    current: int | None = None
    _alphabets: list[str] = field(default_factory=list)
    _alphabets_at: int | None = None
    _ready: set[str] = field(default_factory=set)  # programs whose current baseline, or its lack, is known
    _at_hand: dict[tuple[str, str, int], Profile] = field(default_factory=dict)
    _none: set[tuple[str, str, int]] = field(default_factory=set)

    def take(self, version: int | None) -> None:
        """Go on with another version; ask for :meth:`prepare` before the next event."""
        self.current = version
        self._ready.clear()
        self._at_hand.clear()
        self._none.clear()

    async def prepare(self, tx: Tx, events: Iterable[RiskEvent]) -> None:
        """Read the baselines of every program that these events may start."""
        if self.current is None:
            return
        wanted = {exe for event in events for exe in _programs(event)} - self._ready
        if not wanted:
            return
        if self._alphabets_at != self.current:
            self._alphabets = await store.list_alphabets(tx, self.tenant_no, self.group)
            self._alphabets_at = self.current
        if len(self._ready) > MAX_KEPT:
            self._ready.clear()
            self._at_hand.clear()
            wanted = {exe for event in events for exe in _programs(event)}
        await self._fetch(
            tx, [(exe, name) for exe in sorted(wanted) for name in self._alphabets], self.current
        )
        self._ready |= wanted

    async def fetch(self, tx: Tx, missing: BaselineMissing) -> None:
        """Read one baseline that a process is bound to."""
        await self._fetch(tx, [(missing.exe, missing.alphabet)], missing.version)
        place = (missing.exe, missing.alphabet, missing.version)
        if place not in self._at_hand:
            self._none.add(place)

    def newest(self, exe: str, alphabet: str) -> Profile | None:
        """Return the baseline that a program is bound to now.

        Raises:
            BaselineMissing: nobody has prepared for this program.
        """
        if self.current is None:
            return None
        if exe not in self._ready:
            raise BaselineMissing(exe, alphabet, self.current)
        return self._at_hand.get((exe, alphabet, self.current))

    def at(self, exe: str, alphabet: str, version: int) -> Profile | None:
        """Return the baseline of a program at one version; None when it is not stored any more.

        Raises:
            BaselineMissing: it has not been read.
        """
        found = self._at_hand.get((exe, alphabet, version))
        if found is None and (exe, alphabet, version) not in self._none:
            raise BaselineMissing(exe, alphabet, version)
        return found

    async def _fetch(self, tx: Tx, programs: list[tuple[str, str]], version: int) -> None:
        missing = []
        for exe, alphabet in programs:
            found = self.kept.get((self.tenant_no, self.group, exe, alphabet, "at", version))
            if isinstance(found, Profile):
                self._at_hand[(exe, alphabet, version)] = found
            else:
                missing.append((exe, alphabet))
        if not missing:
            return
        ids = [profile_id(self.group, exe, alphabet) for exe, alphabet in missing]
        everyone = {alphabet: profile_id(self.group, EVERYONE, alphabet) for _, alphabet in missing}
        rows = await store.load(tx, self.tenant_no, [*ids, *everyone.values()], version)
        counts = {row.alphabet: self._counts(row) for row in rows if row.exe == EVERYONE}
        for row in rows:
            if row.exe != EVERYONE:
                base = self._baseline(row)
                made = Profile(
                    row.exe, row.alphabet, self.group, version, base, counts.get(row.alphabet) or CallCounts()
                )
                self.kept.put((self.tenant_no, self.group, row.exe, row.alphabet, "at", version), made)
                self._at_hand[(row.exe, row.alphabet, version)] = made

    def _baseline(self, row: StoredBaseline) -> Baseline:
        key = (self.tenant_no, self.group, row.exe, row.alphabet, "of", row.version)
        found = self.kept.get(key)
        if isinstance(found, Baseline):
            return found
        made = Baseline.unpack(json.loads(row.packed))
        self.kept.put(key, made)
        return made

    def _counts(self, row: StoredBaseline) -> CallCounts:
        key = (self.tenant_no, self.group, row.exe, row.alphabet, "of", row.version)
        found = self.kept.get(key)
        if isinstance(found, CallCounts):
            return found
        made = CallCounts.unpack(json.loads(row.packed))
        self.kept.put(key, made)
        return made


async def take_in(tx: Tx, engine: AgentEngine, profiles: ProfileHistory, packed: bytes) -> None:
    """Load a stored process into an engine, with the baseline that it is bound to."""
    while True:
        try:
            engine.load_process(packed)
        except BaselineMissing as missing:
            await profiles.fetch(tx, missing)
        else:
            return


def _programs(event: RiskEvent) -> Iterable[str]:
    """Yield the programs that an event may bind a process to."""
    if event.exe is not None:
        yield event.exe
    if event.kind == "exec" or event.call in EXEC_CALLS:
        path = path_of(event.call or "execve", event.args or {})
        if path is not None:
            yield clean_path(path)
