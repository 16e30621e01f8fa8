"""`/api/v1/docs`: the reference page, made from the document.

Plain HTML that works without script, with an anchor per operation; nothing is loaded from elsewhere.
"""

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse

from guardhouse.http.contract import document
from guardhouse.http.html_page import html_page, table

router = APIRouter()
_BODY: Final = "application/json"


@router.get("/api/v1/docs", include_in_schema=False)
async def get_docs(request: Request) -> HTMLResponse:
    """Serve the reference page."""
    return reference_page(document(cast("FastAPI", request.app)))


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
        '<li><a href="#area-shapes">shapes</a></li>',
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
    body.append('<h2 id="area-shapes">Shapes</h2>')
    body += [_named(name, schema) for name, schema in sorted(made["components"]["schemas"].items())]
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
                _linked(p["schema"]),
                escape(p.get("description", "")),
            )
            for p in operation["parameters"]
        ]
        parts += ["<h3>Parameters</h3>", table(("name", "in", "type", "meaning"), rows)]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Body</h3><p><code>{escape(media_type)}</code>: {_linked(content['schema'])}</p>")
        schema = made["components"]["schemas"].get(shape_of(content["schema"]), content["schema"])
        parts += [_members(schema), _example(content)]
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
            yield status, f"<code>{escape(media_type)}</code> {_linked(content.get('schema', {}))}"


def _members(schema: dict[str, Any]) -> str:
    rows = [
        (
            f"<code>{escape(name)}</code>" + (" required" if name in schema.get("required", ()) else ""),
            _linked(member),
            escape(member.get("description", "")),
        )
        for name, member in schema.get("properties", {}).items()
    ]
    return table(("member", "type", "meaning"), rows) if rows else ""


def _named(name: str, schema: dict[str, Any]) -> str:
    values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
    about = escape(schema.get("description", ""))
    return (
        f'<details id="shape-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<div><p>{about}</p>{_members(schema) or f'<p>{values or _linked(schema)}</p>'}</div></details>"
    )


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


def shape_of(schema: dict[str, Any]) -> str:
    """Return the type of a schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(shape_of(each) for each in schema[choice])
    if schema.get("type") == "array":
        return f"list of {shape_of(schema['items'])}"
    return " ".join(str(schema[key]) for key in ("type", "format") if key in schema)


def _linked(schema: dict[str, Any]) -> str:
    """Return the same as HTML, each named shape leading to its place on the page."""
    if "$ref" in schema:
        name = escape(shape_of(schema))
        return f'<a href="#shape-{name}">{name}</a>'
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return " or ".join(_linked(each) for each in schema[choice])
    if schema.get("type") == "array":
        return f"list of {_linked(schema['items'])}"
    return escape(shape_of(schema))
