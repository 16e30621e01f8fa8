"""Who sent telemetry and for which project, by the headers alone."""

from starlette.requests import Request

from guardhouse.agents.instances.sender import Sender, sender_of
from guardhouse.foundation import peer
from guardhouse.identity.caller import Caller
from guardhouse.ingest.decode_lenient import storable_text


def named_project(request: Request) -> str | None:
    """Return the project that the header names."""
    return storable_text(request.headers.get("x-project-id", "").strip()) or None


def sender_of_request(request: Request, caller: Caller) -> Sender:
    """Return who sent a request of the app family."""
    return sender_of(
        request.headers,
        request.scope["raw_path"].decode("latin-1"),
        credential_id=caller.credential_id,
        address=peer.current().address,
    )
