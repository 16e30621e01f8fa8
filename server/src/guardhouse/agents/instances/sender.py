"""Who sent a request, as far as its headers tell: an installation, a process, a version of a client."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

Generation = Literal["G1", "G2", "G3", "GH", "other"]

MAX_INSTALLATION: Final = 64
MAX_USER_AGENT: Final = 200
DOUBLED_PREFIX: Final = "/api/v1/api/v1/"
_LEGACY_DIGITS: Final = 12
_CLIENT: Final = re.compile(r"(FastAPI-Guard-Agent|guard-agent|guardhouse-agent)/((\d+)[^\s]{0,40})")
_RELEASED: Final[Mapping[str, Generation]] = {"1": "G1", "2": "G2", "3": "G3"}


@dataclass(frozen=True, slots=True)
class Sender:
    """What the headers say. ``credential_id`` and ``address`` stand in for an installation that is not named.

    ``instance_id``: the process whose items these are, from clients that say it; ``heir_id``: the one that sends them
    when that one is dead. ``doubled_path``: `/api/v1` was called twice.
    """

    installation: str | None
    instance_id: UUID | None
    user_agent: str
    doubled_path: bool
    credential_id: str
    address: str | None
    heir_id: UUID | None = None

    def installation_in(self, tenant_id: UUID, project_id: UUID, pepper: bytes) -> str:
        """Return the installation: as named, else one that stays the same for key, address and project."""
        if self.installation is not None:
            return self.installation
        told = f"{tenant_id}\0{project_id}\0{self.credential_id}\0{self.address}"
        return f"legacy-{hmac.digest(pepper, told.encode(), hashlib.sha256).hex()[:_LEGACY_DIGITS]}"

    def speaks_of(self, named: UUID | None) -> tuple[UUID | None, UUID | None]:
        """Return the process that a body is about, which may name it, and its heir if that is who sent it."""
        about = named or self.instance_id
        speaker = self.heir_id or self.instance_id
        return about, None if speaker in {None, about} else speaker


def sender_of(headers: Mapping[str, str], path: str, *, credential_id: str, address: str | None) -> Sender:
    """Read the headers of a request that came on ``path``; what cannot be read is as if it were absent."""
    return Sender(
        installation=_installation(headers.get("x-agent-install-id", "").strip()),
        instance_id=read_instance_id(headers.get("x-guardhouse-instance")),
        heir_id=read_instance_id(headers.get("x-guardhouse-heir")),
        user_agent=_printable(headers.get("user-agent", "")[:MAX_USER_AGENT]),
        doubled_path=path.startswith(DOUBLED_PREFIX),
        credential_id=credential_id,
        address=address,
    )


def read_instance_id(value: object) -> UUID | None:
    """Return the id of an instance as its client says it; None for anything but a UUID."""
    if not isinstance(value, str):
        return None
    try:
        return UUID(value.strip())
    except ValueError:
        return None


def generation_of(user_agent: str) -> Generation:
    """Return which client this is: G1 to G3 are the released ones, GH is ours."""
    found = _CLIENT.match(user_agent)
    if found is None:
        return "other"
    if found[1] == "guardhouse-agent":
        return "GH"
    return _RELEASED.get(found[3], "other")


def version_of(user_agent: str) -> str | None:
    """Return the client's version by its User-Agent."""
    found = _CLIENT.match(user_agent)
    return None if found is None else found[2]


def _installation(said: str) -> str | None:
    good = 0 < len(said) <= MAX_INSTALLATION and said.isascii() and said.isprintable()
    return said if good else None


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
