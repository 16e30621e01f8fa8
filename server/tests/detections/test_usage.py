"""What was judged is in the figures of usage: every one equals a count of what was answered."""

from collections import Counter
from typing import Any

import httpx

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.components import api
from server.tests.components.opened import add_tenant
from server.tests.detections.recorded_door import ATTACK, DETECT
from server.tests.usage.make import until_logged

BATCH = "/api/v1/detect/batch"


async def test_figures_equal_a_recount(resources: Resources) -> None:
    tenant, key = await add_tenant(resources, "acme")
    async with api.client_of(resources) as client:
        client.headers["X-API-Key"] = key
        texts = (ATTACK, "Hello there", "What is the capital of Croatia?")
        answered = [(await client.post(DETECT, json={"text": text})).json() for text in texts]
        items = [{"text": ATTACK}, {"text": "Hi", "channel": "external"}, {"text": ""}]
        batch = await client.post(BATCH, json={"requests": items})
        answered += [one for one in batch.json()["results"] if one]
        assert (await client.post(DETECT, json={"text": ""})).status_code == 422
        await until_logged(resources, tenant.id, 5)
        by_decision = Counter(one["decision"] for one in answered)
        malicious = sum(one["is_malicious"] for one in answered)
        assert malicious == 2
        stats = await _read(client, "/admin/stats")
        assert stats["by_decision"] == by_decision
        assert stats["by_channel"] == {"user": 3}  # the batch had both
        assert sum(stats["by_threat_type"].values()) == len(answered[0]["threat_types"]) * 2
        profile = await _read(client, "/auth/profile")
        assert (profile["malicious_detections"], profile["decisions"]) == (malicious, by_decision)
        threats = await _read(client, "/admin/threats")
        assert sum(threats["malicious_by_hour"].values()) == malicious
        users = await _read(client, "/admin/users")
        assert [one["malicious_24h"] for one in users["data"]] == [malicious]
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT * FROM usage_log WHERE endpoint LIKE '/api/v1/detect%' ORDER BY at")
    assert [row["items"] for row in rows] == [1, 1, 1, 3, 1]
    assert [row["malicious_count"] for row in rows] == [1, 0, 0, 1, None]
    top = max(answered[0]["score"], answered[3]["score"])
    assert rows[3]["max_score_milli"] == round(top * 1_000)
    assert [(row["degraded"], row["cached"]) for row in rows[:3]] == [(False, False)] * 3


async def test_scanned_answers_are_counted_by_what_was_decided(resources: Resources) -> None:
    tenant, key = await add_tenant(resources, "acme")
    async with api.client_of(resources) as client:
        client.headers["X-API-Key"] = key
        told = [
            (await client.post("/api/v1/detect/output", json={"text": text})).json()["decision"]
            for text in ("Nine to five.", "Write to ann@shop.example for an offer.")
        ]
        piece = {"chunk": "Nine to five.", "final": True}
        told.append((await client.post("/api/v1/detect/output/stream", json=piece)).json()["decision"])
        await until_logged(resources, tenant.id, 3)
        stats = await _read(client, "/admin/stats")
    assert told == ["allow", "review", "allow"]
    assert stats["by_decision"] == {"allow": 2, "review": 1}
    assert stats["by_channel"] == {"output": 3}


async def _read(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
