"""What our own rules cause feeds neither a score nor a policy, or a ban would be its own reason."""

from typing import Any, Final

RELEASE_SECONDS: Final = 600
_OURS: Final = "dynamic_rule"
_ALWAYS: Final = ("dynamic_rule_", "emergency_mode_")
BANS: Final = frozenset({"ip_banned", "ip_unbanned"})
BLOCKED: Final = "ip_blocked"


def is_echo(event_type: str, reason: str | None, filter_type: Any = None) -> bool:
    """Tell whether an event only says that an app did what our rules told it.

    ``filter_type`` is the member of an ``ip_blocked`` event's metadata. Bans within ``RELEASE_SECONDS`` of one of
    our releases are echoes too; whoever knows the releases judges that.
    """
    if event_type.startswith(_ALWAYS):
        return True
    if event_type in BANS:
        return bool(reason) and str(reason).startswith(_OURS)
    return event_type == BLOCKED and filter_type == "banned"
