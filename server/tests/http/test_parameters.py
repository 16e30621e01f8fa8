import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


@pytest.mark.parametrize(
    ("url", "parameter", "detail"),
    [
        ("/api/v1/agents?statu=new", "statu", "did you mean status?"),
        ("/api/v1/agents?limits=5", "limits", "did you mean limit?"),
        ("/api/v1/events?process=x", "process", "did you mean process_id?"),
        ("/api/v1/keys?zzz", "zzz", "known: cursor, env, limit, project_id, role, state"),
        ("/api/v1/me?x=1", "x", "known: none"),
        ("/api/v1/me?=1", "", "known: none"),
    ],
)
async def test_an_unknown_parameter_is_told_with_the_nearest_name(
    client: httpx.AsyncClient, admin: dict[str, str], url: str, parameter: str, detail: str
) -> None:
    answer = await client.get(url, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")
    assert answer.json()["errors"] == [{"parameter": parameter, "code": "unknown", "detail": detail}]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=ten", "limit=", "limit=1.5", "limit=99999999999999999999", "status=sleeping",
     "kind=app", "q=" + "x" * 256],
)  # fmt: skip
async def test_a_wrong_value_is_told_with_its_parameter(
    client: httpx.AsyncClient, admin: dict[str, str], query: str
) -> None:
    answer = await client.get(f"/api/v1/agents?{query}", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize("cursor", ["", "x", "c1.AAAA.AAAA", "c1." + "A" * 600, "%F0%9F%98%80"])
@pytest.mark.parametrize("path", ["agents", "keys", "events", "processes", "scores"])
async def test_a_forged_cursor_is_400_on_every_list(
    client: httpx.AsyncClient, admin: dict[str, str], path: str, cursor: str
) -> None:
    answer = await client.get(f"/api/v1/{path}?cursor={cursor}", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")
    assert answer.json()["reason"] == "tampered"


SPANS = [
    ("2026-01-01T00:00:00Z", True),
    ("2026-01-01t00:00:00.123456789z", True),
    ("2026-01-01 00:00:00+14:00".replace("+", "%2B"), True),
    ("9999-12-31T23:59:59Z", True),
    ("0001-01-01T00:00:00Z", True),
    ("9999-12-31T23:59:59-14:00", False),
    ("0001-01-01T00:00:00%2B14:00", False),
    ("2026-01-01", False),
    ("2026-01-01T00:00:00", False),
    ("2026-01-01T25:00:00Z", False),
    ("2026-02-30T00:00:00Z", False),
    ("1767225600", False),
    ("1767225600000", False),
    ("now", False),
    ("", False),
    ("\uff12\uff10\uff12\uff16-01-01T00:00:00Z", False),
]


@pytest.mark.parametrize(("instant", "good"), SPANS)
@pytest.mark.parametrize("path", ["events", "processes", "scores"])
async def test_instants_are_rfc_3339_with_a_zone(
    client: httpx.AsyncClient, admin: dict[str, str], path: str, instant: str, *, good: bool
) -> None:
    for name in ("since", "until"):
        answer = await client.get(f"/api/v1/{path}?{name}={instant}", headers=admin)
        assert answer.status_code == (200 if good else 422), answer.text


@pytest.mark.parametrize("path", ["events", "events?process_id=a:1", "processes", "scores"])
async def test_an_empty_span_is_422(client: httpx.AsyncClient, admin: dict[str, str], path: str) -> None:
    join = "&" if "?" in path else "?"
    for since, until in (
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T01:00:00%2B01:00", "2026-01-01T00:00:00Z"),
    ):
        answer = await client.get(f"/api/v1/{path}{join}since={since}&until={until}", headers=admin)
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "since")
