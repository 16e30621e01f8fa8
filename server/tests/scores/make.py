"""What scoring has written, to be compared to the byte."""

from typing import Any

from server.tests.ingest.make import Door

TABLES = {
    "scores": "SELECT * FROM scores ORDER BY agent_no, position, key, calculated_at",
    "processes": "SELECT * FROM processes ORDER BY agent_no, key",
    "process_states": "SELECT * FROM process_states ORDER BY agent_no, key",
    "process_inputs": "SELECT * FROM process_inputs ORDER BY agent_no, position, n",
    "score_cursors": "SELECT * FROM score_cursors ORDER BY agent_no",
    "risk_incidents": "SELECT * FROM risk_incidents ORDER BY agent_no, opened_position, incident_id",
    "risk_incident_notices": "SELECT * FROM risk_incident_notices ORDER BY incident_id, number",
    "risk_score_episodes": "SELECT * FROM risk_score_episodes ORDER BY agent_no, key, threshold",
    "events_kept": "SELECT * FROM events_kept ORDER BY agent_no, position",
    # Time and place in the log of a notice are its own; what it says and its id are not.
    "notices": "SELECT notice_id, tenant_id, kind, version, severity, subject, subject_seq, data FROM notices"
    " WHERE kind LIKE 'risk%' OR kind = 'agent.loss'"
    " ORDER BY subject, subject_seq, data::text",
}


async def snapshot(door: Door) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [tuple(row) for row in await door.rows(sql)] for name, sql in TABLES.items()}


def same(found: dict[str, list[tuple[Any, ...]]], expected: dict[str, list[tuple[Any, ...]]]) -> None:
    """Insist on equal rows, and show the first that differ."""
    for name, rows in expected.items():
        for one, other in zip(found[name], rows, strict=False):
            assert [
                pair for pair in enumerate(zip(one, other, strict=True)) if pair[1][0] != pair[1][1]
            ] == [], name
        assert len(found[name]) == len(rows), name


async def forget_scores(door: Door) -> None:
    await door.behind.execute(
        "TRUNCATE scores, processes, process_states, process_inputs, score_cursors, notices, notice_cursors,"
        " risk_incidents, risk_incident_notices, risk_score_episodes, events_kept"
    )
