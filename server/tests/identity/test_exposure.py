import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import exposure, key_format
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make


class Later(Clock):
    """A clock an hour ahead."""

    def now(self) -> Any:
        return super().now() + timedelta(hours=1, seconds=1)


async def told(resources: Resources) -> list[dict[str, Any]]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT subject, severity, data::text FROM notices WHERE kind = 'key.exposed'")
    return [
        {**json.loads(row["data"]), "subject": row["subject"], "severity": row["severity"]} for row in rows
    ]


async def test_a_real_key_in_a_url_is_told_to_its_tenant_once(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    key, text = await make.key(resources, await make.tenant(resources))
    for url in (
        f"/api/v1/me?key={text}",
        f"/nothing/{text}",
        f"/api/v1/keys/{text}?x={key_format.new_key('live')}",
    ):
        answer = await client.get(url)
        assert (answer.status_code, answer.json()["code"]) == (400, "raw_key_in_url")
    (notice,) = await told(resources)
    assert (notice["subject"], notice["severity"], notice["place"]) == (f"key:{key.id}", "high", "url")
    assert notice["actor"] == "127.0.0.1"
    shown = await client.get(f"/api/v1/keys/{key.id}", headers=make.bearing(text))
    assert shown.json()["exposed_at"] is not None
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM audit_log WHERE action = 'key.exposed'") == 1
        assert await exposure.tell_exposed(tx, Later(), resources.peppers, text)
    assert len(await told(resources)) == 2


async def test_what_is_no_living_key_is_not_told(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    key, text = await make.key(resources, tenant)
    _, admin = await make.key(resources, tenant)
    assert (await client.delete(f"/api/v1/keys/{key.id}", headers=make.bearing(admin))).status_code == 200
    for exposed in (text, key_format.new_key("live"), text[:-1] + ("0" if text[-1] != "0" else "1")):
        assert (await client.get(f"/api/v1/me?key={exposed}")).status_code == 400
    assert await told(resources) == []


async def test_a_refusal_comes_whatever_becomes_of_the_telling(tmp_path: Path) -> None:
    async with (
        opened("postgresql://nobody@127.0.0.1:1/none", tmp_path) as away,
        api.client_of(away) as client,
    ):
        answer = await client.get(f"/api/v1/me?key={key_format.new_key('live')}")
    assert (answer.status_code, answer.json()["code"]) == (400, "raw_key_in_url")
