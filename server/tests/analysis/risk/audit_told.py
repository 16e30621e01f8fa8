"""What the agent made of audit records, as the engine takes it."""

from typing import Any

from guardhouse.analysis.risk.event import RiskEvent


def told(item: dict[str, Any], position: int) -> RiskEvent:
    """Return the engine's event of one that the agent would send."""
    return RiskEvent(
        position,
        position.to_bytes(16, "big"),
        item["timestamp"] // 1000,
        item["kind"],
        pid=item["pid"],
        ppid=item.get("ppid"),
        start=item["start"],
        exe=item.get("exe"),
        call=item.get("syscall"),
        ret=item.get("ret"),
        errno=item.get("errno"),
        args=item.get("args"),
        child_pid=item.get("child_pid"),
        child_start=item.get("child_start"),
        code=item.get("code"),
        alphabet="audit.v1",
    )
