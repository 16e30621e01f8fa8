"""No tenant reads, changes or notices anything of another: every operation that takes an id is tried.

Made from the OpenAPI document: a new operation is tried as soon as it is there.
"""

from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from server.tests.components.operations import Operation, documented
from server.tests.components.postgres import Clone
from server.tests.components.sampled import body_of
from server.tests.components.statements import heard, run_by
from server.tests.components.two_tenants import (
    BEARING_IDS,
    MARK,
    Owner,
    TwoTenants,
    absent_like,
    two_tenants,
    without_marks,
)


def named(operation: Operation) -> str:
    return operation.id


@pytest_asyncio.fixture(scope="module")
async def both(postgres: Clone, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoTenants]:
    async with two_tenants(postgres, tmp_path_factory.mktemp("both")) as made:
        yield made


def streams(operation: Operation) -> bool:
    return "text/event-stream" in operation.described["responses"].get("200", {}).get("content", {})


PLATFORM = frozenset({"platform"})
NAMED_BY_THE_CALLER = {"set_rule"}
READS = [operation for operation in BEARING_IDS if operation.method == "GET" and operation.scopes != PLATFORM]
LISTS = [
    operation
    for operation in documented()
    if operation.method == "GET"
    and operation.scopes is not None
    and "{" not in operation.path
    and not streams(operation)
]
NAMING = [operation for operation in documented() if operation.scopes is not None and not streams(operation)]


def asker(both: TwoTenants, operation: Operation) -> Owner:
    """Return who tries another's ids: what the caller names itself comes to be, so not where reads are tried."""
    return both.third if operation.id in NAMED_BY_THE_CALLER else both.second


@pytest.mark.parametrize("operation", READS, ids=named)
async def test_the_owner_finds_it(both: TwoTenants, operation: Operation) -> None:
    """The ids that the other tests try are real."""
    url, _ = await both.real_url(operation.path)
    answer = await both.client.get(url, headers=both.first.headers)
    assert answer.status_code == 200, f"{url}: {answer.text}"


@pytest.mark.parametrize("operation", BEARING_IDS, ids=named)
async def test_anothers_id_is_answered_like_no_id(both: TwoTenants, operation: Operation) -> None:
    _, ids = await both.real_url(operation.path)
    before = await both.rows()
    answers = []
    for known in (ids, {name: absent_like(value) for name, value in ids.items()}):
        url = operation.path.format(**known)
        body = body_of(operation, {})
        answer = await both.client.request(
            operation.method, url, json=body, headers=asker(both, operation).headers
        )
        answers.append(without_marks(answer, known))
        assert MARK not in answers[-1][1], "the answer tells of the other tenant"
        if operation.id in NAMED_BY_THE_CALLER:  # each tenant has names of its own
            assert answer.status_code == 200, answer.text
            await both.client.delete(url, headers=asker(both, operation).headers)
    theirs, nobodys = answers
    assert theirs == nobodys
    assert operation.id in NAMED_BY_THE_CALLER or theirs[0] == (
        403 if operation.scopes == PLATFORM else 404
    ), f"{operation.id} does not get as far as looking: give it a body in sampled.BODIES. {theirs[1]}"
    assert await both.rows() == before, "rows of the other tenant have changed"


TRIES = 3  # a cache may run out between two requests; a path of another kind differs each time


@pytest.mark.parametrize("operation", BEARING_IDS, ids=named)
async def test_anothers_id_takes_the_same_way_as_no_id(both: TwoTenants, operation: Operation) -> None:
    """Both run the same statements, so that nobody can tell by the time whether another has a row."""
    _, ids = await both.real_url(operation.path)

    async def ask(known: dict[str, str]) -> Counter[str]:
        url, body = operation.path.format(**known), body_of(operation, {})

        async def call() -> httpx.Response:
            return await both.client.request(
                operation.method, url, json=body, headers=asker(both, operation).headers
            )

        _, statements = await run_by(call)
        for value in known.values():
            statements = [statement.replace(value, "ID") for statement in statements]
        return without_looks_at_the_mode(statements)

    def absent() -> dict[str, str]:
        return {name: absent_like(value) for name, value in ids.items()}

    with heard(both.resources.database):
        await ask(absent())  # who asks is in the caches from here on
        theirs, nobodys = await ask(ids), await ask(absent())
        for _ in range(TRIES):
            if theirs != nobodys:
                theirs, nobodys = await ask(ids), await ask(absent())
    assert theirs == nobodys
    assert theirs or operation.scopes == PLATFORM, "nothing was looked up"


def without_looks_at_the_mode(statements: list[str]) -> Counter[str]:
    """Leave out the transactions that look at the platform's mode, which any request makes once a second."""
    looks = [statement for statement in statements if "FROM platform_mode" in statement]
    enter = next((statement for statement in statements if "set_config('role'" in statement), "")
    return Counter(statements) - Counter([*looks, *["BEGIN;", enter, "COMMIT;"] * len(looks)])


@pytest.mark.parametrize("operation", LISTS, ids=named)
async def test_no_list_holds_anything_of_another(both: TwoTenants, operation: Operation) -> None:
    known = await both.know_everything()
    answer = await both.client.get(operation.path, headers=both.second.headers)
    assert answer.status_code in {200, 400, 403, 404, 422}, answer.text
    found = {value for value in {MARK, *known} if value in answer.text}
    assert not found, f"{operation.path} tells of another tenant: {found}"


def _queries(operation: Operation, ids: dict[str, str]) -> dict[str, str]:
    names = {p["name"] for p in operation.described.get("parameters", ()) if p["in"] == "query"}
    return {name: ids[name] for name in sorted(names & ids.keys())}


@pytest.mark.parametrize(
    "operation", [o for o in NAMING if o.method == "GET" and "{" not in o.path], ids=named
)
async def test_anothers_id_in_a_query_is_answered_like_no_id(both: TwoTenants, operation: Operation) -> None:
    await both.know_everything()
    for name, real in _queries(operation, both.ids).items():
        answers = []
        for value in (real, absent_like(real)):
            answer = await both.client.get(operation.path, params={name: value}, headers=both.second.headers)
            answers.append(without_marks(answer, {name: value}))
        assert answers[0] == answers[1], name


@pytest.mark.parametrize(
    "operation",
    [
        o
        for o in NAMING
        if o.method in {"POST", "PUT", "PATCH"} and "{" not in o.path and "requestBody" in o.described
    ],
    ids=named,
)
async def test_anothers_id_in_a_body_changes_nothing_of_the_other(
    both: TwoTenants, operation: Operation
) -> None:
    await both.know_everything()
    plain = body_of(operation, {})
    real = {name: value for name, value in both.ids.items() if "/" not in name and name != "name"}
    naming = {
        name: value for name, value in (body_of(operation, real) or {}).items() if value in real.values()
    }
    before = await both.rows()
    for name, value in naming.items():
        answers = []
        for given in (value, absent_like(value)):
            body = {**(plain or {}), name: given}
            answer = await both.client.request(
                operation.method, operation.path, json=body, headers=both.third.headers
            )
            answers.append(without_marks(answer, {name: given}))
        if answers[0][0] >= 400 or answers[1][0] >= 400:
            assert answers[0] == answers[1], name
    assert await both.rows() == before, "rows of the other tenant have changed"
