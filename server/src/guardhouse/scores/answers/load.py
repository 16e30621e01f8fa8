"""Reads a group's answers as the risk engine takes them: those that stood at one version."""

from guardhouse.analysis.risk.answers import Answers, Place
from guardhouse.foundation.database import Tx
from guardhouse.scores.answers import store

newest_version = store.newest_version


async def load_answers(tx: Tx, tenant_no: int, group: str, version: int) -> Answers:
    """Return the answers of a group at a version, the same ones whenever it is asked."""
    if version == 0:
        return Answers()
    standing = await store.list_standing(tx, tenant_no, group, version)
    places = [(verdict, Place(*line)) for verdict, lines in standing for line in lines]
    return Answers(
        version,
        expected=[place for verdict, place in places if verdict == "expected"],
        alarms=[place for verdict, place in places if verdict == "false_alarm"],
    )
