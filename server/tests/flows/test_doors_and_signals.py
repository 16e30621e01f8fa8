"""A stranger's first webhook, with public libraries alone: a token, an endpoint, a crossing, a verified signature, a
new secret, a dead letter and its replay. It follows `docs/tutorial/first-webhook.md`."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from server.tests.cli.house_process import RunningHouse, running_house
from server.tests.components.authlib_client import ClientAuth
from server.tests.components.hosts import attack as remote_shell
from server.tests.components.threaded_receiver import Receiver, listening_receiver

PATIENCE_SECONDS = 60.0
SCOPES = "events:write scores:read webhooks:read webhooks:write webhooks:replay"
Found = TypeVar("Found")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening_receiver() as found:
        yield found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    folder: Path = tmp_path_factory.mktemp("doors")
    for path in (folder, *folder.parents[:3]):
        with contextlib.suppress(PermissionError):
            path.chmod(0o711)  # the database runs as another user when the tests run as root
    with running_house(folder / "house", "--port", "0", GUARDHOUSE_EGRESS_ALLOW="127.0.0.1/32:*") as running:
        yield running


def wait_for(find: Callable[[], Found | None], what: str) -> Found:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := find()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def token_for(house: RunningHouse, admin: httpx.Client) -> str:
    """Get an access token as an OAuth2 client does; the client authentication is authlib's."""
    made = admin.post(
        "/api/v1/oauth/clients", json={"name": "tour", "role": "admin", "scopes": SCOPES.split()}
    )
    assert made.status_code == 201, made.text
    secret = made.json()["client_secret"]
    meta = admin.get("/.well-known/oauth-authorization-server").json()
    auth = ClientAuth(made.json()["id"], secret, "client_secret_basic")
    path = httpx.URL(meta["token_endpoint"]).path
    body = f"grant_type=client_credentials&scope={SCOPES.replace(' ', '%20')}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    uri, headers, body = auth.prepare("POST", house.ready["url"] + path, form, body)
    answer = httpx.post(uri, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "Bearer"
    token: str = answer.json()["access_token"]
    return token


def attack(api: httpx.Client, name: str) -> None:
    """Report a server that took a connection and gave it a shell: one crossing of the risk band."""
    answer = api.post(
        "/api/v1/events",
        json={"agent_id": name, "events": remote_shell(datetime.now(UTC) - timedelta(seconds=60))},
        headers={"Idempotency-Key": name},
    )
    assert answer.status_code == 207, answer.text
    assert answer.json()["errors"] == 0, answer.text


def crossing(receiver: Receiver, agent: str) -> tuple[dict[str, str], bytes]:
    """Wait until the receiver was told of this agent's crossing."""

    def find() -> tuple[dict[str, str], bytes] | None:
        for headers, body in receiver.of("risk.band_crossed"):
            if json.loads(body)["data"]["agent_id"] == agent:
                return headers, body
        return None

    return wait_for(find, f"a crossing of {agent}")


def test_from_a_token_to_a_replayed_dead_letter(house: RunningHouse, receiver: Receiver) -> None:
    url = house.ready["url"]
    admin_header = {"X-API-Key": house.ready["admin_key"]}
    with httpx.Client(base_url=url, headers=admin_header, timeout=30) as admin:
        token = token_for(house, admin)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as api:
        wanted = {"url": receiver.url, "kinds": ["risk.*"], "schedule": {"preset": "three_strikes"}}
        made = api.post("/api/v1/webhooks", json=wanted, headers={"Idempotency-Key": "tour"})
        assert made.status_code == 201, made.text
        hook, secret = made.json()["id"], made.json()["secret"]
        again = api.post("/api/v1/webhooks", json=wanted, headers={"Idempotency-Key": "tour"})
        assert (again.status_code, again.json()["id"], again.json()["secret"]) == (201, hook, None)

        attack(api, "web-1")
        headers, body = crossing(receiver, "web-1")
        message: Any = Webhook(secret).verify(body, headers)
        assert message["type"] == "risk.band_crossed"
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body.replace(b"web-1", b"web-2"), headers)

        fresh = api.post(f"/api/v1/webhooks/{hook}/rotate-secret", json={}).json()["secret"]
        assert fresh != secret
        attack(api, "web-2")
        headers, body = crossing(receiver, "web-2")
        for known in (fresh, secret):  # both sign until the grace ends
            Webhook(known).verify(body, headers)
        assert api.delete(f"/api/v1/webhooks/{hook}/previous-secret").status_code in {200, 204}

        receiver.status = 500
        attack(api, "web-3")
        headers, body = crossing(receiver, "web-3")
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)
        lost = headers["webhook-id"]

        def dead() -> list[Any] | None:
            letters = api.get("/api/v1/webhooks/dead-letters").json()["data"]
            return [letter for letter in letters if letter["message_id"] == lost] or None

        (letter,) = wait_for(dead, "a dead letter after three strikes")
        assert len([headers for headers, _ in receiver.came if headers["webhook-id"] == lost]) == 3
        assert letter["state"] == "exhausted"

        receiver.status = 204
        replay = api.post(f"/api/v1/webhooks/{hook}/replay", json={"mode": "one", "message_id": lost})
        assert replay.status_code == 202, replay.text

        def replayed() -> tuple[dict[str, str], bytes] | None:
            copies = [(h, b) for h, b in list(receiver.came) if h["webhook-id"] == lost]
            return copies[3] if len(copies) > 3 else None

        headers, replayed_body = wait_for(replayed, "the replay")
        assert (headers["guardhouse-replay"], replayed_body) == ("1", body)
        Webhook(fresh).verify(replayed_body, headers)
        wait_for(
            lambda: api.get(f"/api/v1/webhooks/replays/{replay.json()['id']}").json()["state"] == "done",
            "the replay's own state",
        )
        ids = {headers["webhook-id"] for headers, _ in receiver.of("risk.band_crossed")}
        told = {json.loads(body)["data"]["agent_id"] for _, body in receiver.of("risk.band_crossed")}
        assert told == {"web-1", "web-2", "web-3"}
        assert len(ids) >= 3
