import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, ValidationError

from guardhouse.foundation.resources import Resources
from guardhouse.http.problems import from_validation
from server.tests.components import api
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"http://127.0.0.1:8000/problems/{body['code']}"
    assert body["instance"].startswith("urn:uuid:")
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    return answer.status_code, body["code"]


async def post(
    client: httpx.AsyncClient, admin: dict[str, str], body: bytes | AsyncIterator[bytes], **headers: str
) -> httpx.Response:
    sent = admin | {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await client.post("/api/v1/agents", content=body, headers=sent)


DEEP = b'{"id":"a","metadata":' + b'{"a":' * 63 + b"1" + b"}" * 64
DEEPER = b'{"id":"a","metadata":' + b'{"a":' * 64 + b"1" + b"}" * 65
MANY = json.dumps({"id": "a", "metadata": {str(n): 1 for n in range(10_001)}}).encode()


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'{"id":"a"', 400, "invalid_json"),
        (b'{"id":"a",}', 400, "invalid_json"),
        (b'{"id":NaN}', 400, "invalid_json"),
        (b'{"id":"a","metadata":{"x":Infinity}}', 400, "invalid_json"),
        (b'{"id":"a","metadata":{"x":-Infinity}}', 400, "invalid_json"),
        (b'{"id":"a","metadata":{"x":1e400}}', 400, "invalid_json"),
        (b'{"id":"a","metadata":{"x":' + b"9" * 5000 + b"}}", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b'{"id":"\xff"}', 400, "invalid_json"),
        (b'{"id":"a\x00"}', 400, "invalid_json"),
        (DEEP, 201, ""),
        (DEEPER, 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (MANY, 400, "invalid_json"),
        (b"null", 422, "validation_failed"),
        (b"5", 422, "validation_failed"),
        (b"[]", 422, "validation_failed"),
        (b'"x"', 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b'{"id":"a\\u0000"}', 422, "invalid_text"),
        (b'{"id":"a","name":"\\ud800"}', 422, "invalid_text"),
        (b'{"id":"a","metadata":{"\\udfff":1}}', 422, "invalid_text"),
        (b'{"id":"a","metadata":{"x":"\\ud83d\\ude00 \\\\u0000"}}', 201, ""),
        (b'{"id":"a","metadata":{"x":123456789012345678901234567890}}', 201, ""),
        (b'{"id":"a\\n"}', 422, "validation_failed"),
        (b'{"id":""}', 422, "validation_failed"),
        (json.dumps({"id": "a" * 129}).encode(), 422, "validation_failed"),
        (b'{"id":5}', 422, "validation_failed"),
        (json.dumps({"id": "a", "metadata": {"x": "y" * 17_000}}).encode(), 422, "validation_failed"),
    ],
)
async def test_bodies(
    client: httpx.AsyncClient, admin: dict[str, str], body: bytes, status: int, expected: str
) -> None:
    answer = await post(client, admin, body)
    assert answer.status_code == status, answer.text
    assert not expected or code(answer) == (status, expected)


@pytest.mark.parametrize(
    ("body", "line", "column"),
    [
        (b'{\n  "id": x}', 2, 9),
        (b'{\n "id": "NaN", "x": NaN}', 2, 20),
        (b'{"x":\n-Infinity}', 2, 1),
        (b'{"x": "\\"1e999", "y": 1e999}', 1, 23),
        (b'{"x": 1e99, "y":\n ' + b"9" * 5000 + b"}", 2, 2),
        (b'{"id":\n"\xff"}', 2, 2),
        ('{"é":\n"'.encode() + b'\xff"}', 2, 2),
        (b"\n" + b"[" * 65 + b"]" * 65, 2, 65),
        (b"[" * 100_000, 1, 65),
        (MANY, 1, MANY.index(b', "10000"') + 1),
        (b"{", 1, 2),
        (b'{"a": 1}}', 1, 9),
    ],
)
async def test_bad_json_is_told_with_its_place(
    client: httpx.AsyncClient, admin: dict[str, str], body: bytes, line: int, column: int
) -> None:
    answer = await post(client, admin, body)
    assert code(answer) == (400, "invalid_json")
    found = answer.json()
    assert (found["line"], found["column"]) == (line, column), found["detail"]
    assert f"line {line}, column {column}" in found["detail"]


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br"])
async def test_only_telemetry_may_be_compressed(
    client: httpx.AsyncClient, admin: dict[str, str], coding: str
) -> None:
    answer = await post(client, admin, b'{"id":"a"}', Content_Encoding=coding)
    assert code(answer) == (415, "unsupported_coding")


async def test_a_misspelt_member_is_told_with_the_nearest_name(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    answer = await post(client, admin, b'{"id":"a","hostnam":"x","zzz":1}')
    assert code(answer) == (422, "validation_failed")
    errors = {error["pointer"]: error["detail"] for error in answer.json()["errors"]}
    assert errors == {"/hostnam": "unknown member; did you mean hostname?", "/zzz": "unknown member"}


class Inside(BaseModel):
    model_config = ConfigDict(extra="forbid")
    min_severity: str = ""


class Around(BaseModel):
    model_config = ConfigDict(extra="forbid")
    filter: Inside | None = None
    steps: list[Inside] = []
    named: dict[str, Inside] = {}


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"filtr": {}}, "/filtr", "did you mean filter?"),
        ({"filter": {"min_severty": 1}}, "/filter/min_severty", "did you mean min_severity?"),
        ({"steps": [{}, {"minseverity": 1}]}, "/steps/1/minseverity", "did you mean min_severity?"),
        ({"named": {"a": {"severity": 1}}}, "/named/a/severity", "did you mean min_severity?"),
        ({"filter": {"filter": 1}}, "/filter/filter", "unknown member"),
    ],
)
def test_a_misspelt_member_is_found_however_deep(body: dict[str, Any], pointer: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Around.model_validate(body)
    errors = [{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()]
    (violation,) = from_validation(errors, Around).errors
    assert violation["pointer"] == pointer
    assert str(violation["detail"]).endswith(said)


async def test_a_request_that_takes_too_long_is_503(
    client: httpx.AsyncClient, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection it held is free again, and a stream is not cut."""

    async def sleep(*_args: object, **_named: object) -> None:
        await asyncio.sleep(30)

    with monkeypatch.context() as patched:
        patched.setattr("guardhouse.identity.keys.list_keys", sleep)
        patched.setattr("guardhouse.http.middleware.REQUEST_SECONDS", 1.0)
        answer = await client.get("/api/v1/keys", headers=admin)
    assert code(answer) == (503, "timeout")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await client.get("/api/v1/keys", headers=admin)).status_code == 200


async def _drain(chunks: AsyncIterator[str]) -> None:
    async for _ in chunks:
        pass


async def test_a_stream_outlives_the_time_of_a_request(
    served: str, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardhouse.http.middleware.REQUEST_SECONDS", 2.0)
    async with (
        httpx.AsyncClient(base_url=served) as caller,
        caller.stream("GET", "/api/v1/stream", headers=admin) as stream,
    ):
        assert stream.status_code == 200
        chunks = stream.aiter_text()
        ended = asyncio.create_task(_drain(chunks))
        done, _ = await asyncio.wait([ended], timeout=3.0)
        assert not done
        ended.cancel()
        await asyncio.wait([ended])


async def test_101_errors_are_100_and_a_count(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    body: dict[str, Any] = {"id": "a"} | {f"x/~{n}": 1 for n in range(101)}
    answer = await post(client, admin, json.dumps(body).encode())
    found = answer.json()
    assert (len(found["errors"]), found["error_count"]) == (100, 101)
    assert found["errors"][0]["pointer"] == "/x~1~00"


@pytest.mark.parametrize(
    "given",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/vnd.api+json", "multipart/form-data",
     "application/json; charset=latin-1", "application/jsonx"],
)  # fmt: skip
async def test_another_media_type_is_415(
    client: httpx.AsyncClient, admin: dict[str, str], given: str
) -> None:
    answer = await post(client, admin, b'{"id":"a"}', Content_Type=given)
    assert code(answer) == (415, "unsupported_media_type")
    assert answer.json()["supported"] == ["application/json"]


@pytest.mark.parametrize("given", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
async def test_json_is_json_however_it_is_spelt(
    client: httpx.AsyncClient, admin: dict[str, str], given: str
) -> None:
    assert (await post(client, admin, b'{"id":"a"}', Content_Type=given)).status_code == 201


@pytest.mark.parametrize(("size", "status"), [(1 << 20, 422), ((1 << 20) + 1, 413)])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_of_more_than_1_mib_is_413(
    client: httpx.AsyncClient, admin: dict[str, str], size: int, status: int, *, declared: bool
) -> None:
    whole = b'{"id":"a","name":"' + b"x" * (size - 20) + b'"}'
    assert len(whole) == size

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield whole[start : start + 100_000]

    answer = await post(client, admin, whole if declared else pieces())
    assert answer.status_code == status
    if status == 413:
        assert code(answer) == (413, "body_too_large")
        assert answer.json()["limit_bytes"] == 1 << 20


@pytest.mark.parametrize("declared", ["\u00b2", "-1", "9" * 30, "x"])
async def test_a_strange_length_breaks_nothing(
    client: httpx.AsyncClient, admin: dict[str, str], declared: str
) -> None:
    headers: list[tuple[bytes, bytes]] = [(k.encode(), v.encode()) for k, v in admin.items()]
    headers += [(b"Content-Type", b"application/json"), (b"Content-Length", declared.encode("latin-1"))]
    answer = await client.post("/api/v1/agents", content=b'{"id":"a"}', headers=headers)
    assert answer.status_code in {201, 413}


async def test_a_body_that_stops_coming_is_408(
    client: httpx.AsyncClient, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardhouse.foundation.strict_body.BODY_SECONDS", 0.1)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.4)
        yield b"}"

    assert code(await post(client, admin, pieces())) == (408, "request_timeout")


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/api/v1", "/api/v1/", "/api/v1/agents/", "/api/v1/keys/x/y"]
)
async def test_an_unknown_path_is_404(client: httpx.AsyncClient, path: str) -> None:
    assert code(await client.get(path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/v1/agents", "GET, HEAD, POST"),
        ("POST", "/api/v1/agents/a", "DELETE, GET, HEAD, PATCH"),
        ("HEAD", "/api/v1/agents/a/rotate-key", "POST"),
        ("GET", "/api/v1/agents/a/rotate-key", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/api/v1/me", "GET, HEAD"),
        ("TRACE", "/api/v1/keys", "GET, HEAD, POST"),
        # Spelt out beside a route that takes an id there:
        ("PATCH", "/api/v1/keys/verify", "POST"),
        ("OPTIONS", "/api/v1/keys/verify", "POST"),
        ("DELETE", "/api/v1/webhooks/dead-letters", "GET, HEAD"),
        ("PATCH", "/v1/webhooks/dead-letters", "GET, HEAD"),
        ("DELETE", "/webhooks/list", "GET, HEAD"),
        ("DELETE", "/webhooks/register", "POST"),
    ],
)
async def test_a_wrong_method_is_405_with_every_right_one(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    if method == "HEAD":
        assert answer.content == b""
    else:
        assert code(answer) == (405, "method_not_allowed")


async def test_a_fault_says_nothing_of_itself(
    client: httpx.AsyncClient, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError("tiger")

    monkeypatch.setattr("guardhouse.identity.routes.caller_shape", fail)
    answer = await client.get("/api/v1/me", headers=admin)
    assert code(answer) == (500, "internal_error")
    assert "tiger" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_a_refusal_of_the_framework_is_a_problem_too(resources: Resources) -> None:
    async with api.running(resources) as app:

        @app.get("/refused")
        async def refuse() -> None:
            raise HTTPException(418, "no tea")

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=api.BASE_URL) as caller:
            assert code(await caller.get("/refused")) == (400, "invalid_request")
