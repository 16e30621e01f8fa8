"""A statement for people who keep books elsewhere: every transfer of a span with the balance after it."""

import csv
import io
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.money import format_usd
from guardhouse.ledger import queries
from guardhouse.ledger.store import Transfer

MOST_DAYS: Final = 366
MOST_ROWS: Final = 200_000
COLUMNS: Final = (
    "number",
    "time",
    "kind",
    "from_account",
    "to_account",
    "amount_usd",
    "available_after_usd",
    "held_after_usd",
    "run_id",
    "reference",
)
_FORMULA: Final = tuple("=+-@\t\r")


class StatementTooLong(Problem):
    """The span holds more transfers than one statement has."""

    status, code, title = 422, "statement_too_long", "Statement too long"
    remediation = "Ask for fewer days at a time."


async def statement(tx: Tx, tenant_id: UUID, since: datetime, until: datetime) -> str:
    """Return the transfers of a span as CSV (RFC 4180).

    Raises:
        StatementTooLong: over 200,000 transfers.
    """
    rows = await queries.read_span(tx, tenant_id, since, until, MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise StatementTooLong(f"The span has over {MOST_ROWS:,} transfers.")
    out = io.StringIO()
    written = csv.writer(out, lineterminator="\r\n")
    written.writerow(COLUMNS)
    sums = await queries.sums_before(tx, tenant_id, rows[0].seq) if rows else {}
    for one in rows:
        sums[one.debit] = sums.get(one.debit, 0) - one.amount
        sums[one.credit] = sums.get(one.credit, 0) + one.amount
        written.writerow(_row(one, sums))
    return out.getvalue()


def _row(one: Transfer, sums: dict[str, int]) -> tuple[str, ...]:
    return (
        str(one.seq),
        rfc3339(one.created_at),
        one.kind,
        one.debit,
        one.credit,
        format_usd(one.amount),
        format_usd(sums.get("available", 0)),
        format_usd(sums.get("held", 0)),
        str(one.run_id or ""),
        _inert(one.ref or ""),
    )


def _inert(text: str) -> str:
    """Keep a spreadsheet from running a reference that looks like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
