"""One instance of the agent as the ledger knows it: this process's own, or a dead one whose batches it sends."""

from dataclasses import dataclass, field
from typing import Any

from guard_agent._pipeline.ledger import Ledger


@dataclass(slots=True, eq=False)
class Account:
    """An instance id with its counts; `reports` numbers the last report, `native`: its server reads reports."""

    instance: str
    ledger: Ledger = field(default_factory=Ledger)
    reports: int = 0
    native: bool = False
    known: set[str] = field(default_factory=set)
    """Ids of the batches inherited through Redis, so that none is taken twice."""

    def report(self) -> tuple[int, dict[str, Any]]:
        """Return the number of a new report and the ledger as it stands."""
        self.reports += 1
        return self.reports, self.ledger.snapshot()
