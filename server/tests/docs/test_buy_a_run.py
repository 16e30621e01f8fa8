"""The page on runs does what it says: its blocks are run by a shell, against a served house with a worker."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from guardhouse.runs import jobs
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make as identity

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "buy-a-run.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.mark.usefixtures("database")
async def test_the_page_does_what_it_says(database_url: str, tmp_path: Path) -> None:
    first, *blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert first.startswith("URL=")
    async with opened(database_url, tmp_path, self_top_up=True) as resources, api.served(resources) as url:
        tenant = await identity.tenant(resources)
        _, key = await identity.key(resources, tenant)
        stop = asyncio.Event()
        worker = asyncio.create_task(jobs.work_runs(resources, stop))
        script = (
            f"set -e\nURL={url}\nKEY={key}\n"
            + "\n".join(blocks)
            + '\ncurl -s $URL/api/v1/runs/$RUN -H "X-API-Key: $KEY"'
        )
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        out, errors = await process.communicate()
        stop.set()
        await worker
    assert (process.returncode, errors) == (0, b"")
    said = out.decode()
    assert '"available_usd":"100.0000"' in said
    assert '"quote_usd":"0.0100"' in said
    assert '"status":"COMPLETED"' in said
    assert '"recommendation":"house"' in said
    assert '"whole":true' in said
