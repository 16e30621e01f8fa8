from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from pydantic import BaseModel, Field

from guardhouse.foundation.marked_members import BETA
from guardhouse.foundation.request import BETA_TYPE, api_router
from guardhouse.foundation.resources import Resources
from guardhouse.http import accept
from server.tests.components import api
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
        ("/api/v1/me", "application/vnd.guardhouse.beta+json", 200),
        ("/api/v1/me", "application/vnd.guardhouse.beta+json;q=0", 406),
        ("/api/v1/me", "application/vnd.guardhouse.gamma+json", 406),
        ("/api/v1/me", "application/vnd.other+json, text/html", 406),
        ("/api/v1/me", "application/json;q=0, */*", 406),
        ("/api/v1/me", "application/json;q=1.5.1", 406),
        ("/api/v1/stream", "application/vnd.guardhouse.beta+json", 406),
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
    assert answer.json()["supported"] == ["application/json", BETA_TYPE]


@pytest.mark.parametrize(
    ("accepted", "weight"),
    [
        ("application/json", 1.0),
        ("*/*;q=0.1, application/*;q=0.4, application/json;q=0.7", 0.7),
        ("application/*;q=0.4, */*", 0.4),
        ("text/html", 0.0),
        ("application/json;q=0.5;x=y, text/html", 0.5),
        ("application/json;q=2", 0.0),
        ("application/json;q=", 0.0),
        (",,;;q=1,", 0.0),
    ],
)
def test_the_most_specific_range_decides(accepted: str, weight: float) -> None:
    assert accept.quality(accepted, "application/json") == weight


@pytest.mark.parametrize(
    ("accepted", "beta"),
    [
        (BETA_TYPE, True),
        (f"{BETA_TYPE}, */*", True),
        (f"{BETA_TYPE}, application/json", True),
        (f"{BETA_TYPE};q=0.5, application/json", False),
        (f"{BETA_TYPE};q=0, */*", False),
        ("application/json", False),
        ("*/*", False),
        ("application/*", False),
        ("", False),
    ],
)
async def test_beta_is_asked_for_by_name(
    client: httpx.AsyncClient, resources: Resources, accepted: str, *, beta: bool
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    answer = await client.get("/api/v1/me", headers=make.bearing(text) | {"Accept": accepted})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (BETA_TYPE if beta else "application/json")


class Inner(BaseModel):
    old: int = 1
    new: Annotated[int, Field(json_schema_extra={BETA: True})] = 2


class Outer(BaseModel):
    items: list[Inner] = [Inner()]
    one: Inner | None = Inner()
    flag: Annotated[bool, Field(json_schema_extra={BETA: True})] = True


@pytest.fixture
async def with_beta(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    router = api_router("test")

    @router.get("/stable")
    async def stable() -> Outer:
        return Outer()

    @router.get("/young", openapi_extra={BETA: True})
    async def young() -> Outer:
        return Outer()

    async with api.running(resources) as app:
        app.include_router(router)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=api.BASE_URL) as client:
            yield client


async def test_beta_members_are_there_for_those_who_ask(with_beta: httpx.AsyncClient) -> None:
    plain = await with_beta.get("/api/v1/stable")
    assert plain.json() == {"items": [{"old": 1}], "one": {"old": 1}}
    assert int(plain.headers["content-length"]) == len(plain.content)
    asked = await with_beta.get("/api/v1/stable", headers={"Accept": BETA_TYPE})
    assert asked.json() == {"items": [{"old": 1, "new": 2}], "one": {"old": 1, "new": 2}, "flag": True}


async def test_a_beta_operation_is_406_without_asking(with_beta: httpx.AsyncClient) -> None:
    for accepted in ("", "application/json", "*/*"):
        refused = await with_beta.get("/api/v1/young", headers={"Accept": accepted})
        assert (refused.status_code, refused.json()["code"]) == (406, "beta_required")
        assert refused.json()["supported"] == [BETA_TYPE]
    asked = await with_beta.get("/api/v1/young", headers={"Accept": BETA_TYPE})
    assert (asked.status_code, asked.headers["content-type"]) == (200, BETA_TYPE)
