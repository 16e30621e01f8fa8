import re

from guardhouse.foundation.clock import SetClock
from server.tests.analysis.injection.answers import PROMPT
from server.tests.components.door_at_noon import clock, door, host, resources
from server.tests.ingest.make import Door

__all__ = ["clock", "door", "host", "resources"]

CANARIES, TEXTS = "/api/v1/canaries", "/api/v1/protected-texts"


async def decision(door: Door, text: str) -> str:
    answer = await door.post("/api/v1/detect/output", {"text": text})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["decision"]
    return found


async def test_a_token_is_shown_once_and_not_kept(door: Door) -> None:
    made = (await door.post(CANARIES, {"label": "a"})).json()
    assert re.fullmatch(r"ghc_[a-z2-7]{20}", made["token"])
    listed = await door.client.get(CANARIES, headers={"X-API-Key": door.key})
    assert [one["label"] for one in listed.json()["data"]] == ["a"]
    assert made["token"] not in listed.text
    dump = str([tuple(row) for row in await door.rows("SELECT * FROM canaries")])
    dump += str([tuple(row) for row in await door.rows("SELECT * FROM audit_log")])
    assert made["token"] not in dump
    assert made["token"][4:] not in dump


async def test_a_repeated_call_makes_one_canary_and_shows_no_token_again(door: Door) -> None:
    first = await door.post(CANARIES, {"label": "a"}, idempotency_key="k")
    again = await door.post(CANARIES, {"label": "a"}, idempotency_key="k")
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["token"] is None
    assert await door.count("canaries") == 1


async def test_an_expired_or_deleted_canary_is_a_string_like_any_other(door: Door, clock: SetClock) -> None:
    short = (await door.post(CANARIES, {"label": "a", "expires_in": 60})).json()
    long = (await door.post(CANARIES, {"label": "b"})).json()
    assert await decision(door, short["token"]) == "block"
    clock.move(61)
    assert await decision(door, short["token"]) == "allow"
    assert await decision(door, long["token"]) == "block"
    gone = await door.client.delete(f"{CANARIES}/{long['id']}", headers={"X-API-Key": door.key})
    assert gone.status_code == 204
    assert await decision(door, long["token"]) == "allow"
    again = await door.client.delete(f"{CANARIES}/{long['id']}", headers={"X-API-Key": door.key})
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_a_canary_in_a_text_to_judge_is_a_hard_finding(door: Door) -> None:
    made = (await door.post(CANARIES, {"label": "the price list"})).json()
    text = f"What does {made['token']} mean?"
    for channel in ("user", "external"):
        body = (await door.post("/api/v1/detect", {"text": text, "channel": channel})).json()
        assert (body["score"], body["decision"], body["is_malicious"]) == (1.0, "block", True)
        (reason,) = [one for one in body["reasons"] if one["kind"] == "canary"]
        assert (reason["text"], reason["category"]) == ("the price list", "data_extraction")
        start, end = reason["span"]
        assert text[start:end] == made["token"]
        assert made["token"] not in str(body)
    hidden = "\u200b".join(made["token"])
    assert (await door.post("/api/v1/detect", {"text": hidden})).json()["score"] == 1.0


async def test_a_protected_text_needs_eight_words_and_can_be_deleted(door: Door) -> None:
    short = await door.post(TEXTS, {"label": "a", "text": "seven words are too few for it"})
    assert (short.status_code, short.json()["code"]) == (422, "protected_text_too_short")
    made = (await door.post(TEXTS, {"label": "a", "text": PROMPT})).json()
    listed = await door.client.get(TEXTS, headers={"X-API-Key": door.key})
    assert listed.json()["data"] == [made]
    assert "text" not in made
    gone = await door.client.delete(f"{TEXTS}/{made['id']}", headers={"X-API-Key": door.key})
    assert gone.status_code == 204
    again = await door.client.delete(f"{TEXTS}/{made['id']}", headers={"X-API-Key": door.key})
    assert again.status_code == 404
