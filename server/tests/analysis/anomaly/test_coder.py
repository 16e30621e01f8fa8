"""The coder: hand-computed vectors, and what must not change a cost."""

import json
from pathlib import Path

import numpy as np
import pytest

from guardhouse.analysis.anomaly import snapshot
from guardhouse.analysis.anomaly.coder import BAG, BYTES, TRACE, WORKFLOW, Coder, Kind
from guardhouse.analysis.anomaly.splitmix import values
from server.tests.analysis.anomaly.plain_coder import PlainCoder

VECTORS = Path(__file__).parents[4] / "contract" / "vectors" / "anomaly" / "coder.json"


def some_lines(count: int, seed: int = 1) -> list[bytes]:
    """Distinct lines with repeated parts, like those of a program."""
    drawn = values(seed, 0, count * 3).reshape(count, 3)
    return [
        b"GET /item/%d HTTP/1.1 status=%d agent=%s" % (n, a % 5, [b"curl", b"Mozilla", b"bot"][int(b % 3)])
        for n, (a, b, _) in enumerate(drawn.tolist())
    ]


def test_vectors() -> None:
    for vector in json.loads(VECTORS.read_text())["coder"]:
        kind = Kind(vector["end"], 1 / vector["one_in"], tuple(vector["orders"]))
        coder = Coder(kind, vector["table_bits"])
        lines = [line.encode() if isinstance(line, str) else line for line in vector["learn"]]
        coder.learn(lines, vector["weights"])
        score = vector["score"].encode() if isinstance(vector["score"], str) else vector["score"]
        assert coder.costs([score]).milli.tolist() == vector["milli_bits"]
        for slots, expected in zip(coder.slots(score), vector["slots"], strict=True):
            assert slots.order == expected["order"]
            assert slots.contexts.tolist() == expected["contexts"]
            assert slots.pairs.tolist() == expected["pairs"]
            assert coder.counts(slots).tolist() == expected["counts"]


@pytest.mark.parametrize("bits", [14, 18])
def test_equals_the_plain_coder(bits: int) -> None:
    lines = some_lines(300)
    weights = [1 + n % 64 for n in range(len(lines))]
    fast, plain = Coder(BYTES, bits), PlainCoder(BYTES.orders, bits)
    for begin in (0, 100, 200):
        fast.learn(lines[begin : begin + 100], weights[begin : begin + 100])
        plain.learn([list(x) for x in lines[begin : begin + 100]], weights[begin : begin + 100])
    asked = [*some_lines(20, seed=2), b"", b"../../etc/passwd", bytes(range(11, 256))]
    assert [fast.costs([x]).milli.tolist() for x in asked] == [plain.cost(list(x)) for x in asked]


@pytest.mark.parametrize("kind", [WORKFLOW, TRACE, BAG])
def test_symbols_equal_the_plain_coder(kind: Kind) -> None:
    rows = [[1, 2, 3 + n % 7, 3, 9, 2**31 - n] for n in range(40)]
    fast = Coder(kind)
    plain = PlainCoder(kind.orders, 18, end=0, start=1 / 512)
    fast.learn(rows)
    plain.learn(rows, [1] * len(rows))
    asked = [[1, 2, 3], [], [9, 9, 9, 7]]
    assert [fast.costs([x]).milli.tolist() for x in asked] == [plain.cost(x) for x in asked]


def test_batches_do_not_change_a_cost() -> None:
    lines = some_lines(3000)
    coder = Coder()
    coder.learn(lines[:1000])
    together = coder.costs(lines)
    assert together.totals().tolist() == [int(coder.costs([line]).milli.sum()) for line in lines]
    backwards = Coder()
    backwards.learn(lines[:1000][::-1])
    assert np.array_equal(backwards.costs(lines).milli, together.milli)


def test_leave_one_out_equals_a_model_without_the_line() -> None:
    lines = [*some_lines(60), b"odd one out, aaaaaaaaaaaaaa", b"twice"]
    weights = [1] * 61 + [2]
    coder = Coder()
    coder.learn(lines, weights)
    left_out = coder.leave_one_out(lines)
    for number, line in enumerate(lines):
        rest = Coder()
        others = [(x, w - (x == line)) for x, w in zip(lines, weights, strict=True) if w > (x == line)]
        rest.learn([x for x, _ in others], [w for _, w in others])
        assert left_out.of(number).tolist() == rest.costs([line]).milli.tolist(), line


def test_rotation_keeps_two_generations() -> None:
    first, second, third = some_lines(200, 1), some_lines(200, 2), [b"third %d" % n for n in range(200)]
    asked = [*some_lines(10, 3), b"third 7", b"never seen"]
    rotated = Coder(BYTES, 14)
    rotated.learn(first)
    rotated.rotate()
    rotated.learn(second)
    both = Coder(BYTES, rotated.table_bits)
    both.learn(first)
    both.learn(second)
    assert np.array_equal(rotated.costs(asked).milli, both.costs(asked).milli)
    rotated.rotate()
    rotated.learn(third)
    later = Coder(BYTES, rotated.table_bits)
    later.learn(second)
    later.learn(third)
    assert np.array_equal(rotated.costs(asked).milli, later.costs(asked).milli)


def test_growing_keeps_every_cost() -> None:
    lines = some_lines(1500)
    coder = Coder(BYTES, 14)
    coder.learn(lines)
    before = coder.costs(lines)
    coder.rotate()
    assert coder.table_bits > 14
    assert np.array_equal(coder.costs(lines).milli, before.milli)


def test_a_frozen_copy_scores_alike_and_stays() -> None:
    coder = Coder()
    coder.learn(some_lines(300))
    frozen = coder.frozen()
    before = frozen.costs([b"third 7"]).milli.tolist()
    coder.learn([b"third 7"], [64])
    assert frozen.costs([b"third 7"]).milli.tolist() == before
    assert coder.costs([b"third 7"]).milli.tolist() != before


def test_a_full_table_is_told() -> None:
    coder = Coder(BYTES, 14)
    assert not coder.crowded()
    coder.learn([values(5, 16 * n, 16).tobytes().replace(b"\n", b" ") for n in range(400)])
    assert coder.crowded()


def test_state_goes_on_as_before() -> None:
    lines = some_lines(400)
    coder = Coder()
    coder.learn(lines[:200])
    coder.rotate()
    raw = snapshot.to_bytes(coder.to_state())
    again = Coder.from_state(snapshot.from_bytes(raw))
    assert snapshot.to_bytes(again.to_state()) == raw
    for one in (coder, again):
        one.learn(lines[200:])
    assert snapshot.to_bytes(again.to_state()) == snapshot.to_bytes(coder.to_state())


def test_dearest_run_and_means() -> None:
    coder = Coder()
    coder.learn(some_lines(50))
    costs = coder.costs([b"GET /item/", b"ab", some_lines(1)[0] + b"\xff\xfe"])
    for number in range(3):
        own = costs.of(number).tolist()
        runs = [sum(own[i : i + 8]) for i in range(max(1, len(own) - 7))]
        assert costs.dearest_run()[number] == max(runs)
        assert costs.dearest()[number] == max(own)
        assert costs.means()[number] == sum(own) // len(own)


def test_a_never_seen_symbol_costs_at_most_forty_bits() -> None:
    coder = Coder()
    coder.learn([b"a" * 8000], [64])
    assert coder.costs([b"\xff" * 20]).milli.max() <= 40_000
    assert coder.costs([]).totals().size == 0
