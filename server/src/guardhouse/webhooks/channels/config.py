"""What a channel is configured to be, as it is stored beside its endpoint: nothing secret."""

from datetime import time
from typing import Any, Final

import msgspec

from guardhouse.webhooks.channels.hold import QuietHours, Rules

PAGERDUTY_URL: Final = "https://events.pagerduty.com"


class Quiet(msgspec.Struct, frozen=True, omit_defaults=True):
    """Quiet hours as stored: ``HH:MM``, local to the zone."""

    start: str
    end: str
    timezone: str

    @property
    def parsed(self) -> QuietHours:
        """The same as times."""
        return QuietHours(time.fromisoformat(self.start), time.fromisoformat(self.end), self.timezone)


class ChannelConfig(msgspec.Struct, frozen=True, omit_defaults=True, tag="channel", tag_field="is"):
    """The stored form: rules for every kind of channel, and the addresses of a mail channel."""

    name: str
    group_seconds: int = 60
    max_per_hour: int = 20
    escalations: bool = False
    stream: str | None = None
    quiet_hours: Quiet | None = None
    to: tuple[str, ...] = ()

    @property
    def rules(self) -> Rules:
        """The rules that notices are held against."""
        return Rules(
            self.group_seconds,
            self.max_per_hour,
            self.escalations,
            None if self.quiet_hours is None else self.quiet_hours.parsed,
            self.stream,
        )


def read_config(stored: dict[str, Any]) -> ChannelConfig:
    """Return the configuration as stored with an endpoint."""
    return msgspec.convert(stored, ChannelConfig)


def stored_form(config: ChannelConfig) -> dict[str, Any]:
    """Return what is stored."""
    form: dict[str, Any] = msgspec.to_builtins(config)
    return form
