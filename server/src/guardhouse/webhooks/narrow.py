"""What narrows an endpoint beyond its kinds: severity, project, key, label, subject, threshold."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.notices.kind import Severity
from guardhouse.notices.read import Notice
from guardhouse.notices.risk_kinds import RiskThresholdCrossed

DEFAULT_THRESHOLD: Final = 70  # of risk_threshold_crossed


@dataclass(frozen=True, slots=True)
class Filter:
    """Members that are absent let everything pass."""

    min_severity: Severity = Severity.INFO
    project_id: UUID | None = None
    api_key_id: UUID | None = None
    label: str | None = None
    subject_prefix: str | None = None
    risk_threshold: int | None = None

    def passes(self, notice: Notice) -> bool:
        """Tell whether a notice is wanted."""
        return (
            (self.subject_prefix is None or notice.subject.startswith(self.subject_prefix))
            and (self.api_key_id is None or self.api_key_id == notice.api_key_id)
            and (self.project_id is None or self.project_id == notice.project_id)
            and notice.severity.rank >= self.min_severity.rank
            and (self.label is None or _has_label(notice, self.label))
            and (notice.kind != RiskThresholdCrossed.kind or self._is_own_threshold(notice))
        )

    def _is_own_threshold(self, notice: Notice) -> bool:
        """Each crossing is said once per threshold in use."""
        told: int = msgspec.json.decode(notice.data)["threshold"]
        return told == (self.risk_threshold or DEFAULT_THRESHOLD)


EVERYTHING: Final = Filter()


def filter_of(stored: dict[str, Any]) -> Filter:
    """Return a filter from the members that are stored of it."""
    return msgspec.convert(stored, Filter, strict=False) if stored else EVERYTHING


def stored_form(wanted: Filter) -> dict[str, Any]:
    """Return the members of a filter that say something."""
    plain: dict[str, Any] = msgspec.to_builtins(wanted)
    standing: dict[str, Any] = msgspec.to_builtins(EVERYTHING)
    return {name: value for name, value in plain.items() if value != standing[name]}


def _has_label(notice: Notice, label: str) -> bool:
    data = msgspec.json.decode(notice.data)
    return label == data.get("label") or label in (data.get("labels") or ())
