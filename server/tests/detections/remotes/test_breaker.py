"""The breaker's sequences, on a clock that a test moves."""

from dataclasses import dataclass, field

from guardhouse.detections.remotes.breaker import (
    IN_A_ROW,
    LONGEST_SECONDS,
    OPEN_SECONDS,
    WINDOW,
    Breaker,
    Permit,
)


@dataclass
class Bench:
    now: float = 0.0
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(lambda: self.now)

    @property
    def state(self) -> str:
        return self.breaker.state

    def permit(self) -> Permit:
        found = self.breaker.ask()
        assert found is not None
        return found

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.permit())

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.permit())


def test_three_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    bench = Bench()
    bench.fail(IN_A_ROW - 1)
    bench.succeed()
    bench.fail(IN_A_ROW - 1)
    assert bench.state == "closed"
    bench.fail()
    assert (bench.state, bench.breaker.ask()) == ("open", None)
    assert bench.breaker.seconds_left() == OPEN_SECONDS


def test_half_of_the_last_twenty_open_it() -> None:
    bench = Bench()
    for _ in range(WINDOW // 2 - 1):
        bench.fail()
        bench.succeed()
    bench.fail()  # 10 of 19
    assert bench.state == "closed"
    bench.succeed()  # a success never opens it, whatever the share
    assert bench.state == "closed"
    bench.fail()  # 10 of the last 20
    assert bench.state == "open"


def test_fewer_than_half_never_open_it() -> None:
    bench = Bench()
    for _ in range(30):
        bench.fail(2)
        bench.succeed(3)
    assert bench.state == "closed"


def test_one_probe_at_a_time_and_two_successes_close_it() -> None:
    bench = Bench()
    bench.fail(IN_A_ROW)
    bench.now += OPEN_SECONDS - 0.001
    assert bench.breaker.ask() is None
    bench.now += 0.001
    probe = bench.permit()
    assert (bench.state, bench.breaker.ask()) == ("half_open", None)
    bench.breaker.succeeded(probe)
    assert bench.state == "half_open"
    bench.succeed()
    assert bench.state == "closed"
    bench.fail(IN_A_ROW - 1)
    assert bench.state == "closed"


def test_each_failed_probe_doubles_the_time_up_to_ten_minutes_and_closing_forgets() -> None:
    bench = Bench()
    bench.fail(IN_A_ROW)
    waits = []
    for _ in range(6):
        waits.append(bench.breaker.seconds_left())
        bench.now += waits[-1]
        bench.fail()
        assert bench.state == "open"
    assert waits == [60, 120, 240, 480, LONGEST_SECONDS, LONGEST_SECONDS]
    bench.now += LONGEST_SECONDS
    bench.succeed(2)
    bench.fail(IN_A_ROW)
    assert bench.breaker.seconds_left() == OPEN_SECONDS


def test_what_was_asked_before_it_opened_says_nothing_of_what_is_now() -> None:
    bench = Bench()
    late = [bench.permit() for _ in range(3)]
    bench.fail(IN_A_ROW)
    bench.now += OPEN_SECONDS
    probe = bench.permit()
    bench.breaker.succeeded(late[0])
    bench.breaker.failed(late[1])
    bench.breaker.given_back(late[2])
    assert (bench.state, bench.breaker.ask()) == ("half_open", None)
    bench.breaker.succeeded(probe)
    bench.succeed()
    assert bench.state == "closed"


def test_a_probe_whose_caller_went_away_leaves_its_place_to_another() -> None:
    bench = Bench()
    bench.fail(IN_A_ROW)
    bench.now += OPEN_SECONDS
    bench.breaker.given_back(bench.permit())
    bench.succeed(2)
    assert bench.state == "closed"
