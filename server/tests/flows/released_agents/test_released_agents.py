"""Released agents, unmodified, in apps under attack against a running house: everything arrives, once.

Each row is an app in an environment of its own (`bench/agent/environments.toml`); what its agent was given is compared
with what the database holds afterwards.
"""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from guardhouse.analysis.abuse.classes import CLASSES
from guardhouse.foundation.postgres_record import DATABASE, SUPERUSER, read_record
from server.tests.cli.house_process import RunningHouse, clean_environment, running_house
from server.tests.components.house_hands import PATIENCE_SECONDS, a_folder, wait_for
from tools.agent_environments import NotInstalledError, interpreter

pytestmark = pytest.mark.timeout(240)
APP = Path(__file__).parent / "guarded_app.py"
SECRETS = ("geheim-authorization", "geheim-cookie", "geheim-key")
BLACKLISTED, BURSTING, BANNED = "203.0.113.9", "192.0.2.50", "45.155.204.17"

SIGNED = {"agent_payload_signing_secret": "correct-horse-battery-staple"}
SEALED = {"agent_project_encryption_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}


@dataclass(frozen=True)
class Row:
    """An environment, the generation of its agent, and what its app sets."""

    environment: str
    generation: str
    old_adapter: bool = False
    security: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "g1": Row("g1", "G1", old_adapter=True),
    "g2": Row("g2", "G2"),
    "g3": Row("g3", "G3"),
    "g3-enriched": Row("g3", "G3", security={"enable_enrichment": True}),
    "g2-signed": Row("g2", "G2", security=SIGNED),
    "g3-sealed": Row("g3", "G3", security=SIGNED | SEALED),
    "ours-8": Row("ours_8", "GH"),
    "ours-8-sealed": Row("ours_8", "GH", security=SIGNED | SEALED),
    "ours-4": Row("ours_4", "GH", old_adapter=True),
}


@dataclass
class GuardedApp:
    """A running app of a row, asked as its visitors do, and through its back door."""

    client: httpx.Client
    project: str = ""

    def visit(
        self, path: str, address: str, agent: str = "Mozilla/5.0", method: str = "GET"
    ) -> httpx.Response:
        secret_headers = {
            "Authorization": f"Bearer {SECRETS[0]}",
            "Cookie": f"session={SECRETS[1]}",
            "X-API-Key": SECRETS[2],
        }
        headers = {"X-Forwarded-For": address, "User-Agent": agent, **secret_headers}
        return self.client.request(method, path, headers=headers)

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/-/said").raise_for_status().json()
        return found

    def do(self, what: str) -> Any:
        return self.client.post(f"/-/{what}").raise_for_status().json()


@dataclass(frozen=True)
class Operator:
    """Who runs the house, with its admin key."""

    house: RunningHouse

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        key = {"X-API-Key": self.house.ready["admin_key"]}
        url = f"{self.house.ready['url']}/api/v1{path}"
        return httpx.request(method, url, json=body, headers=key | headers).raise_for_status()

    def post(self, path: str, body: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("POST", path, body).json()
        return found


@pytest.fixture(scope="module")
def house() -> Iterator[RunningHouse]:
    with a_folder() as path, running_house(path / "house", "--port", "0") as running:
        yield running


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def app(house: RunningHouse, row: str, tmp_path: Path) -> Iterator[GuardedApp]:
    wanted = ROWS[row]
    try:
        python = interpreter(wanted.environment)
    except NotInstalledError as error:
        if os.environ.get("GUARDHOUSE_REQUIRE_ALL"):
            raise
        pytest.skip(f"the released packages of {row} could not be installed: {error}")
    operator = Operator(house)
    project = operator.post("/projects", {"slug": row, "name": row})["id"]
    insist(operator, project, wanted)
    made = operator.post(f"/projects/{project}/keys", {"name": row})
    security = {
        "enable_agent": True,
        "agent_endpoint": house.ready["url"],
        "agent_api_key": made["api_key"],
        "agent_project_id": row,
        "agent_buffer_size": 1000,
        "enable_dynamic_rules": True,
        "enable_redis": False,
        "trusted_proxies": ["127.0.0.1"],
        "blacklist": [BLACKLISTED],
        "blocked_user_agents": ["sqlmap"],
        "endpoint_rate_limits": {"/limited": [5, 60]},
    }
    with running_app(python, tmp_path, security | wanted.security, old_adapter=wanted.old_adapter) as running:
        running.project = project
        yield running


def insist(operator: Operator, project: str, row: Row) -> None:
    """Give the project the secrets of its app, and let it take nothing without them."""
    demands = {}
    if secret := row.security.get("agent_payload_signing_secret"):
        operator.post(f"/projects/{project}/signing-secrets", {"signing_secret": secret})
        demands["signature"] = "required"
    if key := row.security.get("agent_project_encryption_key"):
        operator.post(f"/projects/{project}/encryption-keys", {"encryption_key": key})
        demands["encryption"] = "required"
    if demands:
        operator.ask("PATCH", f"/projects/{project}", {"settings": demands}, **{"If-Match": "*"})


@contextlib.contextmanager
def running_app(
    python: Path, folder: Path, security: dict[str, Any], *, old_adapter: bool
) -> Iterator[GuardedApp]:
    """Start the app with a home of its own, so that each row is an installation; end it by its pid."""
    log, place = folder / "app.log", folder / "port"
    given = {"port_file": str(place), "security": security, "old_adapter": old_adapter}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [python, APP, json.dumps(given)],
            env=clean_environment(HOME=str(folder)),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_for(lambda: place.exists() or process.poll() is not None, "the app did not start")
            assert process.poll() is None, log.read_text()
            url = f"http://127.0.0.1:{place.read_text()}"
            with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
                yield GuardedApp(client)
        except BaseException:
            print(log.read_text(errors="replace")[-4000:])
            raise
        finally:
            process.terminate()
            process.wait(20)


def attack(app: GuardedApp) -> None:
    """Sixty requests: visitors, and what scanners try."""
    statuses = Counter(app.visit(f"/items/{n}", f"192.0.2.{n + 1}").status_code for n in range(16))
    for n in range(5):
        statuses[app.visit(f"/search?q=<script>alert({n})</script>", f"198.51.100.{n}").status_code] += 1
        union = f"/search?q={n}' UNION SELECT password FROM users--"
        statuses[app.visit(union, f"198.51.100.{10 + n}").status_code] += 1
        statuses[app.visit("/file?name=../../../etc/passwd", f"198.51.100.{20 + n}").status_code] += 1
        statuses[app.visit("/", f"192.0.2.{60 + n}", agent="sqlmap/1.7").status_code] += 1
        statuses[app.visit("/", BLACKLISTED).status_code] += 1
        statuses[app.visit("/login", f"192.0.2.{70 + n}", method="POST").status_code] += 1
    bursting = Counter(app.visit("/limited", BURSTING).status_code for _ in range(14))
    assert statuses == {200: 21, 400: 15, 403: 10}
    assert bursting == {200: 5, 429: 9}


@contextlib.asynccontextmanager
async def behind(house: RunningHouse) -> Any:
    """The house's database as its superuser sees it."""
    record = read_record(house.data_dir)
    assert record is not None
    connection = await asyncpg.connect(record.url(SUPERUSER, DATABASE).replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def stored(house: RunningHouse, project: str) -> dict[str, Any]:
    """Return what is kept of a project, in the shape of `given`."""
    async with behind(house) as connection:
        number = await connection.fetchval("SELECT project_no FROM projects WHERE slug = $1", project)
        events = await connection.fetch(
            "SELECT occurred_at, event_type, coalesce(host(ip), ip_text, ''), action_taken, reason, endpoint,"
            " method FROM events WHERE project_no = $1",
            number,
        )
        noise = await connection.fetch(
            "SELECT event_type, sum(count)::int FROM event_rollups WHERE project_no = $1 GROUP BY 1", number
        )
        metrics = await connection.fetch(
            "SELECT occurred_at, metric_type, coalesce(sum / count, value), tags, coalesce(count, 1)::int"
            " FROM metrics WHERE project_no = $1",
            number,
        )
    kept: Counter[tuple[Any, ...]] = Counter()
    for at, kind, value, tags, count in metrics:
        kept[at, kind, value, json.dumps(json.loads(tags), sort_keys=True)] += count
    return {
        "events": Counter(tuple(value or "" for value in event) for event in events),
        "noise": dict(map(tuple, noise)),
        "metrics": kept,
    }


def given(said: dict[str, Any]) -> dict[str, Any]:
    """Return what the agent was given, as the database should hold it."""
    events: Counter[tuple[Any, ...]] = Counter()
    noise: Counter[str] = Counter()
    for event in said["produced"]["event"]:
        if CLASSES.get(event["event_type"]) == "noise":
            noise[event["event_type"]] += 1
        else:
            at, *rest = event.values()
            events[(instant(at), *(value or "" for value in rest))] += 1
    metrics = Counter(
        (
            instant(metric["timestamp"]),
            metric["metric_type"],
            metric["value"],
            json.dumps(metric["tags"], sort_keys=True),
        )
        for metric in said["produced"]["metric"]
    )
    return {"events": events, "noise": dict(noise), "metrics": metrics}


def summed(items: dict[str, Any]) -> dict[str, Any]:
    """Return items with metrics as our agent tells them to a Guardhouse: how many of each kind, and their sum.

    A kind has the class of a status, not the status.
    """
    number: Counter[tuple[Any, ...]] = Counter()
    sums: dict[tuple[Any, ...], float] = defaultdict(float)
    for (_, kind, value, each), count in items["metrics"].items():
        tags = re.sub(r'("status": "[1-5])\d\d"', r'\1xx"', each)
        number[kind, tags] += count
        sums[kind, tags] += value * count
    return items | {"metrics": number, "sums": {key: round(1000 * value) for key, value in sums.items()}}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def refused(said: dict[str, Any]) -> list[Any]:
    """Return the requests of the agent that were neither taken nor answered that nothing is new."""
    return [
        answer for answer in said["answers"] if answer[2] not in {httpx.codes.OK, httpx.codes.NOT_MODIFIED}
    ]


async def kept_secrets(house: RunningHouse) -> list[tuple[str, str]]:
    """Return the tables that hold a secret of the visitors' requests, by table and secret."""
    found = []
    async with behind(house) as connection:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for (table,) in tables:
            for secret in SECRETS:
                holds = f"SELECT EXISTS (SELECT FROM {table} t WHERE t::text LIKE $1)"
                if await connection.fetchval(holds, f"%{secret}%"):
                    found.append((table, secret))
    return found


def test_attacks_arrive_once_the_instance_is_known_and_a_ban_works(
    house: RunningHouse, app: GuardedApp, row: str
) -> None:
    attack(app)
    app.do("flush")
    app.do("flush")  # G1 also starts a flush of its own when its buffer fills
    sent = given(app.said())
    seen = {event[1] for event in sent["events"]}
    assert {"penetration_attempt", "user_agent_blocked", "ip_blocked"} <= seen
    assert len(sent["metrics"]) == 2 * 26  # of the requests that were let in
    if ROWS[row].generation == "GH":
        sent = summed(sent)
    assert arrived(house, row, sent) == sent

    app.do("status")
    instance = wait_for(lambda: reported(house, app), "no instance reported")
    assert (instance["generation"], instance["state"]) == (ROWS[row].generation, "healthy")

    ban_and_take_back(house, app, ours=ROWS[row].generation == "GH")
    assert refused(app.said()) == []
    assert asyncio.run(kept_secrets(house)) == []


def reported(house: RunningHouse, app: GuardedApp) -> dict[str, Any] | None:
    """Return the app's instance once it is the one of its project and has reported."""
    found = Operator(house).ask("GET", f"/projects/{app.project}/instances").json()["data"]
    return found[0] if len(found) == 1 and found[0]["last_report"] else None


def ban_and_take_back(house: RunningHouse, app: GuardedApp, *, ours: bool) -> None:
    """See an address banned by the first poll after the publication, and let in again by the first after its end.

    Our agent is told of a publication, and asks for nothing when the adapter polls; so there the telling is waited for.
    """

    def polled(status: int) -> bool:
        app.do("poll")
        return app.visit("/", BANNED).status_code == status

    def becomes(status: int) -> bool:
        return polled(status) or bool(
            ours and wait_for(lambda: polled(status), f"it did not become {status}")
        )

    assert app.visit("/", BANNED).status_code == 200
    operator, rules = Operator(house), f"/projects/{app.project}/rules"
    made = operator.ask("POST", rules, {"kind": "ban_net", "value": {"net": BANNED}, "reason": "scans"})
    assert becomes(403)
    assert app.visit("/", "192.0.2.8").status_code == 200
    operator.ask("DELETE", f"{rules}/{made.json()['id']}", **{"If-Match": made.headers["ETag"]})
    assert becomes(200)


def arrived(house: RunningHouse, row: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Return what is stored, once it is as many as was sent or will not become so: more than that stays wrong."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        kept = asyncio.run(stored(house, row))
        if "sums" in sent:
            kept = summed(kept)
        if total(kept) >= total(sent) or time.monotonic() > deadline:
            return kept
        time.sleep(0.1)


def total(items: dict[str, Any]) -> int:
    return sum(sum(kind.values()) for kind in items.values())
