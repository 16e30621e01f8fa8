from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guardhouse.foundation.rate_window import DAY, MICROSECONDS, MINUTE, RateWindow

SPAN, GRAIN = 60_000, 10


class WindowAgainstItsPromise(RuleBasedStateMachine):
    """The window beside the plain list of everything it admitted."""

    def __init__(self) -> None:
        super().__init__()
        self.window = RateWindow(SPAN, GRAIN)
        self.limit = 20
        self.now = 0
        self.admitted: list[tuple[int, int]] = []
        self.promised: int | None = None

    @rule(step=st.integers(0, SPAN // 4))
    def pass_time(self, step: int) -> None:
        self.now += step
        self.promised = None

    @rule(step=st.integers(0, GRAIN + 1))
    def pass_a_moment(self, step: int) -> None:
        self.now += step
        self.promised = None

    @rule(cost=st.integers(1, 25))
    def ask(self, cost: int) -> None:
        wait = self.window.wait(self.now, self.limit, cost)
        if cost > self.limit:
            assert wait is None
        elif wait == 0:
            self.window.add(self.now, cost)
            self.admitted.append((self.now, cost))
        else:
            assert wait is not None
            assert 0 < wait <= SPAN
            # It refuses only when admitting would break the promise, or would within one grain of it.
            assert self.counted(self.now - SPAN - GRAIN) + cost > self.limit
            # The moment it names is the first: just before it, it refuses still.
            assert self.window.wait(self.now, self.limit, cost) == wait
            if wait > 1:
                assert self.copy().wait(self.now + wait - 1, self.limit, cost) != 0
            assert self.copy().wait(self.now + wait, self.limit, cost) == 0

    @precondition(lambda self: self.admitted)
    @rule(limit=st.integers(1, 30))
    def change_the_limit(self, limit: int) -> None:
        self.limit = max(limit, self.limit)

    def counted(self, after: int) -> int:
        return sum(cost for at, cost in self.admitted if at > after)

    def copy(self) -> RateWindow:
        made = RateWindow(SPAN, GRAIN)
        made._cells.extend(list(cell) for cell in self.window._cells)
        made.total = self.window.total
        return made

    @invariant()
    def no_span_holds_more_than_the_limit(self) -> None:
        for end, _ in self.admitted:
            held = sum(cost for at, cost in self.admitted if end - SPAN < at <= end)
            assert held <= self.limit

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.window.cells <= SPAN // GRAIN + 1


TestWindow = WindowAgainstItsPromise.TestCase


@given(st.lists(st.integers(0, 120_000_000), min_size=1, max_size=300), st.integers(1, 40))
def test_a_minute_never_holds_more_than_its_limit(moments: list[int], limit: int) -> None:
    window = RateWindow(*MINUTE)
    admitted = []
    for now in sorted(moments):
        if window.wait(now, limit, 1) == 0:
            window.add(now, 1)
            admitted.append(now)
    for end in admitted:
        assert sum(end - MINUTE[0] < at <= end for at in admitted) <= limit


def test_a_full_window_opens_after_exactly_its_span() -> None:
    window = RateWindow(*MINUTE)
    for _ in range(3):
        assert window.wait(1000, 3, 1) == 0
        window.add(1000, 1)
    assert window.wait(1000, 3, 1) == MINUTE[0]
    assert window.wait(1000 + MINUTE[0] - 1, 3, 1) == 1
    assert window.wait(1000 + MINUTE[0], 3, 1) == 0
    assert window.leaves(1000 + MINUTE[0]) == 0


def test_a_fixed_window_would_let_twice_as_many_through() -> None:
    """59.9 s and 60.1 s lie in two minutes of the clock and in one of any 60 seconds."""
    window = RateWindow(*MINUTE)
    late, early = 59_900_000, 60_100_000
    for _ in range(10):
        window.add(late, 1)
    assert window.wait(early, 10, 1) == late + MINUTE[0] - early


def test_a_day_is_at_most_97_cells() -> None:
    window = RateWindow(*DAY)
    for second in range(0, 2 * 86_400, 7):
        now = second * MICROSECONDS
        assert window.wait(now, 10**9, 1) == 0
        window.add(now, 1)
        assert window.cells <= 97
    assert window.total >= 86_400 // 7
