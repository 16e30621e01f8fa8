"""Notices about money."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from guardhouse.foundation.money import UsdOut
from guardhouse.notices.kind import NoticeData, Severity


class LedgerTopUp(NoticeData):
    """Money came in; a payment is told once."""

    kind: ClassVar[str] = "ledger.top_up"
    scope: ClassVar[str] = "ledger:read"
    example: ClassVar[Mapping[str, Any]] = {
        "top_up_id": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b20",
        "amount_usd": "100.0000",
        "balance_after_usd": "100.0000",
        "payment_ref": "inv-2026-114",
    }

    top_up_id: UUID
    amount_usd: UsdOut
    balance_after_usd: UsdOut
    payment_ref: str

    @property
    def severity(self) -> Severity:
        """Nothing to worry about."""
        return Severity.INFO

    @property
    def subject(self) -> str:
        """Return the books of the tenant, which have one order."""
        return "ledger:balance"
