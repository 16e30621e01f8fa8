"""What is set for one project, as it is stored: an absent member has its default, an unknown one is passed over."""

from typing import Literal

import msgspec

Encryption = Literal["off", "allowed", "required"]
SignatureMode = Literal["off", "if_present", "required"]


class Baseline(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the application sets in its own code; lists and limits of dynamic rules are merged with it.

    Networks are CIDR texts, countries ISO 3166 alpha-2; ``endpoint_rate_limits`` maps a path to calls and seconds.
    """

    ip_blacklist: tuple[str, ...] = ()
    ip_whitelist: tuple[str, ...] = ()
    blocked_countries: tuple[str, ...] = ()
    whitelist_countries: tuple[str, ...] = ()
    blocked_cloud_providers: tuple[str, ...] = ()
    blocked_user_agents: tuple[str, ...] = ()
    suspicious_patterns: tuple[str, ...] = ()
    global_rate_limit: int | None = None
    global_rate_window: int | None = None
    endpoint_rate_limits: dict[str, tuple[int, int]] = {}


class ProjectSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one project's telemetry is taken and kept, and what its rules never touch.

    ``retention_days``: None = as long as the platform keeps events. ``baseline``: None = nothing is known of what
    the application sets. ``never_ban``: networks as CIDR texts.
    """

    encryption: Encryption = "allowed"
    signature: SignatureMode = "if_present"
    keep_noise: bool = False
    retention_days: int | None = None
    baseline: Baseline | None = None
    never_ban: tuple[str, ...] = ()
