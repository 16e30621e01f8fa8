"""Verify the books of a tenant from their own rows: the chain, the numbers, the accounts.

Nothing the database computed is believed: hashes, sums and balances are made again here.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.ledger import store
from guardhouse.ledger.store import Balance, Block, Transfer

PAGE_BLOCKS: Final = 1_000
PAGE_TRANSFERS: Final = 20_000
ACCOUNTS: Final = ("available", "held", "revenue", "writeoff")
SIDES: Final = {  # debit, credit
    "top_up": ("funding", "available"),
    "grant": ("funding", "available"),
    "hold": ("available", "held"),
    "post": ("held", "revenue"),
    "release": ("held", "available"),
    "expire": ("held", "available"),
    "refund": ("revenue", "available"),
    "withdraw": ("available", "funding"),
    "forfeit": ("available", "writeoff"),
}


@dataclass(slots=True)
class Verified:
    """What a walk through the books found; ``faults`` is empty when they are whole."""

    transfers: int = 0
    blocks: int = 0
    head: bytes = b""
    faults: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)

    def fault(self, text: str) -> None:
        """Keep a fault; the first hundred are enough."""
        if len(self.faults) < 100:  # noqa: PLR2004 - said above
            self.faults.append(text)


def block_hash(prev: bytes, tenant_id: UUID, block: int, transfers: Sequence[Transfer]) -> bytes:
    """Return the hash of a block: SHA-256 over the previous hash and the text of its transfers."""
    lines = [f"{tenant_id}\n{block}", *map(_line, transfers)]
    return hashlib.sha256(prev + "\n".join(lines).encode()).digest()


def _line(one: Transfer) -> str:
    ref = "-" if one.ref is None else f"{len(one.ref.encode())}:{one.ref}"
    return f"{one.seq}:{one.kind}:{one.amount}:{one.run_id or '-'}:{ref}"


async def verify(tx: Tx, tenant_id: UUID) -> Verified:
    """Walk through the books of a tenant, a page at a time; the transaction should see one state of them."""
    found = Verified()
    balance = await store.read_balance(tx, tenant_id)
    waiting: list[Transfer] = []
    while blocks := await store.read_blocks(tx, tenant_id, found.blocks, PAGE_BLOCKS):
        for block in blocks:
            while len(waiting) < block.last_seq - found.transfers:
                after = found.transfers + len(waiting)
                page = await store.read_transfers(tx, tenant_id, after, PAGE_TRANSFERS)
                if not page:
                    found.fault(f"block {block.block} names transfers that are not there")
                    return found
                waiting += page
            count = block.last_seq - found.transfers
            _check_block(found, tenant_id, block, waiting[:count])
            del waiting[:count]
    _check_ends(found, balance, behind=len(waiting))
    return found


def _check_block(found: Verified, tenant_id: UUID, block: Block, transfers: Sequence[Transfer]) -> None:
    if block.block != found.blocks + 1 or block.first_seq != found.transfers + 1:
        found.fault(f"block {block.block} does not follow block {found.blocks}")
    if (
        block.prev_hash != found.head
        or block_hash(found.head, tenant_id, block.block, transfers) != block.hash
    ):
        found.fault(f"block {block.block} does not have the hash of its transfers")
    for number, one in enumerate(transfers, found.transfers + 1):
        if one.seq != number:
            found.fault(f"transfer {number} is missing")
        if SIDES.get(one.kind) != (one.debit, one.credit):
            found.fault(f"transfer {one.seq} is no {one.kind}")
        found.sums[one.debit] -= one.amount
        found.sums[one.credit] += one.amount
    found.blocks, found.transfers, found.head = block.block, block.last_seq, block.hash


def _check_ends(found: Verified, balance: Balance, behind: int) -> None:
    if behind or (found.blocks, found.transfers, found.head) != (balance.block, balance.seq, balance.head):
        found.fault("the balance does not stand at the end of the chain")
    said = {name: getattr(balance, name) for name in ACCOUNTS} | {"funding": -balance.funding}
    for name, amount in said.items():
        if found.sums[name] != amount:
            found.fault(f"{name} is {amount}, its transfers sum to {found.sums[name]}")
