import json
from collections.abc import Callable

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.explain import explain, explain_tree, timestamp
from guardhouse.analysis.risk.rules import RuleSet

Short = Callable[..., list[RiskEvent]]
SHELL = (
    {
        "exe": "/usr/bin/python3",
        "call": "connect",
        "args": {"fd": 3, "addr": {"family": "inet", "ip": "203.0.113.9", "port": 4444}},
        "ret": 0,
    },
    {"call": "dup2", "args": {"fd": 3, "newfd": 0}, "ret": 0},
    {"call": "dup2", "args": {"fd": 3, "newfd": 1}, "ret": 1},
    {"kind": "exec", "exe": "/bin/sh", "args": {"path": "/bin/sh"}},
    {"call": "openat", "args": {"path": "/etc/shadow", "flags": ["O_RDONLY"]}, "ret": 3},
)


def test_the_explanation_of_a_reverse_shell(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    events = short(*SHELL)
    for event in events:
        engine.apply(event)
    process = engine.instances.boots["test"][100]
    story = explain(engine, process, "web-1")
    json.dumps(story)
    first = story["contributions"][0]
    assert first["id"] == "rule.shell_on_socket"
    assert first["attack"] == ["T1059.004"]
    assert first["why"] == "socket to 203.0.113.9:4444 on fd 0,1, then /bin/sh started"
    assert first["decayed_from"] == 2.2
    assert set(first["events"]) == {events[number].event_id.hex() for number in (1, 2, 3)}
    assert round(sum(part["points"] for part in story["contributions"]), 2) == story["risk"]
    assert story["band"] == "high"
    assert story["process"] == {"id": "web-1:100", "exe": "/bin/sh", "comm": None, "tree": ["sh"]}
    assert story["baseline"]["learning"] is True
    assert story["as_of"] == "2026-01-01T00:00:00.005Z"


def test_every_contribution_cites_one_to_eight_events_that_exist(
    rules: RuleSet, life: list[RiskEvent]
) -> None:
    engine = AgentEngine(rules)
    known = {event.event_id.hex() for event in life}
    for event in life:
        engine.apply(event)
    explained = 0
    for process in engine.instances.states.values():
        stories = [explain(engine, process, "a", engine.clock_us)]
        if process.tree is not None:
            stories.append(explain_tree(engine, process, "a"))
        for story in stories:
            points = round(sum(part["points"] for part in story["contributions"]), 2)
            assert points == story["risk"] or not story["contributions"]
            for part in story["contributions"]:
                assert 1 <= len(part["events"]) <= 8
                assert set(part["events"]) <= known
                explained += 1
    assert explained > 50


def test_what_was_suppressed_is_told(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    for event in short({"exe": "/usr/bin/su", **SHELL[4]}):
        engine.apply(event)
    story = explain(engine, engine.instances.boots["test"][100], "web-1")
    assert story["risk"] == 0
    assert story["contributions"] == []
    assert [(item["id"], item["points"], item["would_be_nats"]) for item in story["suppressed"]] == [
        ("rule.credential_read", 0, 1.1)
    ]


def test_the_tree_is_told_by_program(rules: RuleSet, short: Short) -> None:
    engine = AgentEngine(rules)
    fork = {"kind": "fork", "child_pid": 101}
    child = {"pid": 101, "exe": "/usr/bin/cat", "call": "openat", "args": {"path": "/etc/shadow"}, "ret": 3}
    for event in short(*SHELL[:4], fork, child):
        engine.apply(event)
    pids = engine.instances.boots["test"]
    story = explain_tree(engine, pids[100], "web-1")
    assert [(part["id"], part["exe"]) for part in story["contributions"]] == [
        ("rule.shell_on_socket", "/usr/bin/python3"),
        ("rule.credential_read", "/usr/bin/cat"),
    ]
    assert explain(engine, pids[101], "web-1")["process"]["tree"] == ["sh", "cat"]
    assert explain_tree(engine, pids[101], "web-1")["contributions"] == []


def test_times_are_rfc_3339_with_milliseconds() -> None:
    assert timestamp(1_767_225_604_512_999) == "2026-01-01T00:00:04.512Z"
