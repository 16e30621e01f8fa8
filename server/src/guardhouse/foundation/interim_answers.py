"""How many 1xx answers may come before the one that counts: the client library reads on past any number."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp

INTERIM_ANSWERS: Final = 16


class InterimFloodError(aiohttp.ClientError):
    """One more 1xx answer than anybody needs."""


@contextmanager
def few_interim_answers(protocol: Any) -> Iterator[None]:
    """Bound what the client library's protocol reads for one answer; None is a connection that is gone.

    Raises:
        InterimFloodError: from the read, once it was awaited too often.
    """
    if protocol is None:
        yield
        return
    read, left = protocol.read, itertools.count(INTERIM_ANSWERS, -1)

    async def read_one() -> Any:
        if next(left) < 0:
            raise InterimFloodError
        return await read()

    protocol.read = read_one
    try:
        yield
    finally:
        del protocol.read
