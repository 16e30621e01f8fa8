import html
import re

import httpx
import pytest

from guardhouse.http.html_page import POLICY
from server.tests.components.operations import operations_of


@pytest.mark.parametrize("path", ["/api/v1/docs", "/docs", "/redoc", "/v1/docs"])
async def test_the_reference_page_shows_every_operation(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == POLICY
    for operation in await operations_of(client):
        assert f'<details id="{operation.id}">' in page.text
        assert html.escape(operation.path) in page.text
    assert (await client.head(path)).headers["content-length"] == page.headers["content-length"]


async def test_nothing_comes_from_elsewhere_and_every_link_leads_somewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/v1/docs")).text
    assert not re.findall(
        r"<(?:script|img|iframe|link|object|embed|form)\b|\bon\w+=|javascript:|style=|url\(", page
    )
    links = set(re.findall(r'href="([^"]+)"', page))
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    for link in sorted(link for link in links if not link.startswith("#")):
        assert link.startswith("/"), link
        assert (await client.get(link)).status_code == 200, link


async def test_it_is_marked_up_for_readers_of_every_kind(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/v1/docs")).text
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert page.count("<h1>") == 1
    assert page.count("<main>") == 1
    assert 'nav aria-label="' in page
    assert page.count("<th ") == page.count('<th scope="col">')
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("path", ["/llms.txt", "/llms-full.txt"])
async def test_what_a_program_reads(client: httpx.AsyncClient, path: str) -> None:
    text = await client.get(path)
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith("# Guardhouse\n")
    for word in ("X-API-Key", "Retry-After", "Idempotency-Key", "application/problem+json", "create_"):
        assert word in text.text or word == "create_"
    for link in re.findall(r"\((http://127\.0\.0\.1:8000[^)]*)\)", text.text):
        assert (await client.get(link)).status_code == 200, link
    for operation in await operations_of(client):
        assert path == "/llms.txt" or f"`{operation.method} {operation.path}`" in text.text
    assert "gh_live_0" not in text.text
