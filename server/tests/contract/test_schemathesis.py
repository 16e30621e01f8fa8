"""The whole document under schemathesis, all checks: no server error, no undocumented status, no breach of a schema.

`tools/fuzz_contract.py` runs the same with many more examples.
"""

import itertools
import os
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.failures import Failures
from server.tests.components import api
from server.tests.components.openapi.fuzz import Depth, fuzz
from server.tests.identity import make

DEPTH = Depth(
    phases=os.environ.get("GUARDHOUSE_FUZZ_PHASES", "examples,fuzzing"),
    examples=int(os.environ.get("GUARDHOUSE_FUZZ_EXAMPLES", "4")),
    seed=int(os.environ.get("GUARDHOUSE_FUZZ_SEED", "1")),
)


async def without_limits(resources: Resources) -> None:
    """Lift the pace of every key: the run is about shapes."""
    async with system_transaction(resources.database) as tx:
        columns = await tx.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'api_keys'"
            " AND column_name LIKE 'rate_limit_per_%'"
        )
        for row in columns:
            await tx.run(f"UPDATE api_keys SET {row['column_name']} = 1000000000")


def without_pauses(app: FastAPI) -> None:
    """Let two minutes pass between any two failed credentials: the run sends nothing but bad ones at times."""
    minutes = itertools.count(0.0, 120.0)
    app.state.failures = Failures(lambda: next(minutes))


@pytest.mark.timeout(600 + 120 * DEPTH.examples)
@pytest.mark.parametrize("role", ["admin", "viewer", "anonymous"])
async def test_the_contract_holds_whatever_is_sent(resources: Resources, tmp_path: Path, role: str) -> None:
    headers: dict[str, str] = {}
    if role != "anonymous":
        _, text = await make.key(resources, await make.tenant(resources), role)
        headers = make.bearing(text)
        await without_limits(resources)
    async with api.served(resources, prepare=without_pauses) as served:
        run = await fuzz(served, headers, DEPTH, tmp_path)
        (tmp_path / "schemathesis.txt").write_text(run.output, encoding="utf-8")
        assert run.status == 0, run.output
        if headers:  # the run was one of this role to its end
            async with httpx.AsyncClient(base_url=served) as client:
                answer = await client.get("/api/v1/me", headers=headers)
                assert answer.status_code == 200, answer.text
