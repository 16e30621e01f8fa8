import asyncio
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.http.health import Readiness
from guardhouse.identity import key_format
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone


async def test_a_good_day(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).text == "ok"
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
    found = (await client.get("/health")).json()
    assert (found["status"], found["components"]) == (
        "ok",
        {"database": "ok", "objects": "ok", "rate_limits": "in process"},
    )
    assert (await client.get("/api/v1/version")).json() == {"version": found["version"]}


@pytest.fixture
def nowhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"postgresql://u:p@127.0.0.1:{free.getsockname()[1]}/none"


async def test_without_a_database_it_lives_says_so_and_refuses(nowhere: str, tmp_path: Path) -> None:
    async with opened(nowhere, tmp_path) as lost, api.client_of(lost) as client:
        assert (await client.get("/healthz")).text == "ok"
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["database: unavailable"])
        assert (await client.get("/health")).status_code == 200
        answer = await client.get("/api/v1/me", headers={"X-API-Key": key_format.new_key("live")})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_database_that_was_never_migrated_is_not_ready(
    postgres: Clone, worker_id: str, tmp_path: Path
) -> None:
    server = postgres.server
    name = f"{server.prefix}_{worker_id}_bare"
    superuser = await asyncpg.connect(server.superuser_url)
    try:
        await superuser.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await superuser.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        async with opened(server.url(name, server.login), tmp_path) as bare, api.client_of(bare) as client:
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["database: migrations_pending"])
            assert (await client.get("/health")).json()["status"] == "unready"
    finally:
        await superuser.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await superuser.close()


async def test_draining_is_not_ready_even_before_the_first_check(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    resources.drain.set()
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
    found = await client.get("/health")
    assert (found.status_code, found.json()["age_seconds"]) == (200, None)


async def test_the_verdict_is_kept_for_two_seconds(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    readiness = Readiness(resources)
    assert await readiness.reasons() == []
    monkeypatch.setattr(Readiness, "_objects", lambda _self: "disk_full")
    assert await readiness.reasons() == []
    assert readiness.checked_at is not None
    readiness.checked_at -= 2.1
    assert await readiness.reasons() == ["objects: disk_full"]


async def test_a_full_disk_of_the_objects_is_told(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    (resources.settings.data_dir / "objects").mkdir()
    asked: list[Path] = []

    def usage(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert await Readiness(resources).reasons() == ["objects: disk_full"]
    assert asked == [resources.settings.data_dir / "objects"]


async def test_metrics_are_for_loopback_or_a_token(database_url: str, tmp_path: Path) -> None:
    async with (
        opened(database_url, tmp_path, metrics_token="tiger") as resources,
        api.running(resources) as app,
    ):
        await asyncio.sleep(0)
        for peer, headers, status in [
            ("127.0.0.1", {}, 200),
            ("::1", {}, 200),
            ("127.0.0.1", {"X-Forwarded-For": "1.2.3.4"}, 404),
            ("10.0.0.1", {}, 404),
            ("10.0.0.1", {"Authorization": "Bearer tiger"}, 200),
            ("10.0.0.1", {"Authorization": "Bearer lion"}, 404),
            ("", {}, 404),
        ]:
            transport = httpx.ASGITransport(app=app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url=api.BASE_URL) as client:
                assert (await client.get("/metrics", headers=headers)).status_code == status, (peer, headers)
