import re

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.http.aliases import aliases_of, canonical
from server.tests.components.operations import Operation, operations_of
from server.tests.identity import make

MARKS = {"x-response-time", "x-correlation-id", "x-request-id", "traceparent"}


@pytest.mark.parametrize(
    ("path", "stands_for"),
    [
        ("/v1/keys", "/api/v1/keys"),
        ("/v1/events", "/api/v1/events"),
        ("/v1/events/", "/api/v1/events"),
        ("/v1/scores:recalculate", "/api/v1/scores:recalculate"),
        ("/v1/logs", "/otlp/v1/logs"),
        ("/v1/metrics", "/otlp/v1/metrics"),
        ("/v1/traces/", "/otlp/v1/traces"),
        ("/otlp/v1/logs", "/otlp/v1/logs"),
        ("/v1", "/v1"),
        ("/v1x/keys", "/v1x/keys"),
        ("/v1/keys/", "/api/v1/keys/"),
        ("/api/v1/events/", "/api/v1/events"),
        ("/api/v1/api/v1/events", "/api/v1/events"),
        ("/api/v1/api/v1/metrics/", "/api/v1/metrics"),
        ("/api/v1/api/v1/keys", "/api/v1/api/v1/keys"),
        ("/api/v1/api/v1/api/v1/events", "/api/v1/api/v1/api/v1/events"),
        ("/docs", "/api/v1/docs"),
        ("/healthz", "/healthz"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_what_an_address_stands_for(path: str, stands_for: str) -> None:
    assert canonical(path) == stands_for


@pytest.mark.parametrize(
    "path", ["/api/v1/keys", "/api/v1/events", "/api/v1/metrics", "/api/v1/docs", "/otlp/v1/logs"]
)
def test_every_alias_leads_back(path: str) -> None:
    assert aliases_of(path)
    assert {canonical(alias) for alias in aliases_of(path)} == {path}


def plain(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """Return what two answers to one question share; of what was made just now, only its members."""
    if answer.status_code == 201:
        return 201, " ".join(answer.json()), {}
    text = re.sub(r"urn:uuid:[0-9a-f-]{36}|req-[0-9a-f]{16}|\d+\.\d", "", answer.text)
    kept = {name: value for name, value in answer.headers.items() if name not in MARKS}
    return answer.status_code, text, kept


async def test_each_alias_is_answered_as_its_canonical_path_is(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    tenant = await make.tenant(resources)
    called = 0
    for operation in await operations_of(client):
        if operation.id == "stream_notices":
            continue  # HEAD of it is in test_middleware
        _, text = await make.key(
            resources, tenant, "viewer"
        )  # some operations end the key they are called with
        wanted = plain(await operation.call(client, make.bearing(text)))
        for alias in operation.described.get("x-aliases", []):
            other = Operation(operation.id, operation.method, alias, operation.scopes, operation.described)
            answer = await other.call(client, make.bearing(text))
            assert not answer.is_redirect
            if alias in aliases_of(operation.path):
                assert plain(answer) == wanted, alias
            else:  # a shape of its own: here it only has to be there
                assert answer.status_code not in {404, 405, 500}, (alias, answer.text)
            called += 1
    assert called > 20
