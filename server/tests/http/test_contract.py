import asyncio
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from guardhouse.foundation.errors import catalogue
from guardhouse.foundation.resources import Resources
from guardhouse.http.openapi.enums import name_enums
from guardhouse.notices.kinds import KINDS
from server.tests.components.openapi.validator import complaints
from server.tests.components.operations import Operation, operations_of
from server.tests.components.requirements import require
from server.tests.identity import make

SECRETS = re.compile(r"(?:^|_)(?:secret|api_key|ticket|password|private_key)$|^(?:link|code)_once$")
# Members that sound like a secret and are none: names and masks.
NO_SECRETS = {"secret_token", "secret"}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
    return found


def schemas_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from schemas_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from schemas_in(inner)


async def test_the_document_is_valid(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert document == (await client.get("/.well-known/openapi.json")).json()
    require(importlib.util.find_spec("openapi_spec_validator"), "pip install openapi-spec-validator")
    validate = importlib.import_module("openapi_spec_validator").validate
    validate(document)


async def test_a_validator_of_another_make_finds_it_valid_too(
    document: dict[str, Any], tmp_path: Path
) -> None:
    written = tmp_path / "openapi.json"
    written.write_text(json.dumps(document), encoding="utf-8")
    assert await asyncio.to_thread(complaints, written) == ""
    document["paths"]["/api/v1/me"]["get"]["responses"]["200"].pop("description")
    written.write_text(json.dumps(document), encoding="utf-8")
    assert "description" in await asyncio.to_thread(complaints, written)  # and it does look


async def test_what_it_says_of_itself(document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/"}]
    assert document["info"]["license"] == {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
    used = {tag for methods in document["paths"].values() for o in methods.values() for tag in o["tags"]}
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert used <= set(described)
    assert all(described.values())


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    used = set(re.findall(r'"#/components/(\w+)/([^"]+)"', json.dumps(document)))
    assert {(kind, name) for kind, named in document["components"].items() for name in named} >= used


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
        assert any(status.startswith(("2", "3")) for status in answers), operation.id


NOT_PROBLEMS = {
    "create_token", "introspect_token", "revoke_token", "begin_sign_in", "finish_sign_in", "end_sessions_of_issuer",
}  # fmt: skip


async def test_refusals_are_typed_by_status_and_name_their_codes(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    statuses = {problem.code: problem.status for problem in catalogue()}
    schemas = document["components"]["schemas"]
    for operation in await operations_of(client):
        for status, answer in operation.described["responses"].items():
            if int(status) < 400:
                continue
            said = (operation.id, status)
            if operation.id in NOT_PROBLEMS and not answer.get("x-problem-codes"):
                continue  # OAuth's own shape, or a page for people
            typed = answer["content"]["application/problem+json"]["schema"]
            assert typed == {"$ref": f"#/components/schemas/Problem{status}"}, said
            assert answer["x-problem-codes"], said
            assert {statuses.get(code) for code in answer["x-problem-codes"]} == {int(status)}, said
            assert set(answer["x-problem-codes"]) <= set(schemas[f"ProblemCode{status}"]["enum"]), said
            assert answer["description"] == ", ".join(f"`{code}`" for code in answer["x-problem-codes"]), said
            assert schemas[f"Problem{status}"]["properties"]["status"]["const"] == int(status)
            assert ("Retry-After" in answer.get("headers", {})) == (status in {"429", "503"}), said


async def test_traps_that_readers_fall_into(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    assert '"itemSchema"' not in text
    assert "ValidationError" not in text
    assert "StatusType0" not in text
    components = document["components"]["schemas"]
    named = {id(schema) for schema in components.values()}
    for schema in schemas_in(document):
        if isinstance(schema.get("enum"), list):
            assert id(schema) in named, schema
        if isinstance(schema.get("properties"), dict) and "type" in schema:
            assert id(schema) in named, schema


async def test_instants_are_date_times_and_identifiers_are_uuids(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for member, described in schema.get("properties", {}).items():
            if member.endswith("_at"):
                texts = [s for s in (described, *described.get("anyOf", ())) if s.get("type") == "string"]
                assert all(s.get("format") == "date-time" for s in texts), (name, member)
    assert document["components"]["schemas"]["KeyShape"]["properties"]["id"]["format"] == "uuid"


async def test_the_stream_is_a_text_with_named_events(document: dict[str, Any]) -> None:
    content = document["paths"]["/api/v1/stream"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/event-stream"]
    assert content["text/event-stream"]["schema"]["type"] == "string"
    assert set(KINDS) <= set(content["text/event-stream"]["x-events"])


async def test_webhooks_are_the_kinds_that_are_sent(document: dict[str, Any]) -> None:
    assert set(document["webhooks"]) == {kind for kind, model in KINDS.items() if not model.live_only}
    for kind, methods in document["webhooks"].items():
        content = methods["post"]["requestBody"]["content"]["application/json"]
        KINDS[kind].model_validate(content["example"]["data"])
        named = content["schema"]["$ref"].rpartition("/")[2]
        assert document["components"]["schemas"][named]["properties"]["type"]["const"] == kind


def _query(operation: Operation) -> dict[str, str]:
    """Return those parameters of the query that the document has examples for."""
    queries = (p for p in operation.described.get("parameters", ()) if p["in"] == "query")
    return {p["name"]: p["schema"]["examples"][0] for p in queries if p["schema"].get("examples")}


async def test_each_example_of_a_body_is_one_that_is_read(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    """Whatever else may be refused, its shape is not."""
    _, text = await make.key(resources, await make.tenant(resources), "platform")
    for operation in await operations_of(client):
        for media_type, content in operation.described.get("requestBody", {}).get("content", {}).items():
            if "example" not in content or media_type != "application/json":
                continue
            answer = await client.request(
                operation.method,
                operation.url,
                params=_query(operation),
                json=content["example"],
                headers=make.bearing(text) | {"Idempotency-Key": f"example-{operation.id}"},
            )
            assert answer.status_code not in {400, 415, 422, 500}, (
                operation.id,
                content["example"],
                answer.text,
            )


async def test_a_secret_in_an_answer_is_marked_as_shown_once(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    """So that no replay under an Idempotency-Key gives it again, and none is stored."""
    components = document["components"]["schemas"]
    for operation in await operations_of(client):
        if operation.method != "POST":
            continue
        for status, answer in operation.described["responses"].items():
            for content in answer.get("content", {}).values() if status.startswith("2") else ():
                for name, member in members_of(content.get("schema", {}), components):
                    if SECRETS.search(name) and name not in NO_SECRETS:
                        assert member.get("x-shown-once"), (operation.id, name)


def members_of(schema: dict[str, Any], components: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    for name, member in schema.get("properties", {}).items():
        yield name, member
        yield from members_of(member, components)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from members_of(choice, components)


async def test_a_key_is_offered_where_a_post_happens_once(client: httpx.AsyncClient) -> None:
    offered = {
        operation.id
        for operation in await operations_of(client)
        if any(p["name"] == "Idempotency-Key" for p in operation.described.get("parameters", ()))
    }
    assert offered >= {"create_key", "create_agent", "rotate_agent_key", "create_stream_ticket"}
    # The door for telemetry has its own: ingest/replay.
    posts = {operation.id for operation in await operations_of(client) if operation.method == "POST"}
    assert (
        posts - offered
        <= {"send_events", "send_metrics", "send_envelope", "send_status", "import_events", "send_import"}
        | {"send_stream_events", "export_logs", "export_metrics", "export_traces"}
        | OF_OTHER_DOORS
    )


# POST operations that create nothing of a tenant, or speak another protocol than JSON.
OF_OTHER_DOORS = {
    "create_token", "introspect_token", "revoke_token", "end_sessions_of_issuer", "sign_out", "test_issuer",
    "scan_output", "scan_output_piece",  # the same text has the same findings; nothing of it is stored
    "create_session",  # its answer is a cookie, which nothing may keep
    "quote_run",
    "create_run",  # insists on its key, and answers by the run's own row
    "create_tenant_top_up",  # once per payment reference
    "resolve_run_audit",  # decides once
}  # fmt: skip


def test_enumerations_get_names_that_stay() -> None:
    def status(*values: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"state": {"type": "string", "enum": [*values], "title": "State"}},
        }

    made: dict[str, Any] = {
        "components": {"schemas": {"A": status("x", "y"), "B": status("x", "y"), "C": {"properties": {}}}},
        "paths": {},
    }
    name_enums(made)
    assert made["components"]["schemas"]["A"]["properties"]["state"]["$ref"] == "#/components/schemas/State"
    assert made["components"]["schemas"]["State"]["enum"] == ["x", "y"]
    made = {
        "components": {"schemas": {"A": status("x"), "B": status("y"), "State": {"type": "object"}}},
        "paths": {},
    }
    name_enums(made)
    assert {"AState", "BState", "State"} <= set(made["components"]["schemas"])


@pytest.mark.parametrize("name", ["ApiKey", "Bearer", "Session"])
async def test_the_ways_to_say_who_asks_are_described(document: dict[str, Any], name: str) -> None:
    assert name in document["components"]["securitySchemes"]
    assert any(name in way for way in document["paths"]["/api/v1/keys"]["get"]["security"])
