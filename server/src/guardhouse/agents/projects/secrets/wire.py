"""Shapes of projects' secrets on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.projects.secrets.store import StoredSecret
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination

KEY_PATTERN = r"^[A-Za-z0-9_-]{43}=?$"


class EncryptionKeyRequest(BaseModel):
    """What `POST /projects/{project_id}/encryption-keys` takes."""

    model_config = ConfigDict(extra="forbid")

    encryption_key: Annotated[
        str | None,
        Field(
            pattern=KEY_PATTERN,
            description="A key that applications use already: 32 bytes in base64url. Absent: one is made.",
            examples=["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"],
        ),
    ] = None


class SigningSecretRequest(BaseModel):
    """What `POST /projects/{project_id}/signing-secrets` takes."""

    model_config = ConfigDict(extra="forbid")

    signing_secret: Annotated[
        str | None,
        Field(
            min_length=16,
            max_length=256,
            pattern="^[!-~]+$",
            description="A secret that applications use already. Absent: one is made.",
            examples=["correct-horse-battery-staple"],
        ),
    ] = None


class ProjectSecretShape(BaseModel):
    """A secret without its text. The active one is what applications should use, the previous one works as well."""

    id: UUID
    state: Literal["active", "previous"]
    last4: str
    created_at: str
    created_by: str
    last_used_at: Annotated[str | None, Field(description="Up to a minute late.")]


class NewEncryptionKeyShape(ProjectSecretShape):
    """A key of envelopes with its text, given once."""

    encryption_key: ShownOnce


class NewSigningSecretShape(ProjectSecretShape):
    """A secret of signatures with its text, given once."""

    signing_secret: ShownOnce


class ProjectSecretList(BaseModel):
    """The secrets of one kind: two at most."""

    data: list[ProjectSecretShape]
    pagination: Pagination


def secret_shape(stored: StoredSecret) -> ProjectSecretShape:
    """Return the public form of a secret."""
    return ProjectSecretShape(
        id=stored.id,
        state="active" if stored.state == "active" else "previous",
        last4=stored.last4,
        created_at=rfc3339(stored.created_at),
        created_by=stored.created_by,
        last_used_at=None if stored.last_used_at is None else rfc3339(stored.last_used_at),
    )


def secret_list(rows: list[StoredSecret]) -> ProjectSecretList:
    """Return the answer that lists secrets, all on one page."""
    return ProjectSecretList(
        data=[secret_shape(row) for row in rows], pagination=Pagination(cursor=None, has_more=False)
    )
