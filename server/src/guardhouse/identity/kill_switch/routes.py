"""Routes of the kill switch, for the platform's admins alone."""

from typing import Annotated

from fastapi import Depends, Request

from guardhouse.foundation.request import Shared, api_router, system_transaction
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.kill_switch.mode import ModeCache, Wanted, read_mode, set_mode
from guardhouse.identity.kill_switch.wire import ModeRequest, ModeShape, mode_shape

router = api_router("platform")
Platform = Annotated[Caller, Depends(Require("platform"))]


@router.get("/admin/kill-switch", operation_id="get_kill_switch")
async def get_kill_switch(_caller: Platform, shared: Shared) -> ModeShape:
    """Show the platform's mode."""
    async with system_transaction(shared) as tx:
        return mode_shape(await read_mode(tx), shared.clock.now())


@router.put("/admin/kill-switch", operation_id="set_kill_switch")
async def set_kill_switch(
    request: Request, caller: Platform, shared: Shared, wanted: ModeRequest
) -> ModeShape:
    """Set the platform's mode; it holds in every process within a second.

    `SAFE_MODE` refuses new runs, top-ups, keys, clients and replays; reads and ingest go on. `HARD_STOP` refuses
    everything but health, problem pages and the platform's own administration.
    """
    async with system_transaction(shared) as tx:
        row = await set_mode(
            tx, shared.clock, caller.actor, Wanted(wanted.mode, wanted.reason, wanted.ttl_seconds)
        )
    cache: ModeCache = request.app.state.platform_mode
    cache.drop()  # here it holds at once; the others hear of it
    return mode_shape(row, shared.clock.now())
