import re

from hypothesis import given
from hypothesis import strategies as st

from guardhouse.foundation.errors import (
    MAX_LISTED_ERRORS,
    Conflict,
    NotFound,
    Problem,
    Unavailable,
    ValidationFailed,
    catalogue,
)
from guardhouse.http.app import create_app

assert create_app is not None  # its module imports every feature, which declares its problems


def body(problem: Problem) -> dict[str, object]:
    return problem.body(public_url="https://guard.example", instance="urn:uuid:1", correlation_id="req-1")


def test_every_problem_has_a_code_of_its_own_and_says_what_to_do() -> None:
    problems = [p for p in catalogue() if p.__module__.startswith("guardhouse.")]
    codes = [problem.code for problem in problems]
    assert len(codes) == len(set(codes)), sorted(code for code in codes if codes.count(code) > 1)
    for problem in problems:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", problem.code), problem
        assert 400 <= problem.status <= 599, problem
        assert problem.remediation.endswith("."), problem
        assert problem.title, problem
        assert problem.__doc__, problem
        own = vars(problem)
        assert problem is Problem or ("title" in own and "status" in own), problem
        assert problem is Problem or "remediation" in own or problem.remediation != Problem.remediation, (
            problem
        )


def test_the_document_has_every_member() -> None:
    assert body(Conflict("Busy.", holder="a")) == {
        "type": "https://guard.example/problems/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "Busy.",
        "instance": "urn:uuid:1",
        "code": "conflict",
        "correlation_id": "req-1",
        "remediation": Conflict.remediation,
        "holder": "a",
    }


@given(
    st.dictionaries(
        st.sampled_from(["type", "title", "status", "instance", "code", "correlation_id", "own"]),
        st.integers(),
    )
)
def test_an_extension_never_replaces_a_member(extensions: dict[str, int]) -> None:
    plain = body(Conflict("Busy."))
    found = body(Conflict("Busy.", **extensions))  # type: ignore[arg-type] # hostile on purpose
    assert {name: found[name] for name in plain} == plain
    assert found.get("own") == extensions.get("own")


def test_a_hundred_errors_are_listed_and_all_are_counted() -> None:
    errors = [{"pointer": f"/{n}", "code": "x", "detail": "y"} for n in range(101)]
    found = body(ValidationFailed("Wrong.", errors=errors))
    assert found["errors"] == errors[:MAX_LISTED_ERRORS]
    assert found["error_count"] == 101


def test_what_every_occurrence_says() -> None:
    assert Unavailable("Away.", retry_after_seconds=7).headers == {"Retry-After": "7"}
    assert body(NotFound())["detail"] == "There is nothing at this address."
    assert body(Conflict("x", remediation="Do y."))["remediation"] == "Do y."
