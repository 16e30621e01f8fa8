"""Verify a tenant's audit log: walk the chain with hashes computed anew and compare it with what was signed.

A walk goes in steps, so that it may span many short transactions and its memory stays flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from guardhouse.audit import signed_head
from guardhouse.audit.proof import store
from guardhouse.audit.proof.store import Extent
from guardhouse.audit.signing_key import SigningKey
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import ValidationFailed

STEP: Final = 20_000
Fault = Literal[
    "missing", "altered", "unlinked", "unexpected", "head_differs", "signed_head_differs", "signature_invalid"
]


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry that is wrong, and how."""

    seq: int
    fault: Fault


@dataclass(slots=True)
class Walk:
    """How far a verification has come. ``start_hash`` is the hash before ``first``, ``end_hash`` that of ``last``."""

    tenant_id: UUID
    extent: Extent
    first: int
    last: int
    start_hash: bytes | None
    end_hash: bytes | None
    entries: int = 0
    signed_heads: int = 0
    found: list[Broken] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The entry that the next step begins with."""
        return self.first + self.entries

    @property
    def whole(self) -> bool:
        """Whether the walk goes to the head."""
        return self.last == self.extent.head_seq

    @property
    def broken(self) -> Broken | None:
        """The first fault, or None."""
        return min(self.found, key=lambda broken: broken.seq, default=None)


async def verify(
    tx: Tx,
    tenant_id: UUID,
    keys: Mapping[str, SigningKey],
    *,
    first: int | None = None,
    last: int | None = None,
) -> Walk:
    """Verify a log, or a range of it, in one transaction.

    Raises:
        ValidationFailed: the range is not within the log.
    """
    walk = await begin(tx, tenant_id, first=first, last=last)
    while not await step(tx, walk):
        pass
    await finish(tx, walk, keys)
    return walk


async def begin(tx: Tx, tenant_id: UUID, *, first: int | None = None, last: int | None = None) -> Walk:
    """Begin at an entry; without a last one the walk goes to the head as it is now.

    Raises:
        ValidationFailed: the range is not within the log.
    """
    extent = await store.extent(tx, tenant_id)
    start, end = first or 1, extent.head_seq if last is None else last
    if (first is not None and first > max(extent.head_seq, 1)) or end > extent.head_seq or start > end + 1:
        raise ValidationFailed(
            f"The log has the entries 1 to {extent.head_seq}.",
            errors=[
                {"parameter": "from" if last is None else "to", "code": "range", "detail": "not in the log"}
            ],
        )
    before = await store.hash_of(tx, tenant_id, start - 1)
    return Walk(tenant_id, extent, start, end, before, before)


async def step(tx: Tx, walk: Walk) -> bool:
    """Walk on by up to 20,000 entries; True when the end or a fault has been reached."""
    if walk.next > walk.last:
        return True
    end = min(walk.last, walk.next + STEP - 1)
    stretch = await store.walk(tx, walk.tenant_id, walk.next, end, walk.end_hash)
    faults: tuple[tuple[int | None, Fault], ...] = (
        (stretch.missing, "missing"),
        (stretch.altered, "altered"),
        (stretch.unlinked, "unlinked"),
        (stretch.last + 1 if stretch.last < end else None, "missing"),
    )
    walk.found += [Broken(seq, fault) for seq, fault in faults if seq is not None]
    walk.entries += stretch.entries
    if walk.found:
        return True
    walk.end_hash = await store.hash_of(tx, walk.tenant_id, end)
    return walk.next > walk.last


async def finish(tx: Tx, walk: Walk, keys: Mapping[str, SigningKey]) -> None:
    """Compare the chain with its head and with every head that was ever signed within the range."""
    if walk.whole:
        if walk.extent.highest > walk.extent.head_seq:
            walk.found.append(Broken(walk.extent.head_seq + 1, "unexpected"))
        elif not walk.found and walk.end_hash != walk.extent.head_hash:
            walk.found.append(Broken(max(walk.last, 1), "head_differs"))
    last = None if walk.whole else walk.last  # a signed head beyond the end of a whole log: its tail was cut
    for head in await store.list_signed_heads(tx, walk.tenant_id, walk.first, last):
        walk.signed_heads += 1
        fault = _fault_of(walk, head, keys)
        if fault is not None:
            walk.found.append(fault)
            return


def _fault_of(walk: Walk, head: store.SignedHead, keys: Mapping[str, SigningKey]) -> Broken | None:
    if not signed_head.is_genuine(walk.tenant_id, head, keys):
        return Broken(head.seq, "signature_invalid")
    if head.found is None:
        return Broken(min(head.seq, max(walk.extent.head_seq, walk.extent.highest) + 1), "missing")
    return None if head.found == head.hash else Broken(head.seq, "signed_head_differs")
