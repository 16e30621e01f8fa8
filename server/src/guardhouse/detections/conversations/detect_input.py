"""What a call of ``/detect`` holds: one text, or a conversation."""

from guardhouse.detections.conversations.detect_conversation import detect_conversation
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection, detect
from guardhouse.detections.policy import Policy
from guardhouse.detections.read_request import Wanted
from guardhouse.foundation.database import TenantKey


async def detect_input(desk: Desk, tenant: TenantKey, policy: Policy, wanted: Wanted) -> Detection:
    """Judge a text or a conversation; raises as the one that it is."""
    judge = detect if wanted.messages is None else detect_conversation
    return await judge(desk, tenant, policy, wanted)
