from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.learn import RunCollector, learn
from guardhouse.analysis.risk.rules import RuleSet

MEMBERS = [
    "path", "path2", "flags", "mode", "fd", "newfd", "fd_kind", "addr", "target_pid", "request", "uid", "argv",
    "inode", "len", "name",
]  # fmt: skip
ADDRESS = ["ip", "port", "family", "path"]
CALLS = sorted({call for rule in RuleSet.builtin().rules for step in rule.steps for call in step.calls})
NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1)
SCALARS = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | st.sampled_from(["", "/etc/shadow", "/var/x", "O_WRONLY", "inet"])
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ADDRESS, *MEMBERS]), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGS = st.none() | st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=5)
KINDS = st.sampled_from(["call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"])
WORDS = st.none() | st.text(max_size=5)
EVENTS = st.builds(
    lambda n, kind, call, args, ret, extra: RiskEvent(
        position=n,
        event_id=n.to_bytes(16),
        occurred_us=1_790_000_000_000_000 + n,
        kind=kind,
        pid=n % 5,
        call=call,
        args=args,
        ret=ret,
        names=("read", "ptrace"),
        child_pid=n % 7,
        exe="/bin/sh",
        extra=extra,
    ),
    st.integers(1, 1000),
    KINDS,
    st.sampled_from(CALLS),
    ARGS,
    st.none() | NUMBERS,
    st.none()
    | st.fixed_dictionaries(
        {
            "rule": WORDS,
            "priority": WORDS,
            "source": WORDS,
            "tags": st.lists(WORDS),
            "count": st.none() | NUMBERS,
            "where": WORDS,
        }
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_no_argument_breaks_the_engine_or_what_it_stores(events: list[RiskEvent]) -> None:
    events = [event._replace(position=n) for n, event in enumerate(events, 1)]
    engine = AgentEngine(RuleSet.builtin())
    for event in events:
        engine.apply(event)
    for dirty in engine.take_dirty():
        other = AgentEngine(RuleSet.builtin())
        assert other.pack(other.load_process(dirty.packed)) == dirty.packed
    AgentEngine(RuleSet.builtin()).load_agent(engine.pack_agent())


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_no_argument_breaks_learning(events: list[RiskEvent]) -> None:
    collector = RunCollector(AgentEngine(RuleSet.builtin()))
    for n, event in enumerate(events, 1):
        collector.observe(event._replace(position=n))
    learn(None, collector.finish()).pack()
