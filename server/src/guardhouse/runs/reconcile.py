"""Decide claims that nobody completed, from the row's own pointers: what it names is there, or it is not.

All there and equal: completed, at the price that was fixed. Something missing: failed, free. Something there that is
not what was fixed: a person decides, and everybody who may is told.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from guardhouse.foundation import logs
from guardhouse.foundation.database import Tx
from guardhouse.foundation.objects import ObjectAbsent, ObjectStore
from guardhouse.notices.publish import publish_all
from guardhouse.notices.run_kinds import RunAuditRequired
from guardhouse.runs import store
from guardhouse.runs.finish import claimed_by, completed, end, failed
from guardhouse.runs.states import told
from guardhouse.runs.store import Run

PATIENCE: Final = timedelta(seconds=300)  # longer than an upload may take
STORE_AWAY: Final = timedelta(hours=24)
AT_ONCE: Final = 100
Found = Literal["whole", "missing", "different", "away"]
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a claimed result is in the store; ``present`` are the keys that are."""

    found: Found
    present: tuple[str, ...]


async def look(objects: ObjectStore, run: Run) -> Seen:
    """Read every object that a claimed run names; no transaction is open."""
    present: list[str] = []
    different = missing = False
    for pointer in run.result_objects or ():
        try:
            content = await objects.get(pointer["key"])
        except ObjectAbsent:
            missing = True
            continue
        except OSError as error:
            _log.warning("object_store_away", run_id=str(run.run_id), error=str(error))
            return Seen("away", ())
        present.append(pointer["key"])
        equal = (len(content), hashlib.sha256(content).hexdigest()) == (pointer["bytes"], pointer["sha256"])
        different = different or not equal
    return Seen("different" if different else "missing" if missing else "whole", tuple(present))


async def reconcile(tx: Tx, run: Run, seen: Seen, now: datetime) -> Run | None:
    """Decide one claim by what was seen; None: it was decided meanwhile, or waits for the store to answer."""
    if seen.found == "whole":
        return await end(tx, run, completed(run), now)
    if seen.found == "missing":
        detail = "Its worker fell silent before the result was stored."
        return await end(tx, run, failed(run, "WORKER_CRASH_DURING_FINALIZE", detail, claimed_by(run)), now)
    if seen.found == "away" and (run.claimed_at is None or now - run.claimed_at < STORE_AWAY):
        return None
    audited = await store.change(tx, run, now, {"money_state": "AUDIT_REQUIRED"}, claimed_by(run))
    if audited is not None:
        await publish_all(tx, [told(RunAuditRequired, audited)])
    return audited
