"""The ASGI middleware around real applications."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request, WebSocket, WebSocketException
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

import guard_agent
from agent.tests.middleware.asgi_driver import client_of, connect, running
from agent.tests.middleware.recording_agent import RecordingAgent
from guard_agent import DynamicRules, GuardMiddleware, emit, lifespan, wrap
from guard_agent.encryption import EncryptionConfigError


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> dict[str, int]:
        return {"id": item_id}

    @app.get("/answer/{status}")
    async def answer(status: int) -> None:
        raise HTTPException(status)

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("a secret of the application")

    @app.post("/pay")
    async def pay(request: Request) -> None:
        request.scope["guard"].emit("custom_request_check", reason="odd amount", amount=3)
        emit("behavioral_violation", reason="from below")

    @app.get("/health")
    @app.get("/health/deep")
    async def health() -> None:
        raise HTTPException(401)

    @app.get("/healthy")
    async def healthy() -> None:
        raise HTTPException(401)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        if socket.query_params.get("deny"):
            raise WebSocketException(1008)
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    return app


def guarded(app: Any, **options: Any) -> tuple[GuardMiddleware, RecordingAgent]:
    agent = RecordingAgent()
    return GuardMiddleware(app, agent=agent, **options), agent


async def test_metrics_carry_the_route_template() -> None:
    app, agent = guarded(fastapi_app())
    async with client_of(app) as client:
        for number in (1, 2, 3):
            assert (await client.get(f"/items/{number}")).status_code == 200
        await client.get("/nothing/here")
    measured = agent.measured()
    assert measured["request_count", "/items/{item_id}", "200"] == 3
    assert measured["bandwidth_usage", "/items/{item_id}", "200"] == 3 * len('{"id":1}')
    assert measured["response_time", "/items/{item_id}", "200"] > 0
    assert ("error_rate", "/items/{item_id}", "200") not in measured
    assert measured["error_rate", "(unmatched)", "404"] == 1
    assert agent.metrics[0].tags == {"method": "GET", "status": "200"}
    assert agent.events == []


async def test_a_mounted_application_has_its_whole_template() -> None:
    def show(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(request.path_params["name"])

    inner = Starlette(routes=[Route("/users/{name}", show)])
    app, agent = guarded(Starlette(routes=[Mount("/v1", app=inner)]))
    async with client_of(app) as client:
        await client.get("/v1/users/ada")
    assert ("request_count", "/v1/users/{name}", "200") in agent.measured()


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        (401, "authentication_failed"),
        (403, "access_denied"),
        (413, "content_filtered"),
        (415, "content_filtered"),
        (429, "rate_limited"),
    ],
)
async def test_an_answer_becomes_an_event(status: int, event_type: str) -> None:
    app, agent = guarded(fastapi_app())
    async with client_of(app) as client:
        await client.get(f"/answer/{status}")
    (event,) = agent.events
    assert (event.event_type, event.status_code, event.ip_address) == (event_type, status, "203.0.113.7")
    assert (event.endpoint, event.method, event.user_agent) == (f"/answer/{status}", "GET", "probe/1")


async def test_an_unhandled_exception_is_told_without_its_message() -> None:
    app, agent = guarded(fastapi_app())
    async with client_of(app) as client:
        assert (await client.get("/broken")).status_code == 500
    (event,) = agent.events
    assert event.event_type == "app_error"
    assert event.metadata == {"exception": "builtins.KeyError", "route": "/broken"}
    assert "secret" not in event.model_dump_json()
    assert agent.measured()["error_rate", "/broken", "500"] == 1


async def test_twenty_missing_pages_of_one_address_are_one_event() -> None:
    app, agent = guarded(fastapi_app(), capture=("errors",))
    async with client_of(app) as client, client_of(app, "203.0.113.8") as other:
        for number in range(19):
            await client.get(f"/wp-{number}.php")
            await other.get(f"/wp-{number}.php")
        assert agent.events == []
        await client.get("/wp-admin.php")
        for number in range(19):
            await client.get(f"/again-{number}")
    (event,) = agent.events
    assert event.event_type == "suspicious_request"
    assert (event.ip_address, event.metadata) == ("203.0.113.7", {"kind": "not_found_burst", "count": 20})


async def test_slow_requests_are_reported_where_asked_for() -> None:
    app, agent = guarded(fastapi_app(), slow_ms=0.0, capture=("errors",))
    async with client_of(app) as client:
        await client.get("/items/1")
    assert [event.metadata["kind"] for event in agent.events] == ["slow_request"]
    assert agent.metrics == []


async def test_the_application_adds_events_of_its_own() -> None:
    app, agent = guarded(fastapi_app(), capture=())
    async with client_of(app) as client:
        await client.post("/pay")
    first, second = agent.events
    assert (first.event_type, first.reason, first.metadata) == (
        "custom_request_check",
        "odd amount",
        {"amount": 3},
    )
    assert (second.event_type, second.reason) == ("behavioral_violation", "from below")
    assert {event.ip_address for event in agent.events} == {"203.0.113.7"}
    assert {event.endpoint for event in agent.events} == {"/pay"}


async def test_excluded_paths_are_left_alone() -> None:
    app, agent = guarded(fastapi_app(), enforce=True)
    agent.rules = DynamicRules(emergency_mode=True)
    async with client_of(app) as client:
        assert (await client.get("/health")).status_code == 401
        assert (await client.get("/health/deep")).status_code == 401
        assert agent.events == []
        assert (await client.get("/healthy")).status_code == 503
    assert "emergency_mode_block" in agent.types()


async def test_with_fastapi_guard_in_the_process_nothing_is_reported_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "guard", type("guard", (), {"SecurityConfig": object}))
    app, agent = guarded(fastapi_app())
    explicit, told = guarded(fastapi_app(), capture=("auth",))
    async with client_of(app) as client, client_of(explicit) as other:
        await client.get("/answer/401")
        await other.get("/answer/401")
    assert (agent.events, agent.metrics) == ([], [])
    assert told.types() == ["authentication_failed"]


async def test_a_streamed_answer_is_counted_whole_and_passed_on_in_pieces() -> None:
    async def stream(_request: StarletteRequest) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x" * 1000

        return StreamingResponse(pieces())

    app, agent = guarded(Starlette(routes=[Route("/stream", stream)]))
    async with client_of(app) as client:
        assert len((await client.get("/stream")).content) == 5000
    assert agent.measured()["bandwidth_usage", "/stream", "200"] == 5000


async def test_at_most_200_routes_are_told_apart() -> None:
    async def any_path(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    app, agent = guarded(any_path)
    async with client_of(app) as client:
        for number in range(205):
            await client.get(f"/page-{number}/17/{'ab' * 10}")
    routes = {metric.endpoint for metric in agent.metrics}
    assert "/page-0/{n}/{hex}" in routes
    assert len(routes) == 201
    assert "(other)" in routes


async def test_websockets() -> None:
    app, agent = guarded(fastapi_app())
    sent = await connect(app, "/ws")
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert agent.events == []
    await connect(app, "/ws", "deny=1")
    assert agent.types() == ["access_denied"]
    assert agent.measured()["bandwidth_usage", "/ws", "101"] == len("hello")
    assert ("request_count", "/ws", "403") in agent.measured()
    assert agent.metrics[0].tags["method"] == "WEBSOCKET"


async def test_a_handshake_that_the_application_answers_or_breaks() -> None:
    async def denies(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    async def breaks(_scope: Any, _receive: Any, _send: Any) -> None:
        raise KeyError("secret")

    app, agent = guarded(denies)
    await connect(app, "/ws", extensions=("websocket.http.response",))
    assert agent.types() == ["authentication_failed"]
    app, agent = guarded(breaks)
    with pytest.raises(KeyError):
        await connect(app, "/ws")
    assert agent.types() == ["app_error"]


async def test_other_kinds_of_connections_are_passed_on() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    guard, agent = guarded(app)
    await guard({"type": "webtransport"}, None, None)  # type: ignore[arg-type] # nothing is read or sent
    assert (seen, agent.events, agent.metrics) == (["webtransport"], [], [])


async def test_a_refused_websocket_is_answered_before_the_application_sees_it() -> None:
    app, agent = guarded(fastapi_app(), enforce=True)
    agent.rules = DynamicRules(blocked_user_agents=["probe"])
    (closed,) = await connect(app, "/ws")
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    start, body = await connect(app, "/ws", extensions=("websocket.http.response",))
    assert (start["status"], b"user_agent_blocked" in body["body"]) == (403, True)
    assert agent.types() == ["dynamic_rule_applied", "user_agent_blocked"]


async def test_the_agent_lives_as_long_as_the_application() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def life(_app: Any) -> AsyncIterator[None]:
        order.append("app up")
        yield
        order.append("app down")

    agent = RecordingAgent()
    agent.life = order
    app = Starlette(lifespan=life)
    app.add_middleware(GuardMiddleware, agent=agent)
    async with running(app):
        pass
    assert order == ["started", "app up", "app down", "stopped"]


async def test_an_application_without_lifespan_drains_all_the_same() -> None:
    async def refuses(scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError(f"can only handle http, not {scope['type']}")

    async def ignores(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    for app in (refuses, ignores):
        agent = RecordingAgent()
        async with running(GuardMiddleware(app, agent=agent)):
            assert agent.life == ["started"]
        assert agent.life == ["started", "stopped"]


async def test_an_application_that_fails_to_start_fails() -> None:
    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        if app is not None:
            raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="no database"):
        async with running(wrap(Starlette(lifespan=life), agent=RecordingAgent())):
            pass


async def test_an_agent_that_cannot_start_fails_the_start_and_no_request() -> None:
    class Broken(RecordingAgent):
        def start(self) -> None:
            raise EncryptionConfigError("no key")

    async def ignores(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()

    for inner in (Starlette(), ignores):
        with pytest.raises(EncryptionConfigError):
            async with running(GuardMiddleware(inner, agent=Broken())):
                pass
    app, agent = guarded(fastapi_app())
    agent.start = Broken().start  # type: ignore[method-assign] # what a server without lifespan meets
    async with client_of(app) as client:
        assert (await client.get("/items/1")).status_code == 200
    assert app.guard.stats()["errors"] == 1


async def test_the_lifespan_of_the_library_starts_and_drains() -> None:
    agent = RecordingAgent()
    async with running(FastAPI(lifespan=lifespan(agent=agent))):
        assert agent.life == ["started"]
    assert agent.life == ["started", "stopped"]


async def test_errors_of_ours_let_requests_pass_and_are_counted() -> None:
    def breaks(_scope: Any) -> str:
        raise RuntimeError("ours")

    app, agent = guarded(
        fastapi_app(), enforce=True, client_ip=breaks, route_of=breaks, geo=lambda _address: (None, None)
    )
    agent.rules = DynamicRules().model_copy(update={"ip_blacklist": None})
    async with client_of(app) as client:
        for _ in range(3):
            assert (await client.get("/items/1")).status_code == 200
    assert app.guard.stats()["errors"] == 7


async def test_the_busiest_clients_go_with_the_status() -> None:
    app, agent = guarded(fastapi_app())
    agent.config.hash_ips = True
    agent.config.ip_hash_salt = "salt"
    async with client_of(app) as client:
        for _ in range(3):
            await client.get("/items/1")
    assert agent.clients is not None
    assert app.guard._clients is not None
    app.guard._clients._turn(0)  # the minute ends
    report = agent.clients()
    assert report["total"] == 3
    assert report["top"] == [{"address": guard_agent.hash_ip("203.0.113.7", "salt"), "count": 3, "over": 0}]


async def test_options_that_cannot_be_used_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="everything"):
        GuardMiddleware(fastapi_app(), agent=RecordingAgent(), capture=("everything",))
    with pytest.raises(ValueError, match="no network"):
        GuardMiddleware(fastapi_app(), agent=RecordingAgent(), trusted_proxies=("10.0.0.0/33",))
    with pytest.raises(ValueError, match="rules"):
        GuardMiddleware(fastapi_app(), agent=object(), enforce=True)
