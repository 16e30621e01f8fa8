import html

import httpx
import pytest

from guardhouse.foundation.errors import catalogue


async def test_every_problem_has_a_page_in_three_forms(client: httpx.AsyncClient) -> None:
    listed = {entry["code"]: entry for entry in (await client.get("/problems")).json()["data"]}
    problems = catalogue()
    assert set(listed) == {problem.code for problem in problems}
    for problem in problems:
        page = f"/problems/{problem.code}"
        facts = (await client.get(page)).json()
        assert facts == listed[problem.code]
        assert facts["cause"]
        written = await client.get(page, headers={"Accept": "text/markdown"})
        assert written.headers["content-type"].startswith("text/markdown")
        shown = await client.get(page, headers={"Accept": "text/html,*/*;q=0.8"})
        assert shown.headers["content-type"].startswith("text/html")
        for text in (written.text, html.unescape(shown.text)):
            assert problem.code in text
            assert problem.remediation in text


@pytest.mark.parametrize("code", ["nothing", "Not_Found", "%3Cscript%3E", "a.b"])
async def test_an_unknown_code_is_404(client: httpx.AsyncClient, code: str) -> None:
    answer = await client.get(f"/problems/{code}", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "<script>" not in answer.text
