"""Routes of the telemetry door: events of both families, and metrics.

Credentials are judged from the headers before a byte of the body is read; no redirect is ever sent here.
"""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from guardhouse.agents.resolve_project import ProjectMismatch, UnknownProject
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
from guardhouse.foundation.request import StrictRoute, resources_of
from guardhouse.identity.caller import Caller, identify
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing
from guardhouse.identity.signatures import Unauthorized
from guardhouse.ingest import replay
from guardhouse.ingest.accept_app import MAX_ITEMS, MEMBERS, AppRequest, accept_app, keep_malformed
from guardhouse.ingest.accept_host import AgentMismatch, AgentRequired, HostRequest, accept_host
from guardhouse.ingest.decode_body import split_body
from guardhouse.ingest.decode_lenient import Cut, MalformedBody, storable_text
from guardhouse.ingest.host_batch import BatchTooLarge
from guardhouse.ingest.read_body import CompressionBomb, Limits, RawBody, read_body
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
from guardhouse.ingest.wire import AppAnswerShape, AppBatch, HostAnswerShape, HostBatch
from guardhouse.scores.wait import IngestBacklogged

APP_SCOPE: Final = "telemetry:write"
HOST_SCOPE: Final = "events:write"
MAX_INSTALLATION: Final = 64
LIMITS: Final = Limits()
_JSON: Final = "application/json"
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
    return await _either(request, caller, family)


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
    return await _either(request, caller, "app")


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


async def _either(request: Request, caller: Caller, family: Family | None) -> Response:
    """Take a body that is of the app family, or that has to be looked at to know."""
    try:
        async with _read(request) as body:
            cut = split_body(body.content, MEMBERS, max_items=MAX_ITEMS)
            told = family or tell_by_body(cut, has_key=True)
            if told == "host":
                caller.need(HOST_SCOPE)
                return await _host(request, body, caller)
            caller.need(APP_SCOPE)
            return await _app(request, caller, body, cut)
    except MalformedBody as problem:
        if APP_SCOPE in caller.scopes and problem.raw:
            named = _project(request)
            await keep_malformed(resources_of(request), caller, named, problem, problem.raw)
        raise


async def _app(request: Request, caller: Caller, body: RawBody, cut: Cut) -> Response:
    key = request.headers.get("idempotency-key")
    answer, replayed = await accept_app(
        resources_of(request),
        AppRequest(
            caller=caller,
            content=body.content,
            cut=cut,
            project=_project(request),
            installation=_installation(request),
            idempotency_key=None
            if key is None
            else replay.batch_key(key, None, body.content, legacy=False).key,
        ),
    )
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(msgspec.json.encode(answer), media_type=_JSON, headers=headers)


async def _host(request: Request, body: RawBody, caller: Caller | None) -> Response:
    resources = resources_of(request)
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    answer = await accept_host(
        resources,
        request.app.state.backlog,
        HostRequest(
            method="POST",
            url=f"{resources.settings.public_url}{path}{'?' if query else ''}{query}",
            headers=request.headers,
            query=request.query_params,
            wire=body.wire,
            content=body.content,
            key_caller=caller,
        ),
    )
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


def _project(request: Request) -> str | None:
    named = request.headers.get("x-project-id", "").strip()
    return storable_text(named) or None


def _installation(request: Request) -> str | None:
    said = request.headers.get("x-agent-install-id", "").strip()
    return said if 0 < len(said) <= MAX_INSTALLATION and said.isascii() and said.isprintable() else None
