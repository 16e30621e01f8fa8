"""What applying an event has to say to the outside: score rows, band crossings, inputs taken from others."""

from typing import Any, NamedTuple

from guardhouse.analysis.risk.event import ProcessKey


class ScoreRow(NamedTuple):
    """One row for `scores`. Risks in hundredths.

    `reasons` sorted: first, exec, exit, evidence, band, risk.
    """

    key: ProcessKey
    root: ProcessKey
    position: int
    occurred_us: int
    risk: int
    tree_risk: int
    risk_score: int
    anomaly_score: int | None
    band: str
    reasons: tuple[str, ...]
    evidence: list[list[Any]]  # [id, micro-nats now, points in hundredths], largest first


class Crossing(NamedTuple):
    """What became of a tree that has risen above the low band, or has not been quiet since.

    `direction`: its band changed (`up`, `down`); it got a new noteworthy evidence id inside one (`evidence`);
    it has other evidence (`update`, at most one in a second of event time unless the risk is higher than
    before); it has been quiet for ten minutes (`quiet`). `first_in_second`: nothing else was said of this
    tree in that second.
    """

    root: ProcessKey
    process: ProcessKey
    position: int
    occurred_us: int
    direction: str
    band: str
    previous_band: str
    risk: int
    evidence_id: str | None
    nats: int
    first_in_second: bool = True


class Input(NamedTuple):
    """A thing a process took from others.

    `key` is None for what touches the whole agent (the loss factor).
    """

    key: ProcessKey | None
    position: int
    kind: str  # inherited | file_fact | child_act | loss_factor
    data: dict[str, Any]


class RunEnd(NamedTuple):
    """A run of a program: what a process did after one position, up to and with another.

    From exec or fork to the next exec or exit, cut each 24 h. `hits`: (evidence id, position of its first hit).
    `edge`: the program that an exec at its end started. `calm`: its tree stayed below 20.00 all the while.
    `received` and `lost` are events of its agent meanwhile.
    """

    key: ProcessKey
    root: ProcessKey
    exe: str
    alphabet: str
    after: int
    last: int
    started_us: int
    ended_us: int
    hits: list[tuple[str, int]]
    edge: str | None
    calm: bool
    received: int
    lost: int


class Effects(NamedTuple):
    """Everything one event caused, in the order it was caused."""

    rows: list[ScoreRow]
    crossings: list[Crossing]
    inputs: list[Input]
    runs: list[RunEnd]
