"""`/problems/<code>`: what each problem means and how to mend it, as HTML, Markdown or JSON by Accept."""

from html import escape
from inspect import getdoc

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

from guardhouse.foundation.errors import NotFound, Problem, catalogue

router = APIRouter(tags=["problems"])


@router.get("/problems", operation_id="list_problems")
async def list_problems() -> dict[str, list[dict[str, str | int]]]:
    """List every problem code with its status."""
    return {"data": [_facts(problem) for problem in catalogue()]}


@router.get("/problems/{code}", operation_id="get_problem")
async def get_problem(request: Request, code: str) -> Response:
    """Explain one problem code."""
    problem = next((p for p in catalogue() if p.code == code), None)
    if problem is None:
        raise NotFound
    facts = _facts(problem)
    accept = request.headers.get("accept", "")
    if "text/html" in accept:
        return HTMLResponse(_html(facts))
    if "text/markdown" in accept:
        return PlainTextResponse(_markdown(facts), media_type="text/markdown")
    return JSONResponse(facts)


def _facts(problem: type[Problem]) -> dict[str, str | int]:
    return {
        "code": problem.code,
        "status": problem.status,
        "title": problem.title,
        "cause": (getdoc(problem) or "").partition("\n\n")[0],
        "remediation": problem.remediation,
    }


def _markdown(facts: dict[str, str | int]) -> str:
    heading = f"# {facts['title']} (`{facts['code']}`, {facts['status']})"
    return f"{heading}\n\n{facts['cause']}\n\n**Remedy:** {facts['remediation']}\n"


def _html(facts: dict[str, str | int]) -> str:
    safe = {name: escape(str(value)) for name, value in facts.items()}
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{safe['title']}</title>"
        f"<h1>{safe['title']}</h1><p><code>{safe['code']}</code>, status {safe['status']}</p>"
        f"<p>{safe['cause']}</p><p><strong>Remedy:</strong> {safe['remediation']}</p></html>"
    )
