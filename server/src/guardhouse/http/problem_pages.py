"""`/problems/<code>`: what each problem means, how to mend it and what it looks like, as HTML, Markdown or JSON."""

import json
from html import escape
from inspect import getdoc
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse

from guardhouse.foundation.errors import NotAcceptable, NotFound, Problem, catalogue
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import resources_of
from guardhouse.http.accept import best
from guardhouse.http.html_page import html_page, table

JSON: Final = "application/json"
MARKDOWN: Final = "text/markdown"
HTML: Final = "text/html"
OFFERS: Final = (JSON, MARKDOWN, HTML)
EXAMPLE_ID: Final = "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10"
router = APIRouter(tags=["problems"])


class ProblemExample(BaseModel):
    """What such a problem looks like; extension members of the occurrence come on top."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    correlation_id: str
    remediation: str


class ProblemPage(BaseModel):
    """One problem code: its cause, its remedy and an example."""

    code: str
    status: int
    title: str
    cause: str
    remediation: str
    url: str
    example: ProblemExample


class ProblemIndex(BaseModel):
    """Every problem code."""

    data: list[ProblemPage]


_MEDIA: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {MARKDOWN: {"schema": {"type": "string"}}, HTML: {"schema": {"type": "string"}}}}
}


@router.get(
    "/problems",
    operation_id="list_problems",
    response_model=ProblemIndex,
    responses={**refusals(NotAcceptable), **_MEDIA},
)
async def list_problems(request: Request) -> Response:
    """List every problem code with its status, cause and remedy."""
    pages = [page_of(problem, resources_of(request).settings.public_url) for problem in catalogue()]
    wanted = _wanted(request)
    if wanted == HTML:
        rows = [
            (
                f'<a href="/problems/{page.code}"><code>{page.code}</code></a>',
                str(page.status),
                escape(page.title),
                escape(page.cause),
            )
            for page in pages
        ]
        intro = "<p>Every refusal is <code>application/problem+json</code> (RFC 9457) with one of these codes.</p>"
        return html_page("Problems", [intro, table(("code", "status", "title", "cause"), rows)])
    if wanted == MARKDOWN:
        lines = [f"- [`{page.code}`]({page.url}) {page.status} {page.title}: {page.cause}" for page in pages]
        return PlainTextResponse("# Problems\n\n" + "\n".join(lines) + "\n", media_type=MARKDOWN)
    return JSONResponse(ProblemIndex(data=pages).model_dump())


@router.get(
    "/problems/{code}",
    operation_id="get_problem",
    response_model=ProblemPage,
    responses={**refusals(NotFound, NotAcceptable), **_MEDIA},
)
async def get_problem(request: Request, code: str) -> Response:
    """Explain one problem code."""
    problem = next((p for p in catalogue() if p.code == code), None)
    if problem is None:
        raise NotFound
    page = page_of(problem, resources_of(request).settings.public_url)
    wanted = _wanted(request)
    if wanted == HTML:
        return html_page(page.title, _html(page))
    if wanted == MARKDOWN:
        return PlainTextResponse(_markdown(page), media_type=MARKDOWN)
    return JSONResponse(page.model_dump())


def page_of(problem: type[Problem], public_url: str) -> ProblemPage:
    """Return what is known of a problem."""
    cause = (getdoc(problem) or "").partition("\n\n")[0].replace("\n", " ")
    url = f"{public_url}/problems/{problem.code}"
    return ProblemPage(
        code=problem.code,
        status=problem.status,
        title=problem.title,
        cause=cause,
        remediation=problem.remediation,
        url=url,
        example=ProblemExample(
            type=url,
            title=problem.title,
            status=problem.status,
            detail=cause,
            instance=f"urn:uuid:{EXAMPLE_ID}",
            code=problem.code,
            correlation_id="req-7f3a9c0d11e24b58",
            remediation=problem.remediation,
        ),
    )


def _wanted(request: Request) -> str:
    accepted = ",".join(request.headers.getlist("accept"))
    wanted = best(accepted, OFFERS)
    if wanted is None:
        raise NotAcceptable("Problem pages are JSON, Markdown or HTML.", supported=list(OFFERS))
    return wanted


def _markdown(page: ProblemPage) -> str:
    example = json.dumps(page.example.model_dump(), indent=2)
    return (
        f"# {page.title} (`{page.code}`, {page.status})\n\n{page.cause}\n\n**Remedy:** {page.remediation}\n\n"
        f"```json\n{example}\n```\n\n[All problems](/problems)\n"
    )


def _html(page: ProblemPage) -> list[str]:
    example = json.dumps(page.example.model_dump(), indent=2)
    return [
        f'<p class="soft"><code>{page.code}</code>, status {page.status}</p>',
        f"<p>{escape(page.cause)}</p>",
        f"<h2>Remedy</h2><p>{escape(page.remediation)}</p>",
        f'<h2>Example</h2><pre tabindex="0"><code>{escape(example)}</code></pre>',
        '<p><a href="/problems">All problems</a></p>',
    ]
