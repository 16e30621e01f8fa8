"""`/llms.txt` and `/llms-full.txt`: the API for programs that read, made from the document; nothing of a tenant."""

import json
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import PlainTextResponse

from guardhouse.http.contract import document
from guardhouse.http.reference import shape_of

router = APIRouter()
_BODY: Final = "application/json"
# The calls that somebody who writes a client needs first; those that exist are shown.
MAIN_CALLS: Final = (
    "send_events",
    "list_events",
    "list_processes",
    "list_scores",
    "get_process",
    "create_agent",
    "create_key",
    "create_webhook",
    "replay_webhook",
    "stream_notices",
)


@router.get("/llms.txt", include_in_schema=False)
async def get_llms(request: Request) -> PlainTextResponse:
    """Serve what a program needs to begin: how to authenticate, the main calls, the rules of retrying."""
    return _text(request, MAIN_CALLS)


@router.get("/llms-full.txt", include_in_schema=False)
async def get_llms_full(request: Request) -> PlainTextResponse:
    """Serve the same with every operation."""
    return _text(request, None)


def _text(request: Request, names: tuple[str, ...] | None) -> PlainTextResponse:
    app = cast("FastAPI", request.app)
    made = document(app)
    base = app.state.resources.settings.public_url
    lines = [
        f"# {made['info']['title']}",
        f"> {made['info']['summary']} Self-hosted; version {made['info']['version']}.",
        "",
        "## Authentication",
        "- Send `X-API-Key: gh_live_…` or `Authorization: Bearer gh_live_…`, exactly one credential per request.",
        "- A key has scopes; each call below names the one it needs. `GET /api/v1/me` shows yours.",
        "- Never put a key into a URL.",
        "",
        "## Errors and retries",
        f"- Every refusal is `application/problem+json` with a stable `code`; {base}/problems lists cause and remedy.",
        "- Try again after `Retry-After` on 429 and 503; do not repeat other 4xx unchanged.",
        "- Send `Idempotency-Key` with each POST: a retry under the same key happens once.",
        "- Lists: follow `pagination.cursor` while `has_more`, with the same filters; a cursor lives an hour.",
        "",
        "## Calls" if names is None else "## Main calls",
    ]
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            if names is None or operation["operationId"] in names:
                lines += _call(method, path, operation)
    lines += [
        "",
        "## More",
        f"- [Every call]({base}/llms-full.txt)",
        f"- [OpenAPI document]({base}/api/v1/openapi.json)",
        f"- [Reference page]({base}/api/v1/docs)",
        f"- [Problems]({base}/problems)",
    ]
    return PlainTextResponse("\n".join(lines) + "\n")


def _call(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    scopes = sorted({s for way in operation.get("security", ()) for named in way.values() for s in named})
    asks = f" (scope {' or '.join(scopes)})" if scopes else ""
    lines = [f"- `{method.upper()} {path}`{asks}: {' '.join(operation['description'].split())}"]
    content = operation.get("requestBody", {}).get("content", {}).get(_BODY)
    if content is not None:
        example = json.dumps(content.get("example"), ensure_ascii=False)
        lines.append(f"  body {shape_of(content['schema'])}, such as `{example}`")
    good = next((s for s in operation["responses"] if s.startswith("2")), "")
    shapes = [
        shape_of(c.get("schema", {}))
        for c in operation["responses"].get(good, {}).get("content", {}).values()
    ]
    lines.append(f"  answers {good} {' or '.join(dict.fromkeys(shapes))}".rstrip())
    return lines
