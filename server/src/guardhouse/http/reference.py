"""`/api/v1/docs`: the reference page, and `/llms.txt`: the same for programs that read; both from the document.

The page is plain HTML that works without script, with an anchor per operation; nothing is loaded from elsewhere.
"""

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, PlainTextResponse

from guardhouse.http.contract import document
from guardhouse.http.html_page import html_page, table

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


@router.get("/api/v1/docs", include_in_schema=False)
async def get_docs(request: Request) -> HTMLResponse:
    """Serve the reference page."""
    return reference_page(document(cast("FastAPI", request.app)))


@router.get("/llms.txt", include_in_schema=False)
async def get_llms(request: Request) -> PlainTextResponse:
    """Serve what a program needs to begin: how to authenticate, the main calls, the rules of retrying."""
    return _text(request, MAIN_CALLS)


@router.get("/llms-full.txt", include_in_schema=False)
async def get_llms_full(request: Request) -> PlainTextResponse:
    """Serve the same with every operation."""
    return _text(request, None)


def reference_page(made: dict[str, Any]) -> HTMLResponse:
    """Return the page of a document."""
    by_tag = _by_tag(made)
    info = made["info"]
    body = [
        f"<p>{escape(info['summary'])} Version {escape(info['version'])}.</p>",
        f'<p><a href="/api/v1/openapi.json">OpenAPI {made["openapi"]} document</a></p>',
        '<p><a href="/problems">Every problem</a></p>',
        '<nav aria-label="Areas"><ul>',
        *(f'<li><a href="#area-{escape(tag)}">{escape(tag)}</a></li>' for tag in by_tag),
        '<li><a href="#area-sent">sent by us</a></li>',
        "</ul></nav>",
    ]
    descriptions = {tag["name"]: tag["description"] for tag in made["tags"]}
    for tag, operations in by_tag.items():
        body.append(
            f'<h2 id="area-{escape(tag)}">{escape(tag)}</h2><p class="soft">{escape(descriptions[tag])}</p>'
        )
        body += [_operation(made, *each) for each in operations]
    body.append('<h2 id="area-sent">Sent by us</h2>')
    body += [_sent(kind, methods["post"]) for kind, methods in made["webhooks"].items()]
    return html_page("API reference", body)


def _by_tag(made: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    found: dict[str, list[tuple[str, str, dict[str, Any]]]] = {tag["name"]: [] for tag in made["tags"]}
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append((method.upper(), path, operation))
    return {tag: operations for tag, operations in found.items() if operations}


def _operation(made: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    name = escape(operation["operationId"])
    parts = [f"<p>{escape(operation['description'])}</p>"]
    scopes = sorted({s for way in operation.get("security", ()) for named in way.values() for s in named})
    asks = ", ".join(f"<code>{escape(s)}</code>" for s in scopes) or "any credential"
    parts.append(f"<p>Needs {asks}.</p>" if "security" in operation else "<p>Open to anybody.</p>")
    aliases = operation.get("x-aliases", ())
    if aliases:
        parts.append(f"<p>Also: {', '.join(f'<code>{escape(a)}</code>' for a in aliases)}</p>")
    if operation.get("parameters"):
        rows = [
            (
                f"<code>{escape(p['name'])}</code>",
                p["in"] + (", required" if p.get("required") else ""),
                escape(_shape(p["schema"])),
                escape(p.get("description", "")),
            )
            for p in operation["parameters"]
        ]
        parts += ["<h3>Parameters</h3>", table(("name", "in", "type", "meaning"), rows)]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(
            f"<h3>Body</h3><p><code>{escape(media_type)}</code>: {escape(_shape(content['schema']))}</p>"
        )
        parts += [_members(made, content["schema"]), _example(content)]
    parts += ["<h3>Answers</h3>", table(("status", "content"), _answers(operation))]
    summary = (
        f'<span class="verb">{method}</span> <code>{escape(path)}</code> <span class="soft">{name}</span>'
    )
    return f'<details id="{name}"><summary>{summary}</summary><div>{"".join(parts)}</div></details>'


def _answers(operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for status, response in operation["responses"].items():
        codes = response.get("x-problem-codes")
        if codes is not None:
            yield status, ", ".join(f'<a href="/problems/{code}"><code>{code}</code></a>' for code in codes)
            continue
        for media_type, content in response.get("content", {"": {}}).items():
            shape = f"{escape(media_type)} {escape(_shape(content.get('schema', {})))}"
            yield status, f"{escape(response['description'])} {shape}"


def _members(made: dict[str, Any], schema: dict[str, Any]) -> str:
    resolved = made["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    rows = [
        (
            f"<code>{escape(name)}</code>" + (" required" if name in resolved.get("required", ()) else ""),
            escape(_shape(member)),
            escape(member.get("description", "")),
        )
        for name, member in resolved.get("properties", {}).items()
    ]
    return table(("member", "type", "meaning"), rows) if rows else ""


def _example(content: dict[str, Any]) -> str:
    if "example" not in content:
        return ""
    text = escape(json.dumps(content["example"], indent=2, ensure_ascii=False))
    return f'<pre tabindex="0"><code>{text}</code></pre>'


def _sent(kind: str, operation: dict[str, Any]) -> str:
    content = operation["requestBody"]["content"][_BODY]
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><code>{escape(kind)}</code> '
        f'<span class="soft">{escape(operation["description"])}</span></summary>'
        f"<div>{_example(content)}</div></details>"
    )


def _shape(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(_shape(each) for each in schema[choice])
    if schema.get("type") == "array":
        return f"list of {_shape(schema['items'])}"
    return " ".join(str(schema[key]) for key in ("type", "format") if key in schema)


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
        lines.append(f"  body {_shape(content['schema'])}, such as `{example}`")
    good = next((s for s in operation["responses"] if s.startswith("2")), "")
    shapes = [
        _shape(c.get("schema", {})) for c in operation["responses"].get(good, {}).get("content", {}).values()
    ]
    lines.append(f"  answers {good} {' or '.join(dict.fromkeys(shapes))}".rstrip())
    return lines
