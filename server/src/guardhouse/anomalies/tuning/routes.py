"""Routes of the configuration: show it, change it, and the profiles that set several members at once."""

from typing import Annotated

from fastapi import Depends, Request, Response

from guardhouse.anomalies.configs import store
from guardhouse.anomalies.configs.in_force import find_config
from guardhouse.anomalies.streams.change_stream import MOST_STREAMS
from guardhouse.anomalies.streams.store import list_streams
from guardhouse.anomalies.tuning.change_config import ConfigInvalid, change_config
from guardhouse.anomalies.tuning.wire import (
    ConfigPatch,
    ConfigShape,
    ThresholdProfileList,
    config_shape,
    profile_list,
)
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router, resources_of
from guardhouse.identity.caller import Caller, Require

router = api_router("anomalies")
Reader = Annotated[Caller, Depends(Require("anomalies:read"))]
Admin = Annotated[Caller, Depends(Require("anomalies:admin"))]


@router.get("/config", operation_id="get_anomaly_config")
async def get_anomaly_config(
    caller: Reader, tx: RequestTx, shared: Shared, response: Response
) -> ConfigShape:
    """Show the configuration in force."""
    found = await find_config(tx, caller.tenant, shared.clock.now())
    response.headers["ETag"] = etag(found.version)
    return config_shape(found)


@router.patch(
    "/config", operation_id="update_anomaly_config", responses=refusals(ConfigInvalid, PreconditionFailed)
)
async def update_anomaly_config(
    caller: Admin, tx: RequestTx, patch: ConfigPatch, request: Request, response: Response
) -> ConfigShape:
    """Change the configuration by a merge patch; each change is a version, and says what it does to which stream."""
    now = resources_of(request).clock.now()
    await store.take_turn(tx, caller.tenant.no)
    known = await find_config(tx, caller.tenant, now)
    check_match(request.headers, known.version)
    streams = await list_streams(tx, caller.tenant.no, MOST_STREAMS, 0)
    changed = await change_config(tx, caller, known, patch.model_extra or {}, streams, now)
    response.headers["ETag"] = etag(changed.version)
    return config_shape(changed)


@router.get("/profiles", operation_id="list_anomaly_profiles")
async def list_anomaly_profiles(_caller: Reader) -> ThresholdProfileList:
    """List the profiles with the thresholds that each sets."""
    return profile_list()
