"""What a policy adds to the engine of its tenant's own: packs, lists; looked up once, good until an entry expires."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.detections.calibrations.store import Calibration
from guardhouse.detections.lists.entry import Entry
from guardhouse.detections.lists.store import StoredList
from guardhouse.detections.packs.store import StoredPack
from guardhouse.detections.policy import CORE, Channel, Policy
from guardhouse.detections.verdict import Additions, ListedPhrase

ALWAYS: Final = datetime.max.replace(tzinfo=UTC)
Exact = Mapping[tuple[str, str], str]  # (channel, SHA-256) -> name of the entry
CHANNELS: Final[tuple[Channel, ...]] = ("user", "external")


@dataclass(frozen=True, slots=True)
class Own:
    """Packs and phrases as the engine takes them with their digest; exact texts by channel and SHA-256."""

    additions: Additions | None = None
    digest: str = ""
    core: bool = True
    allowed: Exact = field(default_factory=dict)
    denied: Exact = field(default_factory=dict)
    until: datetime = ALWAYS
    shifts: Mapping[str, int] = field(default_factory=dict)  # by channel, thousandths of log-odds

    @property
    def denies_phrases(self) -> bool:
        """Whether only the engine can tell that nothing is denied."""
        return self.additions is not None and bool(self.additions.deny)

    def listed(self, text: str, channel: str) -> tuple[str | None, str | None]:
        """Return the entries that deny and allow exactly this text."""
        if not self.allowed and not self.denied:
            return None, None
        place = (channel, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest())
        return self.denied.get(place), self.allowed.get(place)


NOTHING: Final = Own()


class InForce(Policy, frozen=True, kw_only=True):
    """A policy as it judges: with what its tenant adds."""

    own: Own = NOTHING


def own_of(policy: Policy) -> Own:
    """Return what a policy adds; nothing for one that was not looked up."""
    return policy.own if isinstance(policy, InForce) else NOTHING


def in_force(policy: Policy, own: Own) -> InForce:
    """Return a policy with what its tenant adds."""
    members = {name: getattr(policy, name) for name in Policy.__struct_fields__}
    return InForce(**members, own=own)


@dataclass(frozen=True, slots=True)
class Known:
    """What policies of a tenant name."""

    lists: Mapping[UUID, StoredList]
    packs: Mapping[str, StoredPack]
    calibrations: Mapping[UUID, Calibration]


def gather(policy: Policy, known: Known, now: datetime) -> Own:
    """Return what a policy adds at an instant."""
    lists, packs = known.lists, known.packs
    chosen = [lists[one] for one in policy.lists if one in lists]
    rules = tuple(packs[name].rules for name in policy.rule_packs if name in packs)
    allow, deny = _counting(chosen, "allow", now), _counting(chosen, "deny", now)
    additions = Additions(rules, _phrases(allow), _phrases(deny))
    ends = [e.expires_at for one in chosen for e in one.entries if e.expires_at is not None and e.counts(now)]
    core = CORE in policy.rule_packs
    calibration = known.calibrations.get(policy.calibration) if policy.calibration else None
    shifts = {name: one.shift_milli for name, one in calibration.channels.items()} if calibration else {}
    rest = (_exact(allow), _exact(deny), min(ends, default=ALWAYS), shifts)
    if not (additions.packs or additions.allow or additions.deny):
        return Own(None, "", core, *rest)
    digest = hashlib.sha256(msgspec.msgpack.encode(additions)).hexdigest()
    return Own(additions, digest, core, *rest)


def _counting(chosen: Sequence[StoredList], kind: str, now: datetime) -> list[tuple[str, Entry]]:
    """Return the entries of lists of a kind that have not expired, with their names."""
    return [
        (f"{one.name}#{entry.name}", entry)
        for one in chosen
        if one.kind == kind
        for entry in one.entries
        if entry.counts(now)
    ]


def _phrases(entries: Iterable[tuple[str, Entry]]) -> tuple[ListedPhrase, ...]:
    return tuple(
        ListedPhrase(name, entry.value, entry.channel) for name, entry in entries if entry.kind == "phrase"
    )


def _exact(entries: Iterable[tuple[str, Entry]]) -> Exact:
    return {
        (channel, entry.value): name
        for name, entry in entries
        if entry.kind == "sha256"
        for channel in CHANNELS
        if entry.channel in (None, channel)
    }
