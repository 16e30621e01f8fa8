# ruff: noqa: S108 - paths are data here, nothing is written

import random
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.risk.effects import Crossing, Effects, ScoreRow
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.evidence import MAX_SLOTS, risk_at, shares
from guardhouse.analysis.risk.facts import MAX_FILES
from guardhouse.analysis.risk.pack import PackedStateError
from guardhouse.analysis.risk.process import MAX_FDS, MAX_SUPPRESSED, MAX_THREADS
from guardhouse.analysis.risk.profile import ProfileSet
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tree import MAX_TREE_SLOTS

Short = Callable[..., list[RiskEvent]]
SHADOW = {"call": "openat", "args": {"path": "/etc/shadow", "flags": ["O_RDONLY"]}, "ret": 3}


@pytest.fixture(scope="module")
def profiles(golden_tool: ModuleType) -> ProfileSet:
    made: ProfileSet = golden_tool.learned()
    return made


def told(effects: Effects | None) -> list[Any]:
    return [] if effects is None else [*effects.rows, *effects.crossings, *effects.inputs]


def states_of(engine: AgentEngine) -> dict[ProcessKey, bytes]:
    return {key: engine.pack(key) for key in engine.instances.states}


def whole(engine: AgentEngine, events: Iterable[RiskEvent]) -> list[Any]:
    out = []
    for event in events:
        out += told(engine.apply(event))
    return out


class Server:
    """A stand-in for the database: stores what is dirty, starts a fresh engine from it when asked."""

    def __init__(self, rules: RuleSet, profiles: ProfileSet | None) -> None:
        self.rules = rules
        self.profiles = profiles
        self.rows: dict[ProcessKey, bytes] = {}
        self.agent = b""
        self.engine = AgentEngine(rules, profiles)

    def step(self, events: list[RiskEvent], *, restart: bool = False, keep: int | None = None) -> list[Any]:
        if restart:
            self.engine = AgentEngine(self.rules, self.profiles)
            if self.agent:
                self.engine.load_agent(self.agent)
            for packed in self.rows.values():
                self.engine.load_process(packed)
        asked: set[ProcessKey] = set()
        while keys := set(self.engine.needed_keys(events)) - asked:
            asked |= keys
            for key in sorted(keys & self.rows.keys()):
                self.engine.load_process(self.rows[key])
        out = whole(self.engine, events)
        for dirty in self.engine.take_dirty():
            self.rows[dirty.key] = dirty.packed
        self.agent = self.engine.pack_agent()
        if keep is not None:
            self.engine.evict(self.engine.clock_us, keep)
        return out


def cut(events: list[RiskEvent], size: int) -> list[list[RiskEvent]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


@pytest.mark.parametrize(
    ("size", "restart", "keep"),
    [
        (1, False, None),
        (7, False, None),
        (1000, False, None),
        (97, True, None),
        (50, False, 5),
        (50, False, 0),
        (211, True, 20),
    ],
)
def test_batches_restarts_and_evictions_change_nothing(
    rules: RuleSet,
    profiles: ProfileSet,
    life: list[RiskEvent],
    size: int,
    restart: bool,  # noqa: FBT001 - a parameter table
    keep: int | None,
) -> None:
    plain = AgentEngine(rules, profiles)
    wanted = whole(plain, life)
    server = Server(rules, profiles)
    got = []
    for batch in cut(life, size):
        got += server.step(batch, restart=restart, keep=keep)
    assert got == wanted
    assert server.rows == states_of(plain)
    assert server.agent == plain.pack_agent()


def test_packing_and_unpacking_at_every_event_changes_nothing(
    rules: RuleSet, profiles: ProfileSet, life: list[RiskEvent]
) -> None:
    plain, server = AgentEngine(rules, profiles), Server(rules, profiles)
    some = life[:250]
    assert [row for event in some for row in server.step([event], restart=True)] == whole(plain, some)
    assert server.rows == states_of(plain)


def test_the_other_agents_events_do_not_matter(rules: RuleSet, life: list[RiskEvent]) -> None:
    one, other = AgentEngine(rules), AgentEngine(rules)
    alone = whole(AgentEngine(rules), life[:600])
    mixed = []
    for event in life[:600]:
        mixed += told(one.apply(event))
        other.apply(event)
    assert mixed == alone


def test_a_step_applied_twice_is_applied_once(rules: RuleSet, life: list[RiskEvent]) -> None:
    engine = AgentEngine(rules)
    whole(engine, life[:400])
    before = (states_of(engine), engine.pack_agent())
    assert whole(engine, life[200:400]) == []
    assert (states_of(engine), engine.pack_agent()) == before


def test_cooling_is_the_same_whether_swept_or_met_by_an_event(rules: RuleSet, short: Short) -> None:
    events = short({"exe": "/usr/bin/cat", **SHADOW}, {"at": 9_000, "pid": 7, "call": "read", "ret": 1})
    met, swept = AgentEngine(rules), AgentEngine(rules)
    wanted = whole(met, events)
    got = told(swept.apply(events[0]))
    got += told(swept.sweep(events[0].occurred_us + 100_000_000))
    got += told(swept.sweep(events[0].occurred_us + 8_000_000_000))
    got += told(swept.apply(events[1]))
    for kind in (ScoreRow, Crossing):
        assert [item for item in got if isinstance(item, kind)] == [
            item for item in wanted if isinstance(item, kind)
        ]
    assert states_of(met) == states_of(swept)
    falls = [item for item in wanted if isinstance(item, Crossing) and item.direction == "down"]
    assert [fall.band for fall in falls] == ["low"]
    root = met.instances.boots["test"][100]
    assert root.tree is not None
    slots, fell_us = list(root.tree.slots.values()), falls[0].occurred_us
    assert risk_at(slots, fell_us) < 3_000 <= risk_at(slots, fell_us - 1_000_000)
    assert fell_us % 1_000_000 == 0


def test_oscillation_makes_one_crossing_per_climb(rules: RuleSet, short: Short) -> None:
    acts = []
    for number in range(20):
        pid, at = 200 + number, 4_000 * number
        acts.append({"at": at, "exe": "/bin/sh", "kind": "fork", "child_pid": pid})
        acts.append({"at": at, "pid": pid, **SHADOW})
    trees = [item for item in whole(AgentEngine(rules), short(*acts)) if isinstance(item, Crossing)]
    trees = [item for item in trees if item.root.pid == 100]
    assert [item.direction for item in trees] == ["up", "down", "quiet"] * 19 + ["up"]
    assert {item.evidence_id for item in trees if item.direction == "up"} == {"rule.credential_read"}


def test_a_child_starts_with_half_and_says_where_it_came_from(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    items = whole(engine, short({"exe": "/usr/bin/cat", **SHADOW}, {"kind": "fork", "child_pid": 101}))
    child = engine.instances.boots["test"][101]
    assert child.slots is not None
    assert child.slots[0].inherited
    assert 549_000 <= child.slots[0].nats <= 550_000
    inputs = [item for item in items if getattr(item, "kind", "") == "inherited"]
    assert inputs[0].key == child.key
    assert inputs[0].data["evidence"] == [["rule.credential_read", "", child.slots[0].nats]]
    tree = engine.instances.boots["test"][100].tree
    assert tree is not None
    assert len(tree.slots) == 1


def test_rows_are_written_for_the_reasons_the_design_names(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    events = short(
        {"exe": "/bin/sh", "call": "read", "ret": 1},
        {"call": "read", "ret": 1},
        {"kind": "exec", "exe": "/usr/bin/cat", "args": {"path": "/usr/bin/cat"}},
        SHADOW,
        {"call": "read", "ret": 1},
        SHADOW,
        SHADOW,
        {"kind": "exit", "code": 0},
    )
    rows = [item for event in events for item in told(engine.apply(event)) if hasattr(item, "reasons")]
    assert [(row.position, row.reasons) for row in rows] == [
        (1, ("first",)),
        (3, ("exec",)),
        (4, ("band", "evidence", "risk")),
        (6, ("band", "risk")),
        (8, ("exit",)),
    ]
    assert rows[2].evidence == [["rule.credential_read", 1_100_000, 6671]]
    assert rows[2].anomaly_score is None


def test_losses_lower_the_factor_and_time_heals(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    lost = {"kind": "loss", "pid": None, "extra": {"count": 300, "where": "kernel"}}
    items = whole(engine, short({"repeat": 300, "call": "read", "ret": 1}, lost))
    assert engine.losses.factor == 8
    assert [item.data for item in items if getattr(item, "kind", "") == "loss_factor"] == [{"sixteenths": 8}]
    later = short({"call": "read", "ret": 1})[0]._replace(
        position=999, occurred_us=engine.clock_us + 700_000_000
    )
    whole(engine, [later])
    assert engine.losses.factor == 16
    assert engine.losses.total_lost == 300


def test_bursts_count_as_their_length(rules: RuleSet, short: Short) -> None:
    one, many = AgentEngine(rules), AgentEngine(rules)
    whole(one, short({"kind": "calls", "tid": 100, "names": ["read", "write", "ptrace", "mmap"]}))
    whole(many, short(*({"at": 0, "tid": 100, "call": name} for name in ("read", "write", "ptrace", "mmap"))))
    burst, plain = one.instances.boots["test"][100], many.instances.boots["test"][100]
    assert (burst.calls, burst.risk_score) == (plain.calls, plain.risk_score) == (4, 3500)


def test_an_imported_alert_is_evidence_by_its_priority(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    extra = {"source": "falco", "rule": "Terminal shell in container", "priority": "Critical"}
    whole(
        engine, short({"kind": "finding", "extra": extra}, {"kind": "finding", "pid": None, "extra": extra})
    )
    slots = engine.instances.boots["test"][100].slots
    assert slots is not None
    assert [(slot.id, slot.nats) for slot in slots] == [("ext.falco.Terminal shell in container", 1_600_000)]


def test_a_shadow_rule_and_an_exception_are_remembered_as_suppressed(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    whole(engine, short({"exe": "/usr/bin/su", **SHADOW}))
    process = engine.instances.boots["test"][100]
    assert process.slots is None
    assert process.suppressed is not None
    assert [(item.id, item.nats, item.why) for item in process.suppressed] == [
        ("rule.credential_read", 1_100_000, "exception: tool su")
    ]


def test_unreadable_packed_state_is_refused(rules: RuleSet) -> None:
    engine = AgentEngine(rules)
    for packed in (b"", b"\x63[]", b"\x01{", b"\x01{}"):
        with pytest.raises(PackedStateError):
            engine.load_process(packed)
        with pytest.raises(PackedStateError):
            engine.load_agent(packed)


PATHS = ("/etc/shadow", "/tmp/x", "a/../b", "", "\u2400", "/proc/self/fd/3", "/srv/" + "x" * 50, "/")
CALLS = (
    "openat",
    "dup2",
    "connect",
    "accept4",
    "listen",
    "ptrace",
    "execve",
    "rename",
    "unlink",
    "setuid",
    "fchmodat",
    "memfd_create",
    "unshare",
    "mount",
    "close",
    "socket",
    "unheard_of",
    "read",
    "bpf",
)
ARGS: dict[str, tuple[Any, ...]] = {
    "path": PATHS,
    "path2": PATHS,
    "flags": ([], ["O_WRONLY"], ["CLONE_NEWNS", "x"]),
    "mode": (-1, 0o4755, 0o755),
    "fd": (-1, 0, 1, 3, 9, None, "x"),
    "newfd": (-1, 0, 2, 9),
    "fd_kind": ("inet", "pipe", "memfd", "", "TCP"),
    "addr": (None, {"family": "inet", "ip": "192.0.2.1"}, {"family": "unix", "path": "/x/docker.sock"}),
    "target_pid": (0, 3, 4711),
    "request": ("PTRACE_ATTACH", "PTRACE_POKETEXT", "BPF_PROG_LOAD"),
    "uid": (-1, 0, 3, [0, 1]),
    "argv": (["-c"], ["sh", "-perm"], []),
    "name": ("security.capability", "x"),
    "inode": ("8:1", "", None),
}
GAPS_US = (0, 1, 1_000, 2_000_000, 700_000_000, 30_000_000_000, -5_000_000)


def wild(chance: random.Random) -> list[RiskEvent]:
    """Up to 60 events that no machine would send: few pids, jumping times, any argument, any order."""
    out = []
    now_us = 1_767_225_600_000_000
    kinds = ["call"] * 6 + ["exec", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"]
    for position in range(1, chance.randrange(2, 60)):
        now_us += chance.choice(GAPS_US)
        kind = chance.choice(kinds)
        args = {name: chance.choice(values) for name, values in ARGS.items() if chance.random() < 0.5}
        out.append(
            RiskEvent(
                position=position,
                event_id=position.to_bytes(16, "big"),
                occurred_us=now_us,
                kind=kind,
                pid=chance.randrange(5),
                tid=chance.choice([None, chance.randrange(40)]),
                ppid=chance.choice([None, chance.randrange(5)]),
                start=chance.choice([None, chance.randrange(3)]),
                boot_id=chance.choice("aaab"),
                exe=chance.choice([None, "/bin/sh", "/srv/app/server", "/usr/sbin/sshd"]),
                call=chance.choice(CALLS) if kind == "call" else None,
                ret=chance.choice([None, 0, 3, -1]),
                errno=chance.choice([None, None, "EPERM"]),
                args=chance.choice([None, args]),
                names=tuple(chance.choices(CALLS, k=chance.randrange(5))) if kind == "calls" else None,
                child_pid=chance.randrange(5) if kind == "fork" else None,
                child_start=chance.choice([None, chance.randrange(3)]) if kind == "fork" else None,
                alphabet="strace.full.v1",
                late=chance.random() < 0.5,
                extra={"count": chance.randrange(-1, 50), "rule": "x"},
            )
        )
    return out


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_events_keep_every_promise(rules: RuleSet, profiles: ProfileSet, seed: int) -> None:
    chance = random.Random(seed)
    events = wild(chance)
    plain, server = AgentEngine(rules, profiles), Server(rules, profiles)
    wanted = whole(plain, events)
    got = []
    for batch in cut(events, chance.randrange(1, 10)):
        got += server.step(batch, restart=chance.random() < 0.5, keep=chance.choice([None, 0, 2]))
    assert got == wanted
    assert server.rows == states_of(plain)
    for process in plain.instances.states.values():
        slots = process.slots or []
        assert len(slots) <= MAX_SLOTS
        assert len(process.threads or {}) <= MAX_THREADS
        assert len(process.fds or {}) <= MAX_FDS
        assert len(process.suppressed or []) <= MAX_SUPPRESSED
        assert process.tree is None or len(process.tree.slots) <= MAX_TREE_SLOTS
        risk, parts = shares(slots, process.last_us)
        assert 0 <= risk == risk_at(slots, process.last_us) <= 10_000
        assert not parts or sum(part.points for part in parts) == risk
        assert 0 <= process.risk_score <= 10_000
    assert len(plain.judge.facts.files) <= MAX_FILES
    rows = [item for item in wanted if isinstance(item, ScoreRow)]
    assert all(0 <= row.risk <= 10_000 and 0 <= row.tree_risk <= 10_000 for row in rows)
