"""Schemathesis over the whole document against a served application, as one role.

Streams are left out by what they answer with, and so is what would end the credential that the run works with.
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).parents[4]
CONFIG = Path(__file__).parent / "schemathesis.toml"
HOOKS = "server.tests.components.openapi.hooks"
# These take the run's own credential or the whole installation out of service.
ENDS_THE_RUN = frozenset(
    {
        "revoke_all_keys",
        "revoke_own_key",
        "rotate_own_key",
        "revoke_key",  # of the key that the run presents: schemathesis takes ids from answers
        "rotate_key",
        "update_key",
        "set_kill_switch",
        "suspend_tenant",
        "close_tenant",
        "suspend_admin_user",
    }
)


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended: schemathesis' exit status (0 = nothing found) and what it printed."""

    status: int
    output: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How thorough a run is: its phases, how many examples per operation, and the seed they come from."""

    phases: str
    examples: int
    seed: int


async def fuzz(url: str, headers: dict[str, str], depth: Depth, folder: Path) -> Run:
    """Run every check."""
    async with httpx.AsyncClient(base_url=url) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/api/v1/openapi.json",
        "--phases", depth.phases, "--max-examples", str(depth.examples), "--seed", str(depth.seed),
        "--continue-on-failure",
        "--workers", "1", "--suppress-health-check", "all", "--request-timeout", "30",
    ]  # fmt: skip
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    for name in sorted(left_out(document)):
        command += ["--exclude-operation-id", name]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Run(process.returncode or 0, printed.decode(errors="replace"))


def left_out(document: dict[str, Any]) -> set[str]:
    """Return the operations that a run does not call."""
    found = set()
    for methods in document["paths"].values():
        for operation in methods.values():
            name = operation["operationId"]
            media = {kind for answer in operation["responses"].values() for kind in answer.get("content", ())}
            if "text/event-stream" in media or name in ENDS_THE_RUN:
                found.add(name)
    return found
