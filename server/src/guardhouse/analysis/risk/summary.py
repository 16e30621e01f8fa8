"""What the outside may see of a state without unpacking it."""

from typing import NamedTuple

from guardhouse.analysis.risk.event import ProcessKey
from guardhouse.analysis.risk.evidence import risk_at
from guardhouse.analysis.risk.instances import Instances
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.scoring import anomaly_score
from guardhouse.analysis.risk.tree import BAND_NAMES, LOW


class Summary(NamedTuple):
    """What `processes` shows. Risks and scores in hundredths as of `last_us`, times in µs of event time."""

    exe: str | None
    comm: str | None
    parent: ProcessKey | None
    root: ProcessKey
    alphabet: str
    first_position: int
    last_position: int
    started_us: int
    last_us: int
    exited_us: int | None
    calls: int
    other_events: int
    risk: int
    tree_risk: int
    risk_score: int
    anomaly_score: int | None
    band: str
    tree_band: str
    profile_version: int | None
    hot: bool


class Dirty(NamedTuple):
    """A state that changed since it was last taken, packed, with its summary."""

    key: ProcessKey
    packed: bytes
    summary: Summary


def summarise(instances: Instances, process: Process) -> Summary:
    """The summary of one process that is in memory."""
    root = instances.states.get(process.root)
    tree = None if root is None else root.tree
    now_us = process.last_us
    return Summary(
        process.exe,
        process.comm,
        process.parent,
        process.root,
        process.alphabet,
        process.first_position,
        process.last_position,
        process.started_us,
        now_us,
        process.exited_us,
        process.calls,
        process.others,
        0 if process.slots is None else risk_at(process.slots, now_us),
        0 if tree is None else tree.risk_at(now_us),
        process.risk_score,
        anomaly_score(process, now_us),
        BAND_NAMES[process.band],
        BAND_NAMES[LOW if tree is None else tree.band],
        None if process.profile is None else process.profile.version,
        process.hot,
    )
