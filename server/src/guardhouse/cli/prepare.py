"""The step of ``up`` between database and server: migrate, and see that tenant and admin key exist.

A program of its own (``python -m guardhouse.cli.prepare``), so that the supervisor stays small. It prints one
JSON object: ``{"tenant", "admin_key", "is_new"}``.
"""

import asyncio
import json
import sys
from typing import Any

from guardhouse.cli import database_sentence
from guardhouse.cli.local_settings import ADMIN_FILE, owner_url, read_settings
from guardhouse.foundation import migrate
from guardhouse.foundation.data_folder import read_object
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.start_error import StartError
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys, tenants
from guardhouse.identity.keys import NewKey
from guardhouse.settings import Settings

TENANT = "demo"
CREATOR = "guardhouse up"


def main() -> None:
    """Prepare the house of the environment; exit 1 with one sentence on stderr when it cannot be."""
    try:
        settings = read_settings()
        url = owner_url(settings)
        try:
            migrate.upgrade(url, single_role=settings.single_role)
            print(json.dumps(asyncio.run(_ensure_admin(settings))))
        except (*migrate.FAULTS, Problem) as error:
            raise StartError(database_sentence.explain(error, url)) from error
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


async def _ensure_admin(settings: Settings) -> dict[str, Any]:
    known = str(read_object(settings.data_dir / ADMIN_FILE).get("admin_key", ""))
    async with open_resources(settings) as resources:
        if known and await _works(resources, known):
            return {"tenant": TENANT, "admin_key": known, "is_new": False}
        async with system_transaction(resources.database) as tx:
            tenant = await tenants.find_tenant(tx, TENANT)
            if tenant is None:
                tenant = await tenants.create_tenant(tx, resources.clock, TENANT, "Demo")
            wanted = NewKey("First admin key of this data folder", role="admin")
            _, text = await keys.create_key(
                tx, resources.clock, resources.peppers[0], tenant, wanted, created_by=CREATOR
            )
    return {"tenant": TENANT, "admin_key": text, "is_new": True}


async def _works(resources: Resources, text: str) -> bool:
    async with system_transaction(resources.database) as tx:
        key = await keys.find_key(tx, resources.peppers, text)
    return key is not None and key.state == "active" and key.tenant.slug == TENANT


if __name__ == "__main__":
    main()
