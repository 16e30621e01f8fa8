import asyncio
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.components import api
from server.tests.components.logged import written
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.identity import make

FIXED = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    "path", ["/healthz", "/nothing", "/api/v1/me", "/problems/not_found", "/api/v1/openapi.json"]
)
async def test_every_answer_has_the_headers_of_the_house(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert FIXED.items() <= dict(answer.headers).items()
    assert answer.headers["x-request-id"] == answer.headers["x-correlation-id"]
    assert answer.headers["x-response-time"].endswith("ms")
    assert "strict-transport-security" not in answer.headers


async def test_https_is_strict(database_url: str, tmp_path: Path) -> None:
    async with (
        opened(database_url, tmp_path, public_url="https://guard.example") as resources,
        api.client_of(resources) as client,
    ):
        assert (await client.get("/healthz")).headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("given", "kept"), [("req-7f3a", True), ("a b", False), ("x" * 129, False), ("<x>", False)]
)
async def test_a_correlation_id_goes_through_or_is_made(
    client: httpx.AsyncClient, given: str, *, kept: bool
) -> None:
    answer = await client.get("/nothing", headers={"X-Correlation-ID": given})
    assert (answer.headers["x-correlation-id"] == given) is kept
    assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]


async def test_limits_of_the_head(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz?" + "a" * (8192 - 9))).status_code in {200, 422}
    answer = await client.get("/healthz?" + "a" * (8192 - 7))
    assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")
    answer = await client.get("/healthz", headers={"X-Long": "a" * 33_000})
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("url", ["/api/v1/agents?q=%00", "/api/v1/agents/a%00b", "/%00"])
async def test_a_nul_in_the_url_is_422(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_text")


@pytest.mark.parametrize("url", ["/api/v1/agents/%2500", "/api/v1/agents/%ED%A0%80", "/api/v1/agents/%FF"])
async def test_other_strange_urls_are_just_absent(
    client: httpx.AsyncClient, resources: Resources, url: str
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    assert (await client.get(url, headers=make.bearing(text))).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/me", "/api/v1/agents", "/problems", "/nothing"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, resources: Resources, path: str) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    got = await client.get(path, headers=make.bearing(text))
    head = await client.head(path, headers=make.bearing(text))
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if got.status_code == 200:
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_a_stream_ends(served: str, resources: Resources) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    async with httpx.AsyncClient(base_url=served) as client, asyncio.timeout(5):
        for _ in range(3):
            head = await client.head("/api/v1/stream", headers=make.bearing(text))
            assert head.status_code == 200
            assert head.headers["content-type"].startswith("text/event-stream")
        assert (await client.get("/healthz")).text == "ok"


async def test_the_real_server_says_nothing_of_itself(served: str) -> None:
    async with httpx.AsyncClient(base_url=served) as client:
        answer = await client.get("/healthz")
        assert "server" not in answer.headers
        assert (await client.head("/api/v1/version")).content == b""
        assert (await client.get("/nothing")).json()["code"] == "not_found"


async def test_what_is_private_is_not_stored_by_caches(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    for path in ("/api/v1/me", "/api/v1/agents", "/api/v1/agents/nothing"):
        assert (await client.get(path, headers=make.bearing(text))).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await client.get("/healthz")).headers


async def test_cors_is_off_unless_origins_are_named(
    database: Clone, tmp_path: Path, client: httpx.AsyncClient
) -> None:
    asked = {"Origin": "https://console.example", "Access-Control-Request-Method": "GET"}
    assert "access-control-allow-origin" not in (await client.options("/api/v1/me", headers=asked)).headers
    async with (
        opened(database.database_url, tmp_path, cors_origins=["https://console.example"]) as resources,
        api.client_of(resources) as named,
    ):
        allowed = await named.options("/api/v1/me", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://console.example"
        assert "access-control-allow-credentials" not in allowed.headers
        assert FIXED.items() <= dict(allowed.headers).items()
        for origin in ("null", "https://console.example.evil", "http://console.example"):
            refused = await named.options("/api/v1/me", headers=asked | {"Origin": origin})
            assert "access-control-allow-origin" not in refused.headers


async def test_a_canary_key_is_in_no_log_and_no_problem(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    _, text = await make.key(resources, await make.tenant(resources))
    with written() as lines:
        texts = [
            (await client.get(path, headers=headers)).text
            for path, headers in [
                ("/api/v1/me", make.bearing(text)),
                ("/api/v1/me", make.bearing(text[:-1])),
                (f"/api/v1/me?k={text}", {}),
                (f"/api/v1/agents/{text}", {}),
                ("/api/v1/me", {"Authorization": f"Bearer {text}x"}),
                ("/nothing", {"X-Correlation-ID": text}),
                ("/api/v1/agents", make.bearing(text) | {"Accept": text}),
            ]
        ]
        posted = await client.post(
            "/api/v1/agents", content=text, headers=make.bearing(text) | {"Content-Type": text}
        )
    assert '"event": "request"' in lines.getvalue()
    assert text[12:30] not in "".join([*texts, lines.getvalue()])
    assert posted.status_code == 415
