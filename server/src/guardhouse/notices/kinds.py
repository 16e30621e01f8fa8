"""The list of every kind of notice. A kind is published somewhere or it is not in this list."""

from collections.abc import Mapping
from typing import Final

from guardhouse.notices.agent_kinds import TelemetryReceived
from guardhouse.notices.identity_kinds import (
    KeyCreated,
    KeyExpiring,
    KeyExposed,
    KeyRevoked,
    KeyRotated,
)
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.risk_kinds import RiskBandCrossed

KINDS: Final[Mapping[str, type[NoticeData]]] = {
    model.kind: model
    for model in (
        RiskBandCrossed,
        TelemetryReceived,
        KeyCreated,
        KeyRotated,
        KeyRevoked,
        KeyExpiring,
        KeyExposed,
    )
}
READ_SCOPES: Final = frozenset(model.scope for model in KINDS.values())
