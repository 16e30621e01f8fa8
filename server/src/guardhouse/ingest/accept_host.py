"""A batch of a host agent: who signed it, which agent it is from, and then what `take_batch` makes of it."""

from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, QueryParams

from guardhouse.agents.enroll_host import AGENT_ID
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.signing import SignedMessage
from guardhouse.identity import signatures
from guardhouse.identity.caller import Caller, agent_caller
from guardhouse.identity.refusals import ApiKeyMissing
from guardhouse.ingest import replay
from guardhouse.ingest.host_batch import read_batch
from guardhouse.ingest.take_batch import HostAnswer, Sent, take_batch
from guardhouse.scores.wait import Backlog

EVENTS_SCOPE: Final = "events:write"


class AgentMismatch(Problem):
    """The body names another agent than the one who signed."""

    status, code, title = 403, "agent_mismatch", "Agent mismatch"
    remediation = "Leave agent_id out of signed batches, or name the signer."


class AgentRequired(Problem):
    """A batch under an API key does not say which agent it is from."""

    status, code, title = 422, "agent_required", "Agent required"
    remediation = "Name the agent in agent_id: 1 to 128 letters, digits, dots, dashes and underscores."


@dataclass(frozen=True, slots=True)
class HostRequest:
    """A host batch as it came: ``url`` under our public name, ``wire`` as sent, ``content`` decoded."""

    method: str
    url: str
    headers: Headers
    query: QueryParams
    wire: bytes
    content: bytes
    key_caller: Caller | None


async def accept_host(resources: Resources, backlog: Backlog, request: HostRequest) -> HostAnswer:
    """Verify, judge, store and answer one host batch.

    Raises:
        Problem: the envelope is at fault (authentication, key, shape, size) or the database is away;
            nothing is stored then.
    """
    caller, legacy = await authenticate(resources, request)
    batch = read_batch(request.headers, request.query, request.content)
    agent_id = agent_of(caller, batch.agent_id)
    key = replay.batch_key(
        request.headers.get("idempotency-key"), batch.idempotency_key, batch.hashed, legacy=legacy
    )
    return await take_batch(resources, backlog, Sent(caller, agent_id, batch, key, request.headers))


async def authenticate(resources: Resources, request: HostRequest) -> tuple[Caller, bool]:
    """Return who sends a batch, and whether it is signed in the older way.

    Raises:
        Problem: nobody who may send events.
    """
    if request.key_caller is not None:
        request.key_caller.need(EVENTS_SCOPE)
        return request.key_caller, False
    headers = request.headers
    async with system_transaction(resources) as tx:
        if "signature-input" in headers:
            message = SignedMessage(request.method, request.url, headers, request.wire)
            return agent_caller(await signatures.verify_signature(tx, resources, message)), False
        agent_id, given = headers.get("x-agent-id"), headers.get("x-agent-signature")
        if agent_id is None or given is None:
            raise ApiKeyMissing("The batch is neither signed nor has it an API key.")
        signed = await signatures.verify_legacy(tx, resources, agent_id, given, request.wire)
        return agent_caller(signed), True


def agent_of(caller: Caller, named: str | None) -> str:
    """Return which agent a batch is from: the one that signed it, else the one it names.

    Raises:
        AgentRequired: neither.
        AgentMismatch: it names another than the one that signed it.
    """
    if caller.agent_id is None:
        if named is None or not AGENT_ID.fullmatch(named):
            raise AgentRequired("The batch does not say which agent it is from.")
        return named
    if named is not None and named != caller.agent_id:
        raise AgentMismatch("The batch names another agent than the one that signed it.")
    return caller.agent_id
