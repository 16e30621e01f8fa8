"""Decisions: values by hand, intervals that hold at their ends, draws that repeat, questions read as they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.decision.model import WHOLE, Criterion, Model, Spread, on_scale, weights_of
from guardhouse.analysis.decision.question import DO_IT, DO_NOT, FIND_OUT, options_of
from guardhouse.analysis.decision.sensitivity import examine
from guardhouse.analysis.decision.value import weigh


def sure(value: float) -> Spread:
    return Spread(value, value, value)


def model_of(table: dict[str, list[float]], criteria: list[Criterion]) -> Model:
    scores = {
        (option, one.name): sure(value)
        for option, row in table.items()
        for one, value in zip(criteria, row, strict=True)
    }
    return Model(tuple(table), criteria, scores)


HOUSES = model_of(
    {"flat": [8, 2, 300], "house": [6, 9, 500], "boat": [3, 5, 100]},
    [
        Criterion("place", weight=5),
        Criterion("room", weight=3),
        Criterion("rent", 0, 1000, direction="min", weight=2),
    ],
)


def test_values_are_the_weighted_sums() -> None:
    worth = {one.option: one for one in weigh(HOUSES)}
    assert worth["flat"].likely == 500 * 800 // 1000 + 300 * 200 // 1000 + 200 * 700 // 1000
    assert worth["house"].likely == 300 + 270 + 100
    assert weigh(HOUSES)[0].option == "house"
    assert worth["house"].least == worth["house"].likely == worth["house"].most


def test_an_unknown_score_leaves_the_value_open() -> None:
    scores = {pair: score for pair, score in HOUSES.scores.items() if pair != ("house", "room")}
    (house,) = [one for one in weigh(Model(HOUSES.options, HOUSES.criteria, scores)) if one.option == "house"]
    assert (house.likely, house.least, house.most, house.unknown) == (None, 400, 700, ("room",))


def test_a_veto_puts_an_option_last() -> None:
    criteria = [Criterion("place", weight=5, veto=7), *HOUSES.criteria[1:]]
    ranked = weigh(Model(HOUSES.options, criteria, HOUSES.scores))
    assert [(one.option, one.vetoed_by) for one in ranked] == [
        ("flat", None),
        ("house", "place"),
        ("boat", "place"),
    ]


def test_ranks_become_centroid_weights() -> None:
    weights = weights_of([Criterion("a", rank=1), Criterion("b", rank=2), Criterion("c", rank=3)])
    assert weights == [611_111, 277_778, 111_111]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_weights_sum_to_a_million(given_weights: list[float]) -> None:
    weights = weights_of([Criterion(str(i), weight=weight) for i, weight in enumerate(given_weights)])
    assert sum(weights) == WHOLE
    assert all(weight >= 0 for weight in weights)


def test_a_scale_has_its_good_end() -> None:
    assert on_scale(300, HOUSES.criteria[2]) == 700
    assert on_scale(-5, HOUSES.criteria[2]) == 1000
    assert on_scale(20, HOUSES.criteria[0]) == 1000


def test_the_winner_stays_within_the_interval_and_not_beyond() -> None:
    found = examine(HOUSES, HOUSES.options, seed=7)
    assert found.winner == "house"
    for span in found.weights:
        for weight, stays in (
            (span.lowest + 2_000, True),
            (span.highest - 2_000, True),
            (span.lowest - 2_000, False),
            (span.highest + 2_000, False),
        ):
            if not 0 <= weight <= WHOLE or (not stays and weight in {span.lowest, span.highest}):
                continue
            rest = WHOLE - span.weight
            criteria = [
                Criterion(
                    one.name,
                    one.low,
                    one.high,
                    one.direction,
                    weight=weight if one.name == span.criterion else old.weight * (WHOLE - weight) / rest,
                )
                for one, old in zip(HOUSES.criteria, found.weights, strict=True)
            ]
            first = weigh(Model(HOUSES.options, criteria, HOUSES.scores))[0]
            assert (first.option == "house") == stays, (span, weight)


def test_the_smallest_change_flips_and_no_smaller_one() -> None:
    flip = examine(HOUSES, HOUSES.options, seed=7).flip
    assert flip is not None
    criterion = next(one for one in HOUSES.criteria if one.name == flip.criterion)
    step = (criterion.high - criterion.low) / 1_000 * (1 if criterion.direction == "max" else -1)
    for change, winner in ((flip.change_milli * 1.02, flip.winner), (flip.change_milli * 0.98, "house")):
        old = HOUSES.scores[flip.option, flip.criterion].likely
        scores = {**HOUSES.scores, (flip.option, flip.criterion): sure(old + change * step)}
        assert weigh(Model(HOUSES.options, HOUSES.criteria, scores))[0].option == winner


def test_draws_repeat_and_certainty_is_certain() -> None:
    once, again = (examine(HOUSES, HOUSES.options, seed=7) for _ in range(2))
    assert once == again
    assert 500 < once.reliability_milli <= 1_000
    clear = model_of({"a": [10, 10], "b": [0, 0]}, [Criterion("x"), Criterion("y")])
    found = examine(clear, clear.options, seed=1)
    assert (found.reliability_milli, found.flip, found.dominated) == (1_000, None, (("b", "a"),))
    even = model_of({"a": [10, 0], "b": [0, 10]}, [Criterion("x"), Criterion("y")])
    assert 450 < examine(even, even.options, seed=1).reliability_milli < 550


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Postgres or MySQL?", ("Postgres", "MySQL")),
        ("Postgres vs MySQL vs SQLite", ("Postgres", "MySQL", "SQLite")),
        ("Should we rent, buy or wait?", ("rent", "buy", "wait")),
        ("Which one: red, green or blue?", ("red", "green", "blue")),
        ("Should I launch this product?", (DO_IT, DO_NOT, FIND_OUT)),
        ("Do we need order in the store?", (DO_IT, DO_NOT, FIND_OUT)),
        ("What next", (DO_IT, DO_NOT, FIND_OUT)),
        ("???", (DO_IT, DO_NOT, FIND_OUT)),
        ("tea or tea", (DO_IT, DO_NOT, FIND_OUT)),
    ],
)
def test_options_are_read_from_the_question(question: str, options: tuple[str, ...]) -> None:
    assert options_of(question) == options


@given(st.text(max_size=300))
def test_any_text_names_two_to_twenty_options(text: str) -> None:
    found = options_of(text)
    assert 2 <= len(found) <= 20
    assert len(set(found)) == len(found)
