import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.identity import make

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/api/v1/me", "application/json", 200),
        ("/api/v1/me", "Application/JSON; charset=utf-8", 200),
        ("/api/v1/me", "text/html, application/*;q=0.5", 200),
        ("/api/v1/me", BROWSER, 200),
        ("/api/v1/me", "", 200),
        ("/api/v1/me", "text/html", 406),
        ("/api/v1/me", "application/json;q=0", 406),
        ("/api/v1/me", "application/json;q=0.000, text/*", 406),
        ("/api/v1/me", "application/vnd.guardhouse.beta+json", 406),
        ("/api/v1/me", "nonsense", 406),
        ("/api/v1/stream", "application/json", 406),
        ("/api/v1/stream", "text/event-stream", 200),
        ("/healthz", "application/json", 200),
    ],
)
async def test_accept(
    client: httpx.AsyncClient, resources: Resources, path: str, accept: str, status: int
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    answer = await client.head(path, headers=make.bearing(text) | {"Accept": accept})
    assert answer.status_code == status


async def test_the_refusal_is_a_problem_all_the_same(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/me", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.json()["supported"] == ["application/json"]
