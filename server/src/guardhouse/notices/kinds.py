"""The list of every kind of notice. A kind is published somewhere or it is not in this list."""

from collections.abc import Mapping
from typing import Final

from guardhouse.notices.abuse_kinds import AgentAlert, IpScoreCrossed
from guardhouse.notices.agent_kinds import (
    AgentDegraded,
    AgentLoss,
    AgentRecovered,
    AgentSilent,
    AgentUnaccounted,
    AgentUndecryptable,
    TelemetryReceived,
)
from guardhouse.notices.anomaly_kinds import AnomalyDetected, StreamReady
from guardhouse.notices.app_rule_kinds import RulesAdopted, RulesPublished, RulesRolledBack
from guardhouse.notices.audit_kinds import AuditChainBroken
from guardhouse.notices.channel_kinds import ChannelSummary
from guardhouse.notices.detection_kinds import (
    DetectionBatchCompleted,
    DetectionCompleted,
    DetectionFailed,
    DetectionFlagged,
)
from guardhouse.notices.engine_kinds import BreakerClosed, BreakerOpened
from guardhouse.notices.identity_kinds import (
    KeyCreated,
    KeyExpiring,
    KeyExposed,
    KeyRevoked,
    KeyRotated,
)
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.ledger_kinds import LedgerTopUp
from guardhouse.notices.member_kinds import MemberChanged
from guardhouse.notices.platform_kinds import ModeChanged
from guardhouse.notices.policy_kinds import RulesPolicyPaused, RulesProposed
from guardhouse.notices.risk_kinds import (
    RiskBandCrossed,
    RiskIncidentClosed,
    RiskThresholdCrossed,
    RiskUpdated,
)
from guardhouse.notices.rule_kinds import RuleShadowReady
from guardhouse.notices.run_kinds import (
    RunAuditRequired,
    RunAuditResolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunExpired,
    RunFailed,
    RunRefunded,
    RunRequeued,
    RunStarted,
)
from guardhouse.notices.usage_kinds import RateLimitReached, UsageThreshold
from guardhouse.notices.webhook_kinds import (
    WebhookDisabled,
    WebhookExhausted,
    WebhookRecovered,
    WebhookTest,
    WebhookThrottled,
)

KINDS: Final[Mapping[str, type[NoticeData]]] = {
    model.kind: model
    for model in (
        RiskBandCrossed,
        RiskUpdated,
        RiskIncidentClosed,
        RiskThresholdCrossed,
        RuleShadowReady,
        TelemetryReceived,
        AgentSilent,
        AgentRecovered,
        AgentDegraded,
        AgentUnaccounted,
        AgentLoss,
        AgentUndecryptable,
        AgentAlert,
        IpScoreCrossed,
        AnomalyDetected,
        StreamReady,
        RulesPublished,
        RulesAdopted,
        RulesRolledBack,
        RulesProposed,
        RulesPolicyPaused,
        DetectionCompleted,
        DetectionFlagged,
        DetectionFailed,
        DetectionBatchCompleted,
        KeyCreated,
        KeyRotated,
        KeyRevoked,
        KeyExpiring,
        KeyExposed,
        MemberChanged,
        AuditChainBroken,
        ModeChanged,
        BreakerOpened,
        BreakerClosed,
        RateLimitReached,
        LedgerTopUp,
        RunCreated,
        RunStarted,
        RunRequeued,
        RunCompleted,
        RunFailed,
        RunCancelled,
        RunExpired,
        RunAuditRequired,
        RunAuditResolved,
        RunRefunded,
        UsageThreshold,
        WebhookTest,
        WebhookThrottled,
        WebhookDisabled,
        WebhookRecovered,
        WebhookExhausted,
        ChannelSummary,
    )
}
READ_SCOPES: Final = frozenset(model.scope for model in KINDS.values())
