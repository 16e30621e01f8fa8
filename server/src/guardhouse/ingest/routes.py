"""Routes of the telemetry door: events of both families, and metrics.

Credentials are judged from the headers before a byte of the body is read; no redirect is ever sent here.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from guardhouse.agents.import_tokens import issue
from guardhouse.agents.import_tokens.store import Opened
from guardhouse.agents.projects.secrets.verify_payload import SignatureInvalid, SignatureMissing
from guardhouse.agents.resolve_project import ProjectMismatch, UnknownProject
from guardhouse.foundation import peer
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import (
    BodyTooLarge,
    Problem,
    RequestTimeout,
    Unavailable,
    UnsupportedCoding,
    UnsupportedMediaType,
)
from guardhouse.foundation.idempotency import (
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
)
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import StrictRoute, resources_of, system_transaction
from guardhouse.identity.caller import Caller, identify, remember
from guardhouse.identity.failures import Failures
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing, Unauthenticated
from guardhouse.identity.signatures import Unauthorized
from guardhouse.ingest import replay
from guardhouse.ingest.accept_app import (
    MAX_ITEMS,
    MEMBERS,
    AppRequest,
    accept_app,
    keep_malformed,
    project_named,
)
from guardhouse.ingest.accept_host import (
    EVENTS_SCOPE,
    AgentMismatch,
    AgentRequired,
    HostRequest,
    accept_host,
)
from guardhouse.ingest.answer_app import answer_app, app_key
from guardhouse.ingest.check_payload import SIGNATURE_HEADER, EncryptionRequired, check_signature
from guardhouse.ingest.decode_body import split_body
from guardhouse.ingest.decode_lenient import Cut, MalformedBody
from guardhouse.ingest.host_batch import JSON, BatchTooLarge
from guardhouse.ingest.import_alerts import Import, UnknownFormat, import_alerts
from guardhouse.ingest.quota import Meter, TelemetryQuotaReached
from guardhouse.ingest.read_body import CompressionBomb, Limits, RawBody, read_body
from guardhouse.ingest.sent_by import meter_of, named_project, sender_of_request
from guardhouse.ingest.take_batch import HostAnswer
from guardhouse.ingest.tell_family import (
    APP_MEMBERS,
    NDJSON,
    Family,
    FamilyMismatch,
    UnknownEventFamily,
    is_app_body,
    is_signed,
    tell_by_body,
    tell_by_headers,
)
from guardhouse.ingest.wire import AppAnswerShape, AppBatch, HostAnswerShape, HostBatch, ToolEvent
from guardhouse.scores.wait import IngestBacklogged

APP_SCOPE: Final = "telemetry:write"
HOST_SCOPE: Final = EVENTS_SCOPE
LIMITS: Final = Limits()
_JSON: Final = JSON
_READING: Final[tuple[type[Problem], ...]] = (
    MalformedBody,
    BodyTooLarge,
    CompressionBomb,
    UnsupportedCoding,
    RequestTimeout,
    Unavailable,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    ApiKeyMissing,
    ScopeMissing,
    ProjectMismatch,
    UnknownProject,
    FamilyMismatch,
    EncryptionRequired,
    SignatureInvalid,
    SignatureMissing,
    TelemetryQuotaReached,
)
_HOST: Final[tuple[type[Problem], ...]] = (
    Unauthorized,
    BatchTooLarge,
    AgentMismatch,
    AgentRequired,
    UnknownEventFamily,
    UnsupportedMediaType,
    IdempotencyKeyRequired,
    replay.IdempotencyKeyMismatch,
    IdempotencyInProgress,
    IngestBacklogged,
)
_IMPORTING: Final[tuple[type[Problem], ...]] = (
    MalformedBody,
    BodyTooLarge,
    BatchTooLarge,
    CompressionBomb,
    UnsupportedCoding,
    RequestTimeout,
    Unavailable,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    IdempotencyInProgress,
    IngestBacklogged,
)


_TOOL_BODY: Final = (
    "One event or alert as the tool wrote it, an array of them, or one per line; plain, or with"
    " `Content-Encoding: gzip` or `zstd`."
)


class ImportTokenRefused(Unauthenticated):
    """No such import token, or one that was revoked: one answer for both."""

    status, code, title = 401, "import_token_refused", "Import token refused"
    remediation = "Make a token with POST /agents/{id}/import-tokens, and send to the address in its answer."


router = APIRouter(tags=["telemetry"], route_class=StrictRoute)


def _extra(media: dict[str, tuple[type[Any], ...]], description: str, scopes: list[str]) -> dict[str, Any]:
    security = [{scheme: [scope]} for scope in scopes for scheme in ("ApiKey", "Bearer")]
    if HOST_SCOPE in scopes:
        security.append({"Signature": []})
    return raw_body(media, description) | {"security": security}


@router.post(
    "/api/v1/events",
    operation_id="send_events",
    responses={
        200: {"model": AppAnswerShape, "description": "An app batch: stored."},
        207: {"model": HostAnswerShape, "description": "A host batch: one result per event."},
        **refusals(*_READING, *_HOST),
    },
    openapi_extra=_extra(
        {_JSON: (AppBatch, HostBatch), NDJSON: (HostBatch,)},
        "Plain, or with `Content-Encoding: gzip` or `zstd`. As NDJSON: one host event per line.",
        [APP_SCOPE, HOST_SCOPE],
    ),
)
async def send_events(request: Request) -> Response:
    """Take a batch of an in-app agent (answer 200) or of a host agent (answer 207, also with a signature)."""
    family = tell_by_headers(request.headers)
    caller = await _judge(request, family)
    if caller is None:
        async with _read(request) as body:
            _refuse_app_body(body)
            return await _host(request, body, None)
    if family == "host":
        async with _read(request) as body:
            return await _host(request, body, caller)
    return await _either(request, caller, family, meter_of(request, caller, "events"))


@router.post(
    "/api/v1/metrics",
    operation_id="send_metrics",
    responses={200: {"model": AppAnswerShape, "description": "Stored."}, **refusals(*_READING)},
    openapi_extra=_extra(
        {_JSON: (AppBatch,)},
        "Plain, or with `Content-Encoding: gzip` or `zstd`.",
        [APP_SCOPE],
    ),
)
async def send_metrics(request: Request) -> Response:
    """Take a batch of an in-app agent; the same as the other path, for clients that send metrics apart."""
    caller = await _judge(request, "app")
    if caller is None:
        raise FamilyMismatch("Agents of hosts have no metrics here.")
    return await _either(request, caller, "app", meter_of(request, caller, "metrics"))


@router.post(
    "/api/v1/events:import",
    operation_id="import_events",
    responses={
        207: {"model": HostAnswerShape, "description": "One result per event."},
        **refusals(
            *_IMPORTING, UnknownFormat, UnsupportedMediaType, AgentMismatch, AgentRequired, Unauthorized,
            ApiKeyMissing, ScopeMissing,
        ),
    },
    openapi_extra=_extra({_JSON: (ToolEvent,), NDJSON: (ToolEvent,)}, _TOOL_BODY, [HOST_SCOPE]),
)  # fmt: skip
async def import_events(
    request: Request,
    format: Annotated[  # noqa: A002 - the name on the wire
        str,
        Query(
            max_length=40,
            examples=["falco"],
            description="What the body is: `falco`, `tetragon` or `tracee`.",
        ),
    ] = "",
    agent_id: Annotated[
        str | None,
        Query(
            max_length=128, examples=["web-1"], description="Whose events these are; without it, as they say."
        ),
    ] = None,
) -> Response:
    """Take events or alerts of another tool, unchanged: one object, an array, or one object per line."""
    caller = await _judge(request, "host")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (_JSON, NDJSON):
        raise UnsupportedMediaType(
            f"An import is {_JSON} or {NDJSON}, not {media[:100] or 'without a Content-Type'}.",
            supported=[_JSON, NDJSON],
        )
    async with _read(request) as body:
        wanted = Import(_host_request(request, body, caller), format, agent_id)
        return _sent(await import_alerts(resources_of(request), request.app.state.backlog, wanted))


@router.post(
    "/api/v1/imports/{token}",
    operation_id="send_import",
    responses={
        207: {"model": HostAnswerShape, "description": "One result per event."},
        **refusals(*_IMPORTING, ImportTokenRefused),
    },
    openapi_extra=raw_body({_JSON: (ToolEvent,), NDJSON: (ToolEvent,)}, _TOOL_BODY),
)
async def send_import(
    request: Request, token: Annotated[str, Path(description="As `POST /agents/{id}/import-tokens` gave it.")]
) -> Response:
    """Take events or alerts of a tool that cannot set headers: the token says of which agent, and in which format."""
    opened = await _open(request, token)
    caller = _token_caller(opened)
    remember(request, caller)
    async with _read(request) as body:
        wanted = Import(_host_request(request, body, caller), opened.format, None)
        try:
            return _sent(await import_alerts(resources_of(request), request.app.state.backlog, wanted))
        except Unauthorized:  # its agent was removed a moment ago
            raise ImportTokenRefused("The import token is not good here.") from None


async def _open(request: Request, token: str) -> Opened:
    """Return what the token in the path opens.

    Raises:
        ImportTokenRefused: nothing; whoever tries many is told so less and less.
    """
    resources = resources_of(request)
    async with system_transaction(resources) as tx:
        opened = await issue.find_opened(tx, resources.clock, token)
    if opened is None:
        failures: Failures = request.app.state.failures
        failures.count(peer.current().address)
        raise ImportTokenRefused("The import token is not good here.")
    return opened


def _token_caller(opened: Opened) -> Caller:
    return Caller(
        tenant=opened.tenant,
        tenant_slug=opened.tenant_slug,
        kind="import_token",
        role="agent",
        scopes=frozenset({HOST_SCOPE}),
        credential_id=str(opened.token_id),
        agent_id=opened.agent_id,
    )


async def _judge(request: Request, family: Family | None) -> Caller | None:
    """Return the caller from the headers alone; None for a signed batch, which is judged with its body.

    Raises:
        FamilyMismatch: signed as a host agent, and said to be an app batch.
    """
    if is_signed(request.headers):
        if family == "host":
            return None
        if not {"x-api-key", "authorization"} & set(request.headers):
            raise FamilyMismatch("An agent of a host has signed, and the batch is said to be an app batch.")
    caller = await identify(request, metered=False)  # the backlog is the limit of telemetry
    if family == "host":
        caller.need(HOST_SCOPE)
    elif family == "app" or HOST_SCOPE not in caller.scopes:
        caller.need(APP_SCOPE)
    return caller


def _read(request: Request) -> Any:
    return read_body(request, LIMITS)


async def _either(request: Request, caller: Caller, family: Family | None, meter: Meter) -> Response:
    """Take a body that is of the app family, or that has to be looked at to know."""
    is_app = family == "app" or HOST_SCOPE not in caller.scopes
    if is_app:
        await meter.admit_request()
    try:
        async with _read(request) as body:
            cut = split_body(body.content, MEMBERS, max_items=MAX_ITEMS)
            told = family or tell_by_body(cut, has_key=True)
            if told == "host":
                caller.need(HOST_SCOPE)
                return await _host(request, body, caller)
            caller.need(APP_SCOPE)
            if not is_app:
                await meter.admit_request()
            return await _app(request, caller, body, cut, meter)
    except MalformedBody as problem:
        if APP_SCOPE in caller.scopes and problem.raw:
            named = named_project(request)
            sender = sender_of_request(request, caller)
            await keep_malformed(resources_of(request), caller, sender, named, problem)
        raise


async def _app(request: Request, caller: Caller, body: RawBody, cut: Cut, meter: Meter) -> Response:
    resources, project = resources_of(request), named_project(request)
    signature = request.headers.get(SIGNATURE_HEADER)
    verified = await check_signature(resources, caller, project_named(project, cut), body, signature)
    batch = AppRequest(
        caller=caller,
        content=body.content,
        cut=cut,
        project=project,
        sender=sender_of_request(request, caller),
        idempotency_key=app_key(request, body.content),
        verified=verified,
        meter=meter,
    )
    answer, replayed = await accept_app(resources, batch)
    return answer_app(answer, replayed=replayed)


async def _host(request: Request, body: RawBody, caller: Caller | None) -> Response:
    told = _host_request(request, body, caller)
    return _sent(await accept_host(resources_of(request), request.app.state.backlog, told))


def _host_request(request: Request, body: RawBody, caller: Caller | None) -> HostRequest:
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    return HostRequest(
        method="POST",
        url=f"{resources_of(request).settings.public_url}{path}{'?' if query else ''}{query}",
        headers=request.headers,
        query=request.query_params,
        wire=body.wire,
        content=body.content,
        key_caller=caller,
    )


def _sent(answer: HostAnswer) -> Response:
    return Response(answer.body, answer.status, headers=dict(answer.headers))


def _refuse_app_body(body: RawBody) -> None:
    """Refuse an app batch under a host agent's signature; what cannot be read is left to the host side."""
    if not any(f'"{name}"'.encode() in body.content for name in APP_MEMBERS):
        return
    try:
        cut = split_body(body.content, (), max_items=0)
    except MalformedBody:
        return
    if is_app_body(cut):
        raise FamilyMismatch("An agent of a host has signed an app batch.")
