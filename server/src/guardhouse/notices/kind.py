"""What a kind of notice is: a model per kind and version, with severity, subject, example and who may read it.

``scope`` is what a caller needs to see it; ``live_only`` kinds go to streams and never to webhooks;
``legacy_name`` is what older receivers call it; a kind ``by_name_only`` is in no pattern, it has to be named.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict


class Severity(StrEnum):
    """How much a notice matters, least first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return 0 for info up to 4 for critical."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


class NoticeData(BaseModel):
    """What a notice of one kind says. Subclasses name their kind and derive severity and subject."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float")

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    scope: ClassVar[str]
    live_only: ClassVar[bool] = False
    legacy_name: ClassVar[str | None] = None
    by_name_only: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]]

    @property
    def severity(self) -> Severity:
        """Return how much this notice matters."""
        return Severity.INFO

    @property
    def subject(self) -> str:
        """Return what the notice is about, ``type:id``; notices of one subject keep their order."""
        raise NotImplementedError
