"""A real application in a real server, reporting through a real agent to a collector on loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException
from flask import Flask

from agent.tests.app.conftest import MakeAgent
from agent.tests.app.sink import Sink, wait_for
from guard_agent import GuardMiddleware, GuardWSGIMiddleware, emit
from guard_agent import client as agents
from guard_agent._web.request_guard import RequestGuard
from guard_agent.client import GuardAgentHandler

RULES = {
    "rule_id": "gh-shop-0",
    "version": 3,
    "blocked_user_agents": ["^sqlmap"],
    "bans": [{"net": "127.0.0.2/32", "until": None}],
}


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application with uvicorn in a thread; its lifespan runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    listener.close()
    assert not thread.is_alive()


def test_events_and_metrics_arrive_and_rules_are_applied(sink: Sink, make_agent: MakeAgent) -> None:
    sink.rules = RULES
    agent = make_agent(sink, start=False, shutdown_timeout=30.0)
    app = FastAPI()
    app.add_middleware(GuardMiddleware, agent=agent, enforce=True)

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> int:
        if item_id == 3:
            raise HTTPException(401)
        return item_id

    with serving(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        wait_for(lambda: agent.rules is not None)
        assert [client.get(f"/items/{number}").status_code for number in (1, 2, 3)] == [200, 200, 401]
        refused = client.get("/items/1", headers={"User-Agent": "sqlmap/1.9"})
        assert (refused.status_code, refused.json()["code"]) == (403, "user_agent_blocked")
        local = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(base_url=url, transport=local, trust_env=False) as banned:
            assert banned.get("/items/1").json()["code"] == "address_banned"
    assert agent.is_running() is False
    types = [event["event_type"] for event in sink.stored["events"]]
    assert sorted(types) == [
        "authentication_failed",
        "dynamic_rule_applied",
        "ip_blocked",
        "user_agent_blocked",
    ]
    counted = [metric for metric in sink.stored["metrics"] if metric["metric_type"] == "request_count"]
    assert [metric["endpoint"] for metric in counted] == ["/items/{item_id}"] * 3
    assert [metric["tags"]["status"] for metric in counted] == ["200", "200", "401"]
    ledger = agent.ledger()
    assert ledger["metrics"]["delivered"] == ledger["metrics"]["captured"] == len(sink.stored["metrics"])


def test_flask_in_a_wsgi_server(sink: Sink, make_agent: MakeAgent) -> None:
    agent = make_agent(sink, start=False, shutdown_timeout=30.0)
    app = Flask(__name__)

    @app.get("/items/<item_id>")
    def item(item_id: str) -> Any:
        return (item_id, 403) if item_id == "secret" else item_id

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    app.wsgi_app = GuardWSGIMiddleware(app.wsgi_app, agent=agent)  # type: ignore[method-assign] # as Flask's docs say
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as client:
        assert [client.get(f"/items/{name}").status_code for name in ("a", "secret")] == [200, 403]
    server.shutdown()
    server.server_close()
    thread.join(10)
    agent.close(30.0)
    assert [event["event_type"] for event in sink.stored["events"]] == ["access_denied"]
    assert {metric["endpoint"] for metric in sink.stored["metrics"]} == {"/items/<item_id>"}


def test_emit_outside_of_a_request_goes_to_the_default_agent(
    sink: Sink, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agents, "_agents", {})
    emit("custom_request_check", reason="nobody")
    emit("custom_request_check", reason="nobody")
    assert len([record for record in caplog.records if "no agent was made" in record.getMessage()]) == 1
    agent = make_agent(sink)
    monkeypatch.setitem(agents._agents, (GuardAgentHandler, "default"), agent)
    emit("custom_request_check", reason="job", amount=3)
    agent.close(30.0)
    (event,) = sink.stored["events"]
    assert (event["reason"], event["metadata"]) == ("job", {"amount": 3})


def test_an_event_with_fields_of_the_wrong_kind_does_not_reach_the_application(
    sink: Sink, make_agent: MakeAgent
) -> None:
    agent = make_agent(sink)
    request = RequestGuard(agent, "203.0.113.7", "GET", "/pay", "probe")
    request.emit("custom_request_check", status_code="four hundred", reason=None)  # type: ignore[arg-type] # as an application may
    agent.close(30.0)
    (event,) = sink.stored["events"]
    assert (event["endpoint"], event["status_code"]) == ("/pay", "four hundred")
