"""Routes of the audit log: read, verify, export; the keys that sign it are public."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse

from guardhouse.audit import entries, signing_key, verify
from guardhouse.audit.export import ExportWriter, Span
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.audit.store import EntryFilter
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    system_transaction,
    tenant_transaction,
)
from guardhouse.identity import tenants
from guardhouse.identity.audit_log.wire import (
    AuditHeadList,
    AuditKeyList,
    AuditList,
    AuditQuery,
    AuditRange,
    AuditVerdict,
    entry_shape,
    head_shape,
    key_shape,
    verdict_shape,
)
from guardhouse.identity.caller import Caller, Require, identify
from guardhouse.identity.refusals import ScopeMissing

router = api_router("audit")
BILLING_AREA: Final = ("plan", "usage", "ledger", "budget")
EXPORTED_AT_ONCE: Final = 2000
NDJSON: Final = "application/x-ndjson"
