"""Who sent telemetry, for which project and how fast, by the headers alone."""

from starlette.requests import Request

from guardhouse.agents.instances.sender import Sender, generation_of, sender_of
from guardhouse.foundation import peer
from guardhouse.foundation.request import resources_of
from guardhouse.identity.caller import Caller
from guardhouse.ingest.decode_lenient import storable_text
from guardhouse.ingest.quota import Lane, Meter


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


def meter_of(request: Request, caller: Caller, lane: Lane) -> Meter:
    """Return what counts a request of the app family; a project counts by the name that its clients use."""
    return Meter(
        limiter=request.app.state.limiter,
        settings=resources_of(request).settings,
        tenant_id=caller.tenant.id,
        project=str(caller.project_id or named_project(request) or "default"),
        lane=lane,
        patient=generation_of(request.headers.get("user-agent", "")) != "G1",
    )
