"""The program of the how-to on OpenTelemetry does what the page says, as it stands there."""

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx

from guardhouse.foundation.resources import Resources
from server.tests.components import api
from server.tests.components.opened import add_tenant

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "send-opentelemetry.md"


async def test_the_program_of_the_page(resources: Resources, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    (found,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program.write_text(found, encoding="utf-8")
    _, key = await add_tenant(resources, "acme")
    async with api.served(resources) as url:
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            env={**os.environ, "GUARDHOUSE_URL": url, "GUARDHOUSE_KEY": key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await running.communicate()
        assert running.returncode == 0, errors.decode()
        lines = said.decode().splitlines()
        async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}) as client:
            listed = (await client.get("/api/v1/streams")).json()["data"]
    assert sorted(lines) == [
        "logs.cart 10 calibrating",
        "metrics.cart 1 calibrating",
        "traces.cart 10 calibrating",
    ]
    assert len(listed) == 7
