import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import guardhouse
from guardhouse.http.cors import EXPOSED
from guardhouse.settings import Settings
from server.tests.components import api
from server.tests.components.opened import opened

ORIGIN = "https://console.example"
# What clients send and we never answer with.
REQUEST_ONLY = {"Guardhouse-Family", "Guardhouse-Webhooks", "X-Guardhouse-Console"}


@pytest.fixture
async def named(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        opened(database_url, tmp_path, cors_origins=[ORIGIN]) as resources,
        api.client_of(resources) as client,
    ):
        yield client


async def test_a_preflight_of_a_named_origin(named: httpx.AsyncClient) -> None:
    answer = await named.options(
        "/api/v1/keys",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key, content-type",
        },
    )
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-headers"] == "x-api-key, content-type"
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-max-age"] == "600"
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/me", "/nothing"])
async def test_a_page_of_a_named_origin_may_read_answers_and_refusals(
    named: httpx.AsyncClient, path: str
) -> None:
    answer = await named.get(path, headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == ", ".join(EXPOSED)
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["null", f"{ORIGIN}.evil", "http://console.example", f"{ORIGIN}:8443", "", "*"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_any_other_origin_is_told_nothing(named: httpx.AsyncClient, method: str, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    answer = await named.request(method, "/api/v1/version", headers=asked)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.headers["vary"] == "Origin"
    assert answer.status_code == (200 if method == "GET" else 405)


async def test_hostile_header_names_are_not_given_back(named: httpx.AsyncClient) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "a b; c",
    }
    assert "access-control-allow-headers" not in (await named.options("/healthz", headers=asked)).headers


@pytest.mark.parametrize("origins", ["*", "null", "https://a.example,*"])
def test_a_wildcard_stops_the_start(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("GUARDHOUSE_CORS_ORIGINS", origins)
    with pytest.raises(ValueError, match="exact origins"):
        Settings()


def test_every_header_of_ours_is_exposed() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(guardhouse.__path__[0]).rglob("*.py"))
    ours = set(re.findall(r"""["']((?:X-)?Guardhouse-[A-Z][A-Za-z-]+)["':]""", source))
    assert ours - REQUEST_ONLY <= set(EXPOSED)
    assert len(ours & set(EXPOSED)) >= 1
