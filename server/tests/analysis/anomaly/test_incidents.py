from dataclasses import replace

from guardhouse.analysis.anomaly.incidents import (
    Candidate,
    Incident,
    decided,
    join,
    recovered,
    related,
)

MINUTE = 60_000_000
GAP = 30 * MINUTE
START = 1_767_225_600_000_000
ONE = Candidate("event", "t7", START, "low", entity="host-1", links=frozenset({"trace:9"}))


def run(*candidates: Candidate) -> tuple[Incident, list[tuple[str, ...]]]:
    incident: Incident | None = None
    notices: list[tuple[str, ...]] = []
    for candidate in candidates:
        step = join(incident, candidate, "s", GAP)
        incident = step.incident
        notices.append(step.notices)
    assert incident is not None
    return incident, notices


def test_a_burst_of_one_template_is_one_incident_with_few_notices() -> None:
    incident, notices = run(*(replace(ONE, at_us=START + n * 1000) for n in range(1200)))
    assert incident.anomalies == 1200
    said = {n: one for n, one in enumerate(notices, 1) if one}
    assert said == {
        1: ("opened",),
        10: ("milestone",),
        50: ("escalated",),
        100: ("milestone",),
        1000: ("milestone",),
    }
    assert incident.severity == "medium"


def test_a_rise_of_severity_is_told_once_and_a_fall_never() -> None:
    _, notices = run(ONE, replace(ONE, severity="high"), ONE, replace(ONE, severity="high"))
    assert notices == [("opened",), ("escalated",), (), ()]
    assert join(run(ONE)[0], ONE, "s", GAP).repeat


def test_one_anomaly_of_many_events_counts_all_of_them() -> None:
    incident, notices = run(replace(ONE, events=60), replace(ONE, events=60))
    assert notices == [("opened",), ("milestone",)]
    assert (incident.events, incident.severity) == (120, "medium")


def test_after_the_gap_the_old_one_is_over_and_another_opens() -> None:
    first, _ = run(ONE)
    late = replace(ONE, at_us=START + GAP)
    assert join(first, late, "s", GAP).notices == ()
    step = join(first, replace(ONE, at_us=START + GAP + 1), "s", GAP)
    assert step.notices == ("opened",)
    assert step.before is not None
    assert step.before.state == "resolved"
    assert not step.incident.regressed
    assert step.incident.anomalies == 1


def test_silence_longer_than_the_gap_is_recovery() -> None:
    incident, _ = run(ONE)
    assert recovered(incident, START + GAP, GAP) is None
    over = recovered(incident, START + GAP + 1, GAP)
    assert over is not None
    assert over.state == "resolved"
    assert recovered(over, START + 9 * GAP, GAP) is None


def test_what_a_person_resolved_comes_back_as_a_regression() -> None:
    incident, _ = run(ONE)
    step = join(decided(incident, "resolved"), replace(ONE, at_us=START + MINUTE), "s", GAP)
    assert step.notices == ("regressed",)
    assert step.incident.regressed
    assert step.before is None
    reopened = decided(decided(incident, "resolved"), "open")
    assert join(reopened, ONE, "s", GAP).notices == ()
    assert join(decided(incident, "acknowledged"), ONE, "s", GAP).notices == ()


def test_a_late_candidate_joins_and_begins_earlier() -> None:
    incident, _ = run(ONE, replace(ONE, at_us=START - 2 * GAP, entity="host-0"))
    assert (incident.first_us, incident.last_us) == (START - 2 * GAP, START)
    assert incident.entities == ("host-0", "host-1")


def test_causes_keep_causes_apart() -> None:
    told = [ONE, replace(ONE, subject="t8"), replace(ONE, kind="session")]
    assert len({one.cause("s") for one in told} | {ONE.cause("other")}) == 4


def test_related_are_those_that_overlap_and_share_something() -> None:
    one, _ = run(ONE)
    same_host, _ = run(replace(ONE, subject="t8", links=frozenset()))
    same_trace, _ = run(replace(ONE, subject="t8", entity="host-5"))
    neither, _ = run(replace(ONE, subject="t8", entity="host-5", links=frozenset()))
    later, _ = run(replace(ONE, subject="t8", at_us=START + MINUTE))
    assert related(one, same_host)
    assert related(one, same_trace)
    assert not related(one, neither)
    assert not related(one, later)
    assert not related(one, one)


def test_entities_are_bounded() -> None:
    incident, _ = run(*(replace(ONE, entity=f"h{n:03}", links=frozenset({f"l{n}"})) for n in range(200)))
    assert len(incident.entities) == 50
    assert len(incident.links) == 50
