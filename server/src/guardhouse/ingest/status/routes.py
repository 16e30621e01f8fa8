"""The route for the status of in-app agents.

A status is news of a process that may be ill: what it says is never a reason to refuse it.
"""

from typing import Final

import msgspec
from fastapi import APIRouter, Request, Response

from guardhouse.agents.instances.record_status import Status, record_status
from guardhouse.agents.instances.store import Place
from guardhouse.agents.resolve_project import ProjectMismatch, UnknownProject, resolve_project
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.errors import BodyTooLarge, RequestTimeout, Unavailable, UnsupportedCoding
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import StrictRoute, resources_of, tenant_transaction
from guardhouse.identity.caller import identify
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing
from guardhouse.ingest.decode_body import split_body
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.read_body import MIB, CompressionBomb, Limits, read_body
from guardhouse.ingest.sent_by import named_project, sender_of_request
from guardhouse.ingest.status.read_status import UNREADABLE, read_status
from guardhouse.ingest.status.wire import AgentStatus, StatusAnswer, StatusAnswerShape

SCOPE: Final = "telemetry:write"
JSON: Final = "application/json"
LIMITS: Final = Limits(wire_bytes=MIB, content_bytes=MIB)
router = APIRouter(tags=["telemetry"], route_class=StrictRoute)


@router.post(
    "/api/v1/status",
    operation_id="send_status",
    responses={
        200: {"model": StatusAnswerShape, "description": "Recorded, readable or not."},
        **refusals(ApiKeyMissing, ScopeMissing, ProjectMismatch, UnknownProject, RequestTimeout, Unavailable),
    },
    openapi_extra=raw_body({JSON: (AgentStatus,)}, "Plain, or with `Content-Encoding: gzip` or `zstd`.")
    | {"security": [{"ApiKey": [SCOPE]}, {"Bearer": [SCOPE]}]},
)
async def send_status(request: Request) -> Response:
    """Take the status of an in-app agent; one that cannot be read is recorded as that."""
    caller = await identify(request, metered=False)
    caller.need(SCOPE)
    resources = resources_of(request)
    status = await _read(request)
    now = resources.clock.now()
    sender = sender_of_request(request, caller)
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await resolve_project(
            tx,
            resources.clock,
            caller.tenant,
            bound=caller.project_id,
            named=named_project(request),
            by=caller.actor,
        )
        place = Place(caller.tenant, project.no, project.id, now)
        installation = sender.installation_in(caller.tenant.id, project.id, resources.peppers[0].value)
        instance = await record_status(tx, place, sender, installation, status)
    answer = StatusAnswer(
        instance_id=None if instance is None else str(instance.id), server_time=rfc3339(now)
    )
    return Response(msgspec.json.encode(answer), media_type=JSON)


async def _read(request: Request) -> Status:
    try:
        async with read_body(request, LIMITS) as body:
            return read_status(split_body(body.content, (), max_items=0))
    except (MalformedBody, BodyTooLarge, CompressionBomb, UnsupportedCoding):
        return UNREADABLE
