"""How a command works on the database: one system transaction, and a sentence when there is no way in."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from guardhouse.cli import database_sentence
from guardhouse.cli.local_settings import owner_url
from guardhouse.foundation.database import DatabaseAway, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.migrate import FAULTS
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.start_error import StartError
from guardhouse.foundation.transaction import system_transaction
from guardhouse.settings import Settings

Result = TypeVar("Result")


def with_transaction(settings: Settings, work: Callable[[Resources, Tx], Awaitable[Result]]) -> Result:
    """Run ``work`` in one system transaction of the house that ``settings`` describe."""
    url = owner_url(settings)  # says what to do when there is no database

    async def run() -> Result:
        async with open_resources(settings) as resources, system_transaction(resources.database) as tx:
            return await work(resources, tx)

    try:
        return asyncio.run(run())
    except DatabaseAway as error:
        raise StartError(database_sentence.explain(error, url)) from error
    except Problem as error:
        raise StartError(f"{error.detail} {error.advice}") from error
    except FAULTS as error:
        raise StartError(database_sentence.explain(error, url)) from error
