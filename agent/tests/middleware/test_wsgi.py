"""The WSGI middleware around Flask and Django, and `wrap` around everything."""

import functools
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import django
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from fastapi import FastAPI
from flask import Flask, abort, request
from werkzeug.test import Client

from agent.tests.middleware.asgi_driver import client_of, running
from agent.tests.middleware.recording_agent import RecordingAgent
from guard_agent import DynamicRules, GuardMiddleware, GuardWSGIMiddleware, emit, wrap


def flask_app() -> Flask:
    app = Flask(__name__)

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> dict[str, int]:
        return {"id": item_id}

    @app.get("/answer/<int:status>")
    def answer(status: int) -> str:
        abort(status)

    @app.get("/broken")
    def broken() -> str:
        raise KeyError("a secret of the application")

    @app.post("/pay")
    def pay() -> str:
        request.environ["guard_agent.request"].emit("custom_request_check", amount=3)
        emit("behavioral_violation")
        return "ok"

    @app.get("/stream")
    def stream() -> Any:
        def pieces() -> Iterator[bytes]:
            yield b"x" * 1000
            yield b"x" * 1000

        return app.response_class(pieces())

    return app


class Visitor(Client):
    """Asks from 127.0.0.1 and reads every answer to its end, as a server does."""

    def open(self, *args: Any, **more: Any) -> Any:
        return super().open(*args, buffered=True, environ_base={"REMOTE_ADDR": "127.0.0.1"}, **more)


def guarded(app: Any, **options: Any) -> tuple[Visitor, RecordingAgent]:
    agent = RecordingAgent()
    wrapped = GuardWSGIMiddleware(app, agent=agent, **options)
    return Visitor(wrapped), agent


def test_flask_reports_events_and_metrics_with_its_rules() -> None:
    app = flask_app()
    client, agent = guarded(app.wsgi_app)
    for number in (1, 2):
        assert client.get(f"/items/{number}").status_code == 200
    assert client.get("/answer/403", headers={"User-Agent": "probe/1"}).status_code == 403
    assert client.get("/broken").status_code == 500
    client.post("/pay")
    assert client.get("/stream").data == b"x" * 2000
    assert agent.life == ["started"]
    measured = agent.measured()
    assert measured["request_count", "/items/<int:item_id>", "200"] == 2
    assert measured["bandwidth_usage", "/stream", "200"] == 2000
    assert measured["error_rate", "/broken", "500"] == 1
    assert agent.types() == ["access_denied", "custom_request_check", "behavioral_violation"]
    assert (agent.events[0].ip_address, agent.events[0].user_agent) == ("127.0.0.1", "probe/1")


def test_an_exception_that_leaves_the_application_is_told_without_its_message() -> None:
    app = flask_app()
    app.config["PROPAGATE_EXCEPTIONS"] = True
    client, agent = guarded(app.wsgi_app)
    with pytest.raises(KeyError):
        client.get("/broken")
    (event,) = agent.events
    assert event.event_type == "app_error"
    assert "secret" not in event.model_dump_json()


def test_rules_are_applied_before_the_application() -> None:
    client, agent = guarded(flask_app().wsgi_app, enforce=True, trusted_proxies=("127.0.0.0/8",))
    agent.rules = DynamicRules(
        rule_id="gh-shop-1",
        version=7,
        ip_blacklist=["203.0.113.0/24"],
        endpoint_rate_limits={"/items/1": (1, 60)},
    )
    refused = client.get("/items/1", headers={"X-Forwarded-For": "203.0.113.7"})
    assert refused.status_code == 403
    assert refused.content_type == "application/problem+json"
    assert refused.json is not None
    assert refused.json["code"] == "address_banned"
    assert client.get("/items/1").status_code == 200
    limited = client.get("/items/1")
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) >= 1
    assert agent.types() == ["dynamic_rule_applied", "ip_blocked", "rate_limited"]
    assert agent.events[0].metadata == {"rule_id": "gh-shop-1", "version": 7, "not_applied": []}
    for _ in range(5):
        client.get("/items/1", headers={"X-Forwarded-For": "203.0.113.7"})
    assert len(agent.events) == 3
    agent.rules = None
    assert client.get("/items/1", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200


def test_the_protocol_is_kept_and_the_answer_closed() -> None:
    closed: list[str] = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            yield b"abc"

        def close(self) -> None:
            closed.append("closed")

    def app(_environ: Any, start_response: Any) -> Pieces:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces()

    agent = RecordingAgent()
    client = Visitor(validator(GuardWSGIMiddleware(validator(app), agent=agent)))
    response = client.get("/items/17")
    assert response.data == b"abc"
    response.close()
    assert closed == ["closed"]
    assert agent.measured()["bandwidth_usage", "/items/{n}", "200"] == 3


def test_an_exception_while_the_answer_is_sent_is_told() -> None:
    def app(_environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"abc"
        raise OSError("gone")

    client, agent = guarded(app)
    with pytest.raises(OSError, match="gone"):
        client.get("/x")
    assert agent.types() == ["app_error"]
    assert agent.measured()["request_count", "/x", "500"] == 1


def test_what_is_written_the_old_way_is_counted_and_excluded_paths_are_left_alone() -> None:
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"abc")
        return [b"de"]

    client, agent = guarded(app)
    client.get("/x")
    assert agent.measured()["bandwidth_usage", "/x", "200"] == 5
    agent.metrics.clear()
    assert client.get("/health/live").status_code == 200
    assert agent.metrics == []


def _item(_request: HttpRequest, item_id: int) -> HttpResponse:
    return HttpResponse(f"{item_id}")


def _denied(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


urlpatterns = [path("items/<int:item_id>", _item), path("denied", _denied)]


@pytest.fixture(scope="module")
def django_ready() -> None:
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="of a test",
            MIDDLEWARE=[],
            LOGGING_CONFIG=None,
        )
        django.setup()


@pytest.mark.usefixtures("django_ready")
def test_django_by_wsgi() -> None:
    client, agent = guarded(get_wsgi_application())
    assert client.get("/items/17").data == b"17"
    assert client.get("/denied").status_code == 403
    assert agent.types() == ["access_denied"]
    assert ("request_count", "/items/{n}", "200") in agent.measured()


@pytest.mark.usefixtures("django_ready")
async def test_django_by_asgi() -> None:
    agent = RecordingAgent()
    app = wrap(get_asgi_application(), agent=agent)
    assert isinstance(app, GuardMiddleware)
    async with running(app), client_of(app) as client:
        assert (await client.get("/items/17")).text == "17"
        assert (await client.get("/denied")).status_code == 403
    assert agent.types() == ["access_denied"]
    assert ("request_count", "/items/{n}", "200") in agent.measured()
    assert agent.life == ["started", "stopped"]


async def _asgi(_scope: Any, _receive: Any, _send: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (FastAPI(), GuardMiddleware),
        (_asgi, GuardMiddleware),
        (functools.partial(_asgi), GuardMiddleware),
        (Flask(__name__), GuardWSGIMiddleware),
        (Flask(__name__).wsgi_app, GuardWSGIMiddleware),
        (lambda _environ, _start: [], GuardWSGIMiddleware),
    ],
)
def test_wrap_tells_the_two_interfaces_apart(app: Any, kind: type) -> None:
    assert type(wrap(app, agent=RecordingAgent())) is kind
