"""Names of routes: taken from the framework, or made from the path."""

import uuid
from typing import Any

import pytest

from agent.tests.middleware.asgi_driver import client_of
from agent.tests.middleware.recording_agent import RecordingAgent
from guard_agent import GuardMiddleware
from guard_agent._net.path_pattern import path_pattern, template_of


@pytest.mark.parametrize(
    ("path", "parameters", "template"),
    [
        ("/items/17", {}, "/items/{n}"),
        ("/items/17", {"item_id": 17}, "/items/{item_id}"),
        ("/17/17", {"item_id": 17}, "/{n}/{item_id}"),
        ("/users/ada/posts/3", {"name": "ada", "post": 3}, "/users/{name}/posts/{post}"),
        ("/files/a/b/c.txt", {"rest": "a/b/c.txt"}, "/files/{rest}"),
        ("/files/x", {"rest": "a/b"}, "/files/x"),
        (f"/orders/{uuid.UUID(int=7)}", {}, "/orders/{uuid}"),
        (f"/blobs/{'ab' * 8}", {}, "/blobs/{hex}"),
        (f"/blobs/{'ab' * 7}", {}, f"/blobs/{'ab' * 7}"),
        ("/", {}, "/"),
        ("", {}, ""),
    ],
)
def test_a_template_is_made_from_a_path(path: str, parameters: dict[str, Any], template: str) -> None:
    assert template_of(path, parameters) == template


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/u/{id}/x", "/u/7/x", True),
        ("/u/{id}/x", "/u/7/8/x", False),
        ("/u/{id}/x", "/u//x", False),
        ("/files/{rest:path}", "/files/a/b", True),
        ("/a.b/{id}", "/aXb/1", False),
        ("/{a}/{b}", "/1/2", True),
    ],
)
def test_a_template_matches_its_paths(template: str, path: str, *, matches: bool) -> None:
    assert (path_pattern(template).fullmatch(path) is not None) is matches


async def test_a_framework_that_leaves_only_parameters_has_templates_too() -> None:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope.update(endpoint=app, path_params={"name": "ada"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    agent = RecordingAgent()
    async with client_of(GuardMiddleware(app, agent=agent)) as client:
        await client.get("/users/ada")
    assert {metric.endpoint for metric in agent.metrics} == {"/users/{name}"}


async def test_the_application_may_name_its_routes_itself() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    agent = RecordingAgent()
    named = GuardMiddleware(
        app, agent=agent, route_of=lambda scope: "tenant" if scope["path"] == "/t/x" else None
    )
    async with client_of(named) as client:
        await client.get("/t/x")
        await client.get("/other")
    assert {metric.endpoint for metric in agent.metrics} == {"tenant", "(unmatched)"}
