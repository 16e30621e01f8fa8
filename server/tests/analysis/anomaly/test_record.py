"""Records as lines, and their numeric fields."""

import numpy as np
import pytest

from guardhouse.analysis.anomaly.numeric import Field, choose_fields, columns, is_known, scaled
from guardhouse.analysis.anomaly.record import (
    Rules,
    learn_rules,
    leaves,
    numbers,
    record_line,
    trace_record,
    words,
)
from guardhouse.analysis.anomaly.splitmix import uniform

RULES = Rules(times=frozenset({"made"}), identifiers=frozenset({"id"}))
BODY = {
    "timestamp": "2026-01-05T10:00:00Z",
    "made": "2026-01-05 10:00:00",
    "id": "user-0042/7",
    "amount": 12.5,
    "ok": True,
    "none": None,
    "tags": ["a|b", "c"],
    "inner": {"city": "Zürich"},
}


def test_a_record_is_a_sorted_line() -> None:
    expected = "amount=<n>|id=user-#/#|inner.city=Zürich|none=null|ok=true|tags[]=a/b|tags[]=c"
    assert record_line(leaves(BODY), RULES) == expected.encode()


def test_the_trace_leads_back_to_values() -> None:
    traced = trace_record(leaves(BODY), RULES)
    assert traced.masked == record_line(leaves(BODY), RULES)
    for shown, plain in (
        (b"<n>", b"12.5"),
        (b"user-#/#", b"user-0042/7"),
        ("Zürich".encode(), "Zürich".encode()),
    ):
        begin = traced.masked.index(shown)
        start, end = traced.raw_span(begin, begin + len(shown))
        assert traced.raw[start:end] == plain


def test_only_64_leaves_are_written_out() -> None:
    body = {f"k{n:03}": "v" for n in range(100)}
    assert record_line(leaves(body), RULES).endswith(b"|k063=v|+36")
    assert trace_record(leaves(body), RULES).masked == record_line(leaves(body), RULES)


@pytest.mark.parametrize("body", [{}, {"a": "x" * 20_000}, {"a": {"b": []}}, {"a": 2**70, "b": -0.0}])
def test_odd_records(body: dict[str, object]) -> None:
    line = record_line(leaves(body), Rules())
    traced = trace_record(leaves(body), Rules())
    assert traced.masked == line
    assert len(traced.begins) == len(line)


def test_numbers_and_words() -> None:
    found = leaves({"a": 1, "b": True, "c": "x", "d": [1.5, 2.5], "e": 2**2000})
    assert numbers(found) == {"a": 1.0, "d[]": 1.5, "e": 1e308}
    assert words(found) == {"c": "x"}


def test_rules_are_learned() -> None:
    bodies = [
        {"when": f"2026-01-05T10:00:{n % 60:02}Z", "ref": f"r{n}", "kind": "ab"[n % 2]} for n in range(100)
    ]
    assert learn_rules([leaves(body) for body in bodies]) == Rules(frozenset({"when"}), frozenset({"ref"}))


def test_scaled_keeps_sign_and_the_missing_apart() -> None:
    found = scaled(np.array([0.0, np.e - 1, 1 - np.e, np.nan, 1e308]))
    assert found[:3].tolist() == [0, 1_000_000, -1_000_000]
    assert is_known(found).tolist() == [True, True, True, False, True]


def test_both_directions_and_gaps_are_far() -> None:
    values = np.concatenate([10 + uniform(1, 0, 500), 1000 + 50 * uniform(2, 0, 500)])
    one = Field("x")
    one.fit(scaled(values), [])
    asked = one.scores(one.z(scaled(np.array([10.5, 1020.0, 100.0, 0.1, 1e6])), []))
    assert asked[:2].max() * 10 < asked[2:].min()


def test_nearest_neighbours_by_hand() -> None:
    one = Field("x")
    one.reference = np.array([0, 1_000_000, 2_000_000, 10_000_000])
    assert one.scores(np.array([1_000_000, -1_000_000])).tolist() == [
        (1000 + 0 + 1000 + 9000) // 4,
        (1000 + 2000 + 3000 + 11000) // 4,
    ]


def test_the_grouping_that_explains_most_is_taken() -> None:
    drawn = uniform(3, 0, 1200)
    records = [{"amount": (10.0 if n % 3 else 5000.0) * (1 + x)} for n, x in enumerate(drawn)]
    strings = [{"kind": "large" if n % 3 == 0 else "small", "noise": "abcd"[n % 4]} for n in range(1200)]
    (one,) = choose_fields(records, strings)
    assert one.grouping == "kind"
    values = columns(["amount"], records)[0]
    one.fit(values, [record["kind"] for record in strings])
    odd = columns(["amount"], [{"amount": 5000.0}])[0]
    far, near = one.scores(one.z(odd, ["small"])), one.scores(one.z(odd, ["large"]))
    assert far[0] > 20 * near[0]


def test_fields_that_repeat_each_other_share_one_part() -> None:
    drawn = uniform(4, 0, 800)
    records = [{"a": x, "twice_a": 2 * x, "b": y} for x, y in zip(drawn[:400], drawn[400:], strict=True)]
    fields = {one.path: one for one in choose_fields(records, [{} for _ in records])}
    assert fields["b"].share == pytest.approx(0.5)
    assert fields["a"].share == fields["twice_a"].share == pytest.approx(0.25)


def test_a_field_goes_on_as_before() -> None:
    one = Field("x", "kind")
    one.fit(scaled(uniform(5, 0, 100)), ["a"] * 100)
    again = Field.from_state(one.to_state())
    asked = scaled(np.array([3.0, -1.0]))
    assert again.scores(again.z(asked, ["a", "b"])).tolist() == one.scores(one.z(asked, ["a", "b"])).tolist()
