"""Import tokens: made for one agent and one format, shown once, ended for good.

Such a token stands in a URL: it is a capability to send events of this agent in this format, and nothing else.
"""

import hashlib
import re
import secrets
from typing import Final
from uuid import UUID

from guardhouse.agents.import_tokens import store
from guardhouse.agents.import_tokens.store import ImportToken, Opened
from guardhouse.agents.store import HostAgent
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id

PREFIX: Final = "ghimport_"
_BYTES: Final = 32
_FORM: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


async def issue_token(
    tx: Tx, clock: Clock, actor: Actor, agent: HostAgent, named: str
) -> tuple[ImportToken, str]:
    """Make a token and return it with its text, which is not kept."""
    text = PREFIX + secrets.token_urlsafe(_BYTES)
    token = ImportToken(new_id(), named, clock.now(), actor.name, None, None)
    await store.add_token(tx, agent.tenant.id, agent.no, token, digest(text))
    after = {"agent_id": agent.id, "format": named}
    await record(tx, actor, Entry("import_token.create", f"import_token:{token.id}", after=after))
    return token, text


async def revoke_token(tx: Tx, clock: Clock, actor: Actor, agent: HostAgent, token_id: UUID) -> None:
    """End a token; what came in with it stays.

    Raises:
        NotFound: the agent has no such token, or it has ended.
    """
    token = await store.revoke_token(tx, agent.tenant.id, agent.no, token_id, clock.now())
    if token is None:
        raise NotFound("There is no such import token.")
    before = {"agent_id": agent.id, "format": token.format}
    await record(tx, actor, Entry("import_token.revoke", f"import_token:{token.id}", before=before))


async def find_opened(tx: Tx, clock: Clock, text: str) -> Opened | None:
    """Return what a token's text opens; None for an unknown one and for one that has ended alike."""
    if not _FORM.fullmatch(text):
        return None
    return await store.open_token(tx, digest(text), clock.now())


def digest(text: str) -> bytes:
    """Return what is stored of a token: 256 random bits need no pepper."""
    return hashlib.sha256(text.encode()).digest()
