import importlib.util
import re

import httpx
import pytest

from guardhouse.foundation.errors import catalogue
from server.tests.components.operations import operations_of
from server.tests.components.requirements import require


async def test_the_document_is_valid(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert document == (await client.get("/.well-known/openapi.json")).json()
    require(importlib.util.find_spec("openapi_spec_validator"), "pip install openapi-spec-validator")
    validate = importlib.import_module("openapi_spec_validator").validate
    validate(document)


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    text = (await client.get("/api/v1/openapi.json")).text
    schemas = set(document["components"]["schemas"])
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert used <= schemas, used - schemas


async def test_operations_are_named_and_say_what_they_answer(client: httpx.AsyncClient) -> None:
    operations = await operations_of(client)
    ids = [operation.id for operation in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        assert re.fullmatch(r"[a-z]+_[a-z_]+", operation.id), operation.id
        assert len(operation.described["tags"]) == 1, operation.id
        assert operation.described["description"], operation.id
        answers = operation.described["responses"]
        wanted = {"400", "404", "405", "406", "414", "422", "431", "500", "503"}
        wanted |= {"401", "403"} if operation.scopes is not None else set()
        wanted |= {"408", "413", "415"} if "requestBody" in operation.described else set()
        assert wanted <= set(answers), (operation.id, wanted - set(answers))
        assert any(status.startswith("2") for status in answers), operation.id
        for status, answer in answers.items():
            if "OAuthError" in str(answer.get("content")):
                assert operation.described["tags"] == ["oauth"]  # RFC 6749's shape, the one exception
            elif int(status) >= 400:
                assert "application/problem+json" in answer["content"], (operation.id, status)
                assert re.search(r"`[a-z_]+`", answer["description"]), (operation.id, status)


async def test_every_code_the_document_names_exists(client: httpx.AsyncClient) -> None:
    known = {problem.code for problem in catalogue()}
    for operation in await operations_of(client):
        for status, answer in operation.described["responses"].items():
            if int(status) >= 400:
                named = set(re.findall(r"`([a-z_]+)`", answer["description"]))
                assert named <= known, (operation.id, named - known)


async def test_every_code_the_document_names_stands_under_its_status(client: httpx.AsyncClient) -> None:
    statuses = {problem.code: problem.status for problem in catalogue()}
    for operation in await operations_of(client):
        for status, answer in operation.described["responses"].items():
            if int(status) >= 400:
                for code in re.findall(r"`([a-z_]+)`", answer["description"]):
                    assert statuses[code] == int(status), (operation.id, code)


@pytest.mark.parametrize("name", ["ApiKey", "Bearer"])
async def test_the_ways_to_present_a_key_are_described(client: httpx.AsyncClient, name: str) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    assert name in document["components"]["securitySchemes"]
