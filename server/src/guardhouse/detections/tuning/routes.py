"""Routes that tune a policy: preview a change, calibrate."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from guardhouse.detections.policies.change_policy import known_to, reach_policy
from guardhouse.detections.policies.check_policy import PolicyRefused, check_policy
from guardhouse.detections.policies.wire import PolicyChange, changed
from guardhouse.detections.tuning.calibrate import TooFewTexts, calibrate
from guardhouse.detections.tuning.preview import preview
from guardhouse.detections.tuning.wire import (
    CalibrationRequest,
    CalibrationShape,
    PreviewShape,
    calibration_shape,
    preview_shape,
)
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("policies")
Writer = Annotated[Caller, Depends(Require("policies:write"))]


@router.post(
    "/policies/{policy_id}/preview",
    operation_id="preview_policy",
    responses=refusals(NotFound, PolicyRefused),
)
async def preview_policy(
    caller: Writer, tx: RequestTx, shared: Shared, policy_id: UUID, change: PolicyChange
) -> PreviewShape:
    """Say what a change of a policy would have decided of the texts of the last 24 hours; nothing changes.

    Stored scores are replayed, so lines, operating points and calibrations count; rules, lists and engines do not.
    """
    known = await reach_policy(tx, caller, policy_id)
    wanted = changed(known.policy, change)
    check_policy(wanted, await known_to(tx, caller, wanted, shared.settings))
    return preview_shape(await preview(tx, caller.tenant.id, wanted, shared.clock.now()))


@router.post(
    "/policies/{policy_id}/calibrations",
    status_code=201,
    operation_id="create_calibration",
    responses=refusals(NotFound, TooFewTexts),
)
async def create_calibration(
    caller: Writer, tx: RequestTx, shared: Shared, policy_id: UUID, wanted: CalibrationRequest
) -> CalibrationShape:
    """Shift a policy's scores so that a share of the tenant's own harmless texts reaches the block line.

    Harmless is what was labelled `benign`, and what a policy in the shadow judged and nobody labelled otherwise. The
    calibration is in force as the policy's next version.
    """
    known = await reach_policy(tx, caller, policy_id, lock=True)
    span = (wanted.since, wanted.until)
    made, policy = await calibrate(tx, caller, known, span, wanted.target_fpr, shared.clock.now())
    return calibration_shape(made, policy)
