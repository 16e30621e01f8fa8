"""Two tenants with something of everything in the first, and what is the first one's as the database has it.

What is there is found through the API itself: the first of a list, or what a POST to the list makes.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from guardhouse.agents.rules import store as rule_store
from guardhouse.agents.rules.store import Place as RulePlace
from guardhouse.agents.rules.store import Revision
from guardhouse.analysis.risk.head import Head
from guardhouse.anomalies.findings import store as finding_store
from guardhouse.events.ips import jobs as ips_jobs
from guardhouse.events.policies import jobs as policies_jobs
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.ids import id_at, time_of
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import members
from guardhouse.scores.heads import store as head_store
from guardhouse.scores.heads.store import StoredHead
from guardhouse.webhooks.turning import jobs as turning_jobs
from server.tests.anomalies.findings.make import anomaly_of
from server.tests.components import api, hosts
from server.tests.components.bought import bought_run
from server.tests.components.hosts import Host
from server.tests.components.opened import add_tenant, opened
from server.tests.components.operations import documented
from server.tests.components.postgres import Clone
from server.tests.components.sampled import body_of

OF_THE_HOUSE = "{pack_type}"  # names what is installed: the same for every tenant
BEARING_IDS = [
    operation
    for operation in documented()
    if "{" in operation.path.replace(OF_THE_HOUSE, "") and operation.scopes is not None
]
PUT_RULE = next(operation for operation in documented() if operation.id == "set_rule")
MARK = "canary-a"
LONG = 8
PARAMETER = re.compile(r"\{(\w+)\}")
# Written behind the answers of earlier calls, or by every call: what is in them is not a change by the one under test.
LATE_TABLES = {"usage_log", "usage_daily", "usage_buckets", "jobs"}
LATE_COLUMNS = "'{last_used_at,last_used_ip,last_seen_at,seen_at}'"


class NothingKnown(AssertionError):  # noqa: N818 - a sentence for whoever adds an operation
    """The first tenant has nothing that an operation could be tried with."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One tenant and its admin."""

    tenant: TenantKey
    headers: dict[str, str]


@dataclass(slots=True)
class TwoTenants:
    """The first tenant owns everything, the second asks for it, the third names it in what it makes of its own.

    ``ids``: the first one's, by name and by path.
    """

    client: httpx.AsyncClient
    resources: Resources
    database: "asyncpg.Connection[asyncpg.Record]"
    first: Owner
    second: Owner
    third: Owner
    ids: dict[str, str] = field(default_factory=dict)

    async def real_url(self, path: str) -> tuple[str, dict[str, str]]:
        """Return a path with the first tenant's own ids in it, and those ids by parameter."""
        found: dict[str, str] = {}
        for hole in PARAMETER.finditer(path):
            found[hole[1]] = await self._id(hole[1], path[: hole.start() - 1], found)
        return path.format(**found), found

    async def know_everything(self) -> set[str]:
        """Find an id for every operation that takes one; return those long enough to be nothing else."""
        for path in sorted({operation.path for operation in BEARING_IDS}):
            with contextlib.suppress(NothingKnown):  # the tests of that operation say so
                await self.real_url(path)
        return {value for value in self.ids.values() if len(value) >= LONG}

    async def _id(self, name: str, template: str, outer: dict[str, str]) -> str:
        """Return an id for the parameter behind a path whose own parameters are ``outer``."""
        if template not in self.ids:
            made = self.ids.get(name)
            for find in (self._listed, self._made):
                made = made or await find(name, template, outer)
            if made is None:
                raise NothingKnown(
                    f"Nothing of the first tenant is known for {template}/{{{name}}}: let a list or a POST there give"
                    f" one, describe the POST's body in sampled.BODIES, or make one in two_tenants._fill."
                )
            self.ids[template] = made
            self.ids.setdefault(name, made)
        return self.ids[template]

    async def _listed(self, name: str, template: str, outer: dict[str, str]) -> str | None:
        answer = await self.client.get(template.format(**outer), headers=self.first.headers)
        found = answer.json().get("data", []) if answer.status_code == httpx.codes.OK else []
        return _id_in(name, found[0]) if found else None

    async def _made(self, name: str, template: str, outer: dict[str, str]) -> str | None:
        for operation in documented():
            if operation.method == "POST" and operation.path == template:
                body = body_of(operation, self.ids) or {}
                body |= {"name": MARK} if "name" in body else {}
                answer = await self.client.post(
                    template.format(**outer), json=body, headers=self.first.headers
                )
                return _id_in(name, answer.json()) if answer.status_code == httpx.codes.CREATED else None
        return None

    async def rows(self) -> dict[str, tuple[int, str]]:
        """Return count and checksum of the first tenant's rows in each table, and of all rows that are nobody's."""
        tables = await self.database.fetch(TABLES)
        parts = [
            _SUMMED.format(
                name=row["name"],
                late=LATE_COLUMNS,
                condition={
                    "tenant_id": f"tenant_id = '{self.first.tenant.id}'",
                    "tenant_no": f"tenant_no = {self.first.tenant.no}",
                }.get(row["wall"], "true"),
            )
            for row in tables
            if row["name"] not in LATE_TABLES
        ]
        return {
            row["name"]: (row["n"], row["sum"])
            for row in await self.database.fetch(" UNION ALL ".join(parts))
        }


TABLES = """
SELECT relname AS name, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND NOT attisdropped
  AND attname IN ('tenant_id', 'tenant_no') ORDER BY attname LIMIT 1) AS wall
FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1
"""
_SUMMED = """
SELECT '{name}' AS name, count(*) AS n,
  coalesce(sum(hashtextextended((to_jsonb(t) - {late}::text[])::text, 0)), 0)::text AS sum
FROM public.{name} t WHERE {condition}
"""


@asynccontextmanager
async def two_tenants(postgres: Clone, folder: Path) -> AsyncIterator[TwoTenants]:
    """Empty the database, fill it, and serve the application over it."""
    database = await asyncpg.connect(postgres.superuser_url)
    try:
        await database.execute("SELECT testing.clean()")
        async with opened(postgres.database_url, folder) as resources, api.client_of(resources) as client:
            owners = []
            for slug in (MARK, "second", "third"):
                tenant, text = await add_tenant(resources, slug)
                owners.append(Owner(tenant, {"X-API-Key": text, "X-Correlation-ID": "probe"}))
            made = TwoTenants(client, resources, database, owners[0], owners[1], owners[2])
            await _fill(made)
            made.ids["run_id"] = await bought_run(made.client, made.resources, made.first, MARK)
            yield made
    finally:
        await database.close()


async def _fill(made: TwoTenants) -> None:
    """Make what no POST of the API makes, and remember what lists do not show first."""
    await hosts.make_days(made.resources)
    agent = f"{MARK}-1"
    host = Host(made.client, made.first.headers["X-API-Key"], agent)
    enrolled = await made.client.post("/api/v1/agents", json={"id": agent}, headers=made.first.headers)
    assert enrolled.status_code == 201, enrolled.text
    await host.accepted(hosts.attack(made.resources.clock.now()))
    await hosts.score_everything(made.resources)
    project = uuid4()
    async with system_transaction(made.resources.database) as tx:
        await tx.run(
            "INSERT INTO projects (project_id, tenant_id, slug, external_ids, state, settings, created_at)"
            " VALUES ($1, $2, $3, '{}', 'active', '{}', now())",
            project,
            made.first.tenant.id,
            MARK,
        )
    made.ids |= {"tenant_id": str(made.first.tenant.id), "project_id": str(project), "agent_id": agent}
    told = await made.client.post(
        "/api/v1/status", json={"status": "healthy"}, headers=made.first.headers | {"X-Project-ID": MARK}
    )
    assert told.status_code == 200, told.text
    made.ids["instance_id"] = told.json()["instance_id"]
    history = await made.client.get("/api/v1/scores?view=history", headers=made.first.headers)
    made.ids["score_id"] = history.json()["data"][0]["id"]
    processes = await made.client.get("/api/v1/processes", headers=made.first.headers)
    for path, body in (
        (f"/processes/{processes.json()['data'][0]['id']}/verdict", {"verdict": "confirmed", "note": MARK}),
        ("/risk/profiles:learn", {"agent_id": agent}),
    ):
        answer = await made.client.post(f"/api/v1{path}", json=body, headers=made.first.headers)
        assert answer.status_code == 201, answer.text
    me = (await made.client.get("/api/v1/me", headers=made.first.headers)).json()
    made.ids |= dict.fromkeys(("key_id", "api_key_id", "key"), me["credential_id"])
    made.ids["plan"] = "basic"  # the platform's, and the same for all
    rule = await made.client.put(
        "/api/v1/risk/rules/canary_", json=body_of(PUT_RULE, {}), headers=made.first.headers
    )
    assert rule.status_code == 200, rule.text
    made.ids["rule_id"] = (
        "canary_"  # short: whoever tries it says the name in its own log, which tells nothing
    )
    await _fill_app_rules(made, project)
    asked = await made.client.post(
        "/api/v1/scores:preview", json={"override": {"rule_id": "exec_tmp"}}, headers=made.first.headers
    )
    assert asked.status_code == 202, asked.text
    made.ids["preview_id"] = asked.json()["id"]
    now = made.resources.clock.now()
    span = {"since": rfc3339(now - timedelta(hours=1)), "until": rfc3339(now)}
    asked = await made.client.post(
        "/api/v1/scores:recalculate", json={"agent_id": agent} | span, headers=made.first.headers
    )
    assert asked.status_code == 202, asked.text
    made.ids["recalculation_id"] = asked.json()["id"]
    for fill in (_fill_verdicts, _fill_addresses, _fill_anomalies, _fill_people, _fill_webhooks):
        await fill(made)


async def _fill_verdicts(made: TwoTenants) -> None:
    """Store a verdict head, which a job makes, and let texts be judged, at once and later."""
    now = made.resources.clock.now()
    head = StoredHead(1_900_000_001, "native.v1", "off", 0.95, 50, 500, now)  # a job makes them
    async with system_transaction(made.resources.database) as tx:
        await head_store.add(tx, made.first.tenant.no, head, Head(head.version, head.alphabet, 0, {}).pack())
    made.ids["/api/v1/risk/heads"] = str(head.version)
    judged = await made.client.post("/api/v1/detect", json={"text": MARK}, headers=made.first.headers)
    assert judged.status_code == 200, judged.text
    made.ids["detection_id"] = judged.json()["id"]
    recorded = await made.client.get(f"/api/v1/detect/{judged.json()['id']}", headers=made.first.headers)
    assert recorded.status_code == 200, recorded.text  # it waits until the record is written
    batch = await made.client.post(
        "/api/v1/detect/batch",
        json={"requests": [{"text": MARK}]},
        headers=made.first.headers | {"Prefer": "respond-async"},
    )
    assert batch.status_code == 202, batch.text
    made.ids["/api/v1/detect/batch"] = batch.json()["id"]


async def _fill_addresses(made: TwoTenants) -> None:
    """Let an address attack the project, score it, and let a policy propose a ban; one more event is unreadable."""
    event = {"event_type": "penetration_attempt", "ip_address": "203.0.113.77", "endpoint": f"/{MARK}"}
    await made.database.execute(  # a number that no other text in an answer has in it
        "SELECT setval(pg_get_serial_sequence('quarantine', 'quarantine_no'), 836417259)"
    )
    answer = await made.client.post(
        "/api/v1/events",
        json={"batch_id": MARK, "events": [event, MARK], "metrics": []},
        headers=made.first.headers | {"X-Project-ID": MARK},
    )
    assert answer.status_code == 200, answer.text
    body = {"name": MARK, "when": {"source": "ip_score", "at_least": 1}, "mode": "suggest"}
    policies = f"/api/v1/projects/{made.ids['project_id']}/rule-policies"
    policy = await made.client.post(policies, json=body, headers=made.first.headers)
    assert policy.status_code == 201, policy.text
    made.ids["/api/v1/projects/{project_id}/rule-policies"] = policy.json()["id"]
    while await ips_jobs.rate_once(made.resources) or await policies_jobs.judge_once(made.resources):
        pass
    made.ids["ip"] = "203.0.113.77"


async def _fill_anomalies(made: TwoTenants) -> None:
    """Make a stream and put an anomaly into it, which judging makes of thousands of events."""
    answer = await made.client.post(
        "/api/v1/streams", json={"slug": MARK, "type": "logs"}, headers=made.first.headers
    )
    assert answer.status_code == 201, answer.text
    made.ids["stream_id"] = answer.json()["id"]
    found = anomaly_of(UUID(made.ids["stream_id"]), made.resources.clock.now())
    async with system_transaction(made.resources.database) as tx:
        await finding_store.add_anomalies(tx, made.first.tenant.no, [found])
    made.ids["anomaly_id"] = str(found.id)


async def _fill_app_rules(made: TwoTenants, project: UUID) -> None:
    """Ban an address in a project, and make a revision whose number is long enough to be nothing else."""
    rules = f"/api/v1/projects/{project}/rules"
    ban = await made.client.post(
        rules, json={"kind": "ban_net", "value": {"net": "203.0.113.7"}}, headers=made.first.headers
    )
    assert ban.status_code == 201, ban.text
    made.ids["/api/v1/projects/{project_id}/rules"] = ban.json()["id"]
    revision = Revision(1_900_000_002, made.resources.clock.now(), MARK, "change", None, None, {}, (), None)
    async with system_transaction(made.resources.database) as tx:
        await rule_store.add_revision(tx, RulePlace(made.first.tenant.id, project), revision)
    made.ids["/api/v1/projects/{project_id}/rules/revisions"] = str(revision.number)


async def _fill_people(made: TwoTenants) -> None:
    async with system_transaction(made.resources.database) as tx:
        member = await members.upsert_member(
            tx, made.first.tenant, "https://issuer.example", MARK, email=None, name=MARK, role="viewer"
        )
    made.ids["member_id"] = str(member.id)
    key = {"api_key": made.first.headers["X-API-Key"]}
    signed_in = await made.client.post("/auth/session", json=key)
    assert signed_in.is_success, signed_in.text
    made.client.cookies.clear()


async def _fill_webhooks(made: TwoTenants) -> None:
    """Register a webhook, let something happen, and make its delivery and a replay."""

    async def post(path: str, **body: object) -> dict[str, Any]:
        answer = await made.client.post(f"/api/v1{path}", json=body, headers=made.first.headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    webhook = await post("/webhooks", url="https://receiver.example/", kinds=["key.*"], description=MARK)
    await post("/keys", name=MARK)
    stop = asyncio.Event()
    turning = asyncio.create_task(turning_jobs.turn_notices(made.resources, stop))
    made.ids["webhook_id"] = webhook["id"]  # the short paths list only what was made by them
    path = f"/api/v1/webhooks/{webhook['id']}/deliveries"
    async with asyncio.timeout(30):
        while not (listed := await made.client.get(path, headers=made.first.headers)).json()["data"]:
            await asyncio.sleep(0.05)
    stop.set()
    await turning
    made.ids["/api/v1/webhooks/deliveries"] = listed.json()["data"][0]["id"]
    since = rfc3339(made.resources.clock.now() - timedelta(hours=1))
    replay = await post(f"/webhooks/{webhook['id']}/replay", mode="missing", since=since)
    made.ids["/api/v1/webhooks/replays"] = replay["id"]


def _id_in(name: str, item: dict[str, Any]) -> str | None:
    for member in (name, "id", *sorted(member for member in item if member.endswith("_id"))):
        if isinstance(item.get(member), str):
            return str(item[member])
    return None


def absent_like(real: str) -> str:
    """Return an id of the same form that nobody has."""
    try:
        at = time_of(UUID(real))
    except ValueError:
        if re.fullmatch(r"[0-9a-f]{32}", real):
            return uuid4().hex
        if real.isdigit():
            return str(int(real) - 1)
        return real.replace(MARK, "nothing-").replace("canary_", "nothing_")
    absent = uuid4() if at is None else id_at(at)  # where the time in an id says where to look
    return str(absent) if "-" in real else absent.hex


def without_marks(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """Return what two answers must have in common: all but the marks of the occurrence and the id asked for."""
    text = re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn", answer.text)
    for value in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(value, "ID")
    passing = ("x-response-time", "ratelimit", "x-ratelimit", "traceparent", "date", "content-length")
    headers = {name: value for name, value in answer.headers.items() if not name.startswith(passing)}
    return answer.status_code, text, headers
