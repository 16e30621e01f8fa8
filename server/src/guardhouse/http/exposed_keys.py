"""Keys that stood in a URL are told to their tenants; the request is refused all the same, whatever comes of it."""

import contextlib
from collections.abc import Iterable
from itertools import islice
from typing import Final

from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.exposure import tell_exposed

LOOKED_AT: Final = 3


async def tell(resources: Resources, texts: Iterable[str]) -> None:
    """Publish which of the first few texts are keys of this house."""
    with contextlib.suppress(DatabaseAway):
        for text in islice(texts, LOOKED_AT):
            async with system_transaction(resources.database) as tx:
                await tell_exposed(tx, resources.clock, resources.peppers, text)
