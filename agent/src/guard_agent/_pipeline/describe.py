"""The figures of an agent, under the names of the released interface and with our own beside them."""

import time
from typing import Any

import guard_agent
from guard_agent._pipeline.breaker import CLOSED
from guard_agent._pipeline.classes import EVENTS, METRICS
from guard_agent._pipeline.engine import Engine


def describe(engine: Engine | None, ledger: dict[str, Any], *, running: bool) -> dict[str, Any]:
    """Return what `get_stats` returns."""
    lost = {lane: sum(ledger[lane]["dropped"].values()) for lane in (EVENTS, METRICS)}
    waiting = {lane: sum(ledger[lane]["pending"].values()) for lane in (EVENTS, METRICS)}
    sent = {lane: ledger[lane]["delivered"] for lane in (EVENTS, METRICS)}
    own = _of_engine(engine) if engine is not None else _IDLE
    return {
        "running": running,
        "uptime": time.monotonic() - engine.started_at if engine is not None and running else 0.0,
        "events_sent": sent[EVENTS],
        "metrics_sent": sent[METRICS],
        "events_failed": ledger[EVENTS]["rejected"] + lost[EVENTS],
        "metrics_failed": ledger[METRICS]["rejected"] + lost[METRICS],
        "rules_fetched": own["rules_fetched"],
        "buffer_stats": {
            "events_buffered": ledger[EVENTS]["captured"],
            "metrics_buffered": ledger[METRICS]["captured"],
            "events_flushed": sent[EVENTS] + ledger[EVENTS]["duplicates"],
            "metrics_flushed": sent[METRICS] + ledger[METRICS]["duplicates"],
            "events_dropped": lost[EVENTS],
            "metrics_dropped": lost[METRICS],
            "current_event_buffer_size": waiting[EVENTS],
            "current_metric_buffer_size": waiting[METRICS],
            "redis_persist_failures": own["redis_failures"],
            "durability_degraded": own["degraded"],
            "last_flush_time": own["last_flush"],
            "auto_flush_running": running,
        },
        "transport_stats": own["transport"],
        "cached_rules": own["rules"] is not None,
        "rules_last_update": own["rules_updated"],
        "loop_failures": own["loop_failures"],
        "last_status_push_ok": own["status_ok"],
        "ledger": ledger,
        "lanes": own["lanes"],
        "spool": own["spool"],
        "worker": own["worker"],
        "clash": guard_agent.CLASH,
    }


_IDLE: dict[str, Any] = {
    "rules_fetched": 0,
    "redis_failures": 0,
    "degraded": False,
    "last_flush": None,
    "transport": {
        "requests_sent": 0,
        "requests_failed": 0,
        "bytes_sent": 0,
        "circuit_breaker_state": CLOSED,
        "failure_count": 0,
        "session_closed": True,
    },
    "rules": None,
    "rules_updated": None,
    "loop_failures": {"flush": 0, "status": 0, "rules": 0},
    "status_ok": None,
    "lanes": {},
    "spool": {"durability": "memory", "bytes": 0, "folder": None},
    "worker": {"alive": False, "restarts": 0},
}


def _of_engine(engine: Engine) -> dict[str, Any]:
    breaker = engine.lanes[EVENTS].breaker
    spool = engine.keeper.spool
    return {
        "rules_fetched": engine.rules.fetched,
        "redis_failures": 0 if engine.keeper.redis is None else engine.keeper.redis.failures,
        "degraded": engine.keeper.wants_disk and engine.keeper.durability != "disk",
        "last_flush": engine.deliverer.last_delivery,
        "transport": {
            "requests_sent": engine.sender.requests,
            "requests_failed": engine.sender.failures,
            "bytes_sent": engine.sender.bytes_sent,
            "circuit_breaker_state": breaker.state,
            "failure_count": breaker.failures,
            "session_closed": not engine.sender.is_open,
        },
        "rules": engine.rules.current,
        "rules_updated": engine.rules.updated_at,
        "loop_failures": {
            "flush": engine.deliverer.recent.count(False),
            "status": engine.status.failures,
            "rules": engine.rules.failures,
        },
        "status_ok": engine.status.last_ok,
        "lanes": {
            lane.name: {
                "breaker": lane.breaker.state,
                "batches_per_second": lane.pace.rate,
                "waiting_batches": len(lane),
                "trouble": lane.trouble,
            }
            for lane in (*engine.lanes.values(), engine.status.lane, engine.rules.lane)
        },
        "spool": {
            "durability": engine.keeper.durability,
            "bytes": engine.keeper.disk_bytes,
            "folder": None if spool is None else str(spool.folder),
        },
        "worker": {"alive": engine.worker.alive, "restarts": engine.worker.restarts},
    }
