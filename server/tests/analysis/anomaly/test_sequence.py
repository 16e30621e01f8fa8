import random
from collections.abc import Callable

import numpy as np
import pytest

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.open_sessions import IDLE_US, LONGEST, OpenSessions, Session, Step
from guardhouse.analysis.anomaly.sequence import JudgedSession, SessionRules, SessionStream
from guardhouse.analysis.anomaly.session_model import SessionModel
from guardhouse.analysis.anomaly.symbols import OWN, SHARED, SymbolTable, symbol_of_number
from server.tests.analysis.anomaly import workflow

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
ONE_IN_100, ONE_IN_1000 = 2_000_000, 3_000_000


def sessions(kind: Callable[[random.Random], workflow.Steps], count: int, seed: int) -> list[Session]:
    chance = random.Random(seed)
    return [
        Session(
            f"k{n}", tuple(map(symbol_of_number, kind(chance))), n, n, START + n * SECOND, START + n * SECOND
        )
        for n in range(count)
    ]


def symbols(kind: Callable[[random.Random], workflow.Steps], count: int, seed: int) -> list[tuple[int, ...]]:
    return [session.symbols for session in sessions(kind, count, seed)]


@pytest.fixture(scope="module")
def model() -> SessionModel:
    made = SessionModel.fit(symbols(workflow.usual, 1500, 1))
    made.freeze(0.5)
    return made


def surprise(model: SessionModel, of: list[tuple[int, ...]]) -> list[int]:
    return [int(one) for one in model.combined(model.family_surprise(model.scores(of)))]


def test_usual_sessions_are_seldom_rare(model: SessionModel) -> None:
    found = np.array(surprise(model, symbols(workflow.usual, 5000, 2)))
    assert np.mean(found >= ONE_IN_100) <= 0.015
    assert np.mean(found >= ONE_IN_1000) <= 0.003


@pytest.mark.parametrize(
    "kind", [workflow.unknown_step, workflow.loop, workflow.cut_short, workflow.turned_round]
)
def test_broken_sessions_are_rare(
    model: SessionModel, kind: Callable[[random.Random], workflow.Steps]
) -> None:
    found = np.array(surprise(model, symbols(kind, 200, 3)))
    assert np.mean(found >= ONE_IN_100) >= 0.99


def test_a_missing_step_ranks_above_usual_sessions(model: SessionModel) -> None:
    usual = np.sort(surprise(model, symbols(workflow.usual, 5000, 2)))
    broken = surprise(model, symbols(workflow.missing_step, 200, 3))
    below = (np.searchsorted(usual, broken, "left") + np.searchsorted(usual, broken, "right")) / 2
    assert np.mean(below) / len(usual) >= 0.96


def test_an_explanation_names_the_strange_step_what_was_expected_and_what_is_missing(
    model: SessionModel,
) -> None:
    steps = (1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3, 4, 5, 44, 6, 30)
    known = sorted({symbol for session in symbols(workflow.usual, 200, 1) for symbol in session})
    why = model.explain(tuple(map(symbol_of_number, steps)), known)
    strange = max(why.dearest, key=lambda dear: dear.milli_bits)
    assert (strange.place, strange.symbol) == (13, symbol_of_number(44))
    assert strange.expected in (symbol_of_number(5), symbol_of_number(6))
    assert (symbol_of_number(31), 1) in why.missing
    assert (symbol_of_number(44), 1) in why.surplus
    assert why.dearest[-1].symbol == 0  # the session ends where a 31 was expected
    assert why.dearest[-1].expected == symbol_of_number(31)


def test_long_sessions_are_traces() -> None:
    chance = random.Random(4)
    long = [tuple(chance.choice((2, 3, 4)) for _ in range(80)) for _ in range(60)]
    assert SessionModel.fit(long).is_trace
    assert not SessionModel.fit(symbols(workflow.usual, 60, 1)).is_trace


def ready(seed: int = 7, count: int = 500) -> SessionStream:
    stream = SessionStream(seed, warm_up=count)
    stream.judge(sessions(workflow.usual, count, 1), SessionRules())
    return stream


def told(found: list[JudgedSession]) -> list[JudgedSession]:
    return [one for one in found if one.candidate]


def test_nothing_is_told_while_the_stream_is_calibrating() -> None:
    stream = SessionStream(1)
    assert stream.judge(sessions(workflow.usual, 49, 1), SessionRules()) == []
    states = [stream.state]
    stream.judge(sessions(workflow.usual, 1, 2), SessionRules())
    assert [*states, stream.state] == ["calibrating", "ready"]


def test_a_live_stream_finds_the_broken_and_not_the_usual() -> None:
    stream = ready(count=1000)
    usual = told(stream.judge(sessions(workflow.usual, 2000, 2), SessionRules()))
    assert len(usual) <= 8
    broken = sessions(workflow.loop, 20, 3)
    found = told(stream.judge(broken + sessions(workflow.usual, 400, 4), SessionRules()))
    assert len([one for one in found if one.session in broken]) >= 18
    assert found[0].why is not None


def settled(chance: random.Random) -> workflow.Steps:
    return tuple(step for step in workflow.usual(chance) if not 10 <= step <= 19)


def test_a_step_never_seen_before_is_told_where_that_is_not_usual() -> None:
    stream = SessionStream(7)
    usual = told(stream.judge(sessions(settled, 2500, 1), SessionRules()))
    strange = [
        one._replace(symbols=(*one.symbols[:9], 77, *one.symbols[9:])) for one in sessions(settled, 5, 2)
    ]
    found = stream.judge([*strange, *sessions(settled, 200, 3)], SessionRules())
    assert len(usual) <= 8
    assert [one.candidate for one in found[:5]] == [True] * 5
    assert len({one.shape for one in found[:5]}) == 1
    assert not told(found[5:])


def test_a_new_variant_is_learned_when_it_comes_again_and_again() -> None:
    stream = ready()
    variant = sessions(workflow.usual, 800, 5)
    variant = [
        one._replace(symbols=(*one.symbols[:-1], 51, one.symbols[-1])) if n % 8 == 0 else one
        for n, one in enumerate(variant)
    ]
    first = [one for one in stream.judge(variant[:200], SessionRules()) if 51 in one.session.symbols]
    last = [one for one in stream.judge(variant[600:], SessionRules()) if 51 in one.session.symbols]
    assert min(one.surprise for one in first[:5]) > max(one.surprise for one in last)
    assert np.mean([one.rejected for one in last]) < 0.1
    assert stream.regime_changes == 0


def test_a_confirmed_shape_is_never_learned() -> None:
    stream = ready()
    bad = [
        one._replace(symbols=(*one.symbols[:-1], 51, one.symbols[-1]))
        for one in sessions(workflow.usual, 100, 6)
    ]
    shape = stream.judge(bad[:1], SessionRules())[0].shape
    stream.confirm(shape)
    stream.judge(sessions(workflow.usual, 200, 8), SessionRules())
    for part in range(9):
        stream.judge(
            bad[1 + part * 10 : 11 + part * 10] + sessions(workflow.usual, 120, 30 + part), SessionRules()
        )
    last = stream.judge(bad[-1:], SessionRules())[0]
    assert last.rejected
    assert last.families[1] >= ONE_IN_1000


def test_an_allowed_shape_is_learned_at_once() -> None:
    stream = ready()
    odd = sessions(workflow.usual, 1, 6)[0]
    odd = odd._replace(symbols=(*odd.symbols[:-1], 51, odd.symbols[-1]))
    before = stream.judge([odd], SessionRules())[0]
    stream.judge(
        sessions(workflow.usual, 200, 8), SessionRules()
    )  # to the end of the epoch, where it starts to wait
    stream.allow(before.shape)
    after = stream.judge([odd], SessionRules())[0]
    assert before.rejected
    assert after.surprise < before.surprise


def other_workflow(chance: random.Random) -> workflow.Steps:
    return (60, 61, *[62] * chance.randint(1, 4), 63, chance.choice((64, 65)))


def test_a_new_regime_is_told_once_and_learned() -> None:
    stream = ready(count=3300)  # epochs of 206 sessions
    stream.judge(sessions(other_workflow, 430, 2), SessionRules())
    assert (stream.regime_changes, stream.state) == (1, "recalibrating")
    found = stream.judge(sessions(other_workflow, 640, 3), SessionRules())
    assert (stream.regime_changes, stream.state) == (1, "ready")
    assert not told(found)


def test_a_held_regime_is_learned_when_a_person_accepts() -> None:
    rules = SessionRules(hold=True)
    stream = ready(count=3300)
    stream.judge(sessions(other_workflow, 600, 2), rules)
    assert stream.held
    held = stream.judge(sessions(other_workflow, 300, 3), rules)
    assert np.mean([one.rejected for one in held]) > 0.9
    assert not told(held)
    stream.accept()
    stream.judge(sessions(other_workflow, 420, 4), rules)
    after = stream.judge(sessions(other_workflow, 200, 5), rules)
    assert np.mean([one.rejected for one in after]) < 0.1


@pytest.mark.parametrize("cut", [20, 60, 700, 1003])
def test_a_saved_stream_goes_on_as_if_nothing_had_been(cut: int) -> None:
    every = (
        sessions(workflow.usual, 1000, 1) + sessions(workflow.loop, 10, 2) + sessions(workflow.usual, 300, 3)
    )
    whole, begun = SessionStream(7), SessionStream(7)
    wanted = whole.judge(every[:cut], SessionRules()) + whole.judge(every[cut:], SessionRules())
    got = begun.judge(every[:cut], SessionRules())
    loaded = SessionStream.from_state(snapshot.from_bytes(snapshot.to_bytes(begun.to_state())))
    got += loaded.judge(every[cut:], SessionRules())
    assert got == wanted
    assert snapshot.to_bytes(loaded.to_state()) == snapshot.to_bytes(whole.to_state())


def test_long_traces_are_judged_piece_by_piece() -> None:
    stream = SessionStream(3)
    chance = random.Random(5)
    at = START
    for key in range(50):
        for place in range(80):
            at += SECOND
            stream.observe([Step(1, at, f"p{key}", 2 + place % 5, end=place == 79)], SessionRules())
    assert stream.model is not None
    assert stream.model.is_trace
    usual = [Step(1, at, "long", 2 + place % 5) for place in range(256)]
    strange = [Step(1, at, "long", chance.randrange(2, 7)) for _ in range(256)]
    pieces = [one for one in stream.observe(usual + strange, SessionRules()) if one.session.closed == "piece"]
    assert [len(one.scores) for one in pieces] == [1, 1]
    assert pieces[0].surprise < ONE_IN_100
    assert pieces[1].candidate
    assert len(pieces[1].session.symbols) == 256 + 8


# -- gathering -----------------------------------------------------------------------------------------------------


def feed(book: OpenSessions, *steps: Step) -> list[Session]:
    return [session for step in steps for session in book.observe(step)]


def test_a_session_ends_by_its_last_step_or_by_silence() -> None:
    book = OpenSessions()
    closed = feed(
        book,
        Step(1, START, "a", 5, entity="host"),
        Step(2, START + SECOND, "b", 6),
        Step(3, START + 2 * SECOND, "a", 7, end=True),
        Step(4, START + IDLE_US + SECOND, "c", 8),
    )
    assert [(one.key, one.symbols, one.closed) for one in closed] == [
        ("a", (5, 7), "end"),
        ("b", (6,), "idle"),
    ]
    assert (closed[0].first_seq, closed[0].last_seq, closed[0].entity) == (1, 3, "host")
    assert len(book) == 1


def test_steps_of_a_trace_are_put_in_order() -> None:
    steps = [
        Step(n, START, "t", symbol, order_us=order)
        for n, (symbol, order) in enumerate([(3, 30), (1, 10), (2, 20)])
    ]
    (trace,) = feed(OpenSessions(), *steps, Step(9, START, "t", 4, order_us=40, end=True))
    assert trace.symbols == (1, 2, 3, 4)


def test_a_very_long_session_is_cut() -> None:
    closed = feed(OpenSessions(), *(Step(n, START, "a", 1) for n in range(LONGEST + 1)))
    assert [(len(one.symbols), one.closed) for one in closed] == [(LONGEST, "full")]


def test_a_step_from_the_future_cuts_no_later_session() -> None:
    book = OpenSessions()
    day = 86_400 * SECOND
    assert not feed(book, Step(1, START + day, "x", 1))
    closed = feed(book, *(Step(n, START + n * SECOND, "a", 2) for n in range(2, 50)))
    assert closed == []


def test_the_oldest_session_leaves_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardhouse.analysis.anomaly.open_sessions.MOST_OPEN", 2)
    closed = feed(OpenSessions(), *(Step(n, START, f"k{n}", 1) for n in range(3)))
    assert [(one.key, one.closed) for one in closed] == [("k0", "crowded")]


def test_names_have_numbers_of_their_own_until_the_table_is_full() -> None:
    table = SymbolTable()
    assert [table.symbol(name) for name in (b"a", b"b", b"a")] == [1, 2, 1]
    assert table.name(2) == b"b"
    assert table.name(3) is None
    for number in range(OWN):
        table.symbol(b"n%d" % number)
    late = table.symbol(b"late")
    assert OWN < late <= OWN + SHARED
    assert SymbolTable.from_state(table.to_state()).symbol(b"late") == late
    assert table.name(late) is None
