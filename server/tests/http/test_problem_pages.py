import ast
import html
import re
from pathlib import Path

import httpx
import pytest

import guardhouse
from guardhouse.foundation.errors import catalogue
from guardhouse.http.html_page import POLICY
from server.tests.components.operations import operations_of

TESTS = Path(__file__).parents[1]
PACKAGE = Path(guardhouse.__path__[0])


async def test_every_problem_has_a_page_in_three_forms(client: httpx.AsyncClient) -> None:
    listed = {entry["code"]: entry for entry in (await client.get("/problems")).json()["data"]}
    problems = catalogue()
    assert set(listed) == {problem.code for problem in problems}
    for problem in problems:
        page = f"/problems/{problem.code}"
        facts = (await client.get(page)).json()
        assert facts == listed[problem.code]
        assert facts["cause"]
        assert facts["example"]["status"] == problem.status
        assert facts["example"]["type"] == facts["url"] == f"http://127.0.0.1:8000{page}"
        written = await client.get(page, headers={"Accept": "text/markdown"})
        assert written.headers["content-type"].startswith("text/markdown")
        shown = await client.get(page, headers={"Accept": "text/html,*/*;q=0.8"})
        assert shown.headers["content-type"].startswith("text/html")
        for text in (written.text, html.unescape(shown.text)):
            assert problem.code in text
            assert problem.remediation in text
            assert f'"type": "{facts["url"]}"' in text


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/markdown"),
        ("text/html;q=0.5, text/markdown;q=0.4", "text/html"),
        ("text/html;q=0.3, application/json;q=0.9", "application/json"),
        ("text/markdown, text/html;q=0", "text/markdown"),
        ("image/png, text/html;q=0.1", "text/html"),
    ],
)
@pytest.mark.parametrize("path", ["/problems", "/problems/conflict"])
async def test_the_form_follows_the_quality(
    client: httpx.AsyncClient, path: str, accept: str, given: str
) -> None:
    answer = await client.get(path, headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == given


async def test_what_no_page_is_in_is_406(client: httpx.AsyncClient) -> None:
    answer = await client.get("/problems/conflict", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


async def test_the_index_leads_to_every_page(client: httpx.AsyncClient) -> None:
    shown = await client.get("/problems", headers={"Accept": "text/html"})
    assert shown.headers["content-security-policy"] == POLICY
    links = re.findall(r'href="(/problems/[a-z_]+)"', shown.text)
    assert links == [f"/problems/{problem.code}" for problem in catalogue()]
    assert "<script" not in shown.text


@pytest.mark.parametrize("code", ["nothing", "Not_Found", "%3Cscript%3E", "a.b"])
async def test_an_unknown_code_is_404(client: httpx.AsyncClient, code: str) -> None:
    answer = await client.get(f"/problems/{code}", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "<script>" not in answer.text


async def test_the_contract_names_no_code_that_has_no_page_and_the_other_way_round(
    client: httpx.AsyncClient,
) -> None:
    known = {problem.code: problem for problem in catalogue() if problem.__module__.startswith("guardhouse.")}
    named = {
        code
        for operation in await operations_of(client)
        for response in operation.described["responses"].values()
        for code in response.get("x-problem-codes", ())
    }
    assert named <= set(known)
    # What no operation of the document answers: a subclass that replaces it does, or it waits for its operation.
    unnamed = {code for code in known if code not in named and not known[code].__subclasses__()}
    assert unnamed <= UNNAMED, unnamed - UNNAMED


# Codes of answers that stand in no operation's list, each with its reason.
UNNAMED = {
    "beta_required",  # no operation is in beta today
    "draining",  # told by /readyz and by the stream's goodbye
    "precondition_failed",  # foundation/etag, for editable resources
    "precondition_required",  # likewise
    "member_suspended",  # said at sign-in, on its page or before a session is opened
    "issuer_unavailable",  # a token of an issuer that is away, on any operation
    "rate_limiter_away",  # on any operation, where GUARDHOUSE_RATE_LIMIT_FALLBACK says closed
    "batch_over_limit",  # waits for the first operation whose calls cost more than one
}


def _raised() -> set[str]:
    """Return the names of everything that is called or raised somewhere in the server."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found.add(getattr(node.func, "id", getattr(node.func, "attr", "")))
            elif isinstance(node, ast.Raise) and isinstance(node.exc, (ast.Name, ast.Attribute)):
                found.add(getattr(node.exc, "id", getattr(node.exc, "attr", "")))
    return found


def test_every_problem_is_raised_somewhere_and_provoked_by_a_test() -> None:
    raised = _raised()
    tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    ours = [problem for problem in catalogue() if problem.__module__.startswith("guardhouse.")]
    assert {problem.__name__ for problem in ours} - raised - NEVER_RAISED == set()
    named = {p.code for p in ours if f'"{p.code}"' in tests or re.search(rf"\b{p.__name__}\b", tests)}
    assert {problem.code for problem in ours} - named == set()


# Named by their code only: Draining is what /readyz says, Problem is the base of them all.
NEVER_RAISED = {"Draining", "Problem"}
