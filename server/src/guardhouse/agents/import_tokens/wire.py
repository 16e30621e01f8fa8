"""Shapes of import tokens on the wire."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from guardhouse.agents.import_tokens.store import ImportToken
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination

ImportFormat = Literal["falco", "tetragon", "tracee"]


class ImportTokenRequest(BaseModel):
    """What `POST /agents/{id}/import-tokens` takes."""

    model_config = ConfigDict(extra="forbid")

    format: ImportFormat


class ImportTokenShape(BaseModel):
    """An import token, without its text."""

    id: UUID
    agent_id: str
    format: str
    created_at: str
    created_by: str
    last_used_at: str | None


class NewImportTokenShape(ImportTokenShape):
    """A new import token; its text, and the address that holds it, are in this answer and nowhere else."""

    token: ShownOnce
    url: ShownOnce


class ImportTokenList(BaseModel):
    """One page of import tokens."""

    data: list[ImportTokenShape]
    pagination: Pagination


def import_token_shape(token: ImportToken, agent_id: str) -> ImportTokenShape:
    """Return the public form of an import token."""
    return ImportTokenShape(
        id=token.id,
        agent_id=agent_id,
        format=token.format,
        created_at=rfc3339(token.created_at),
        created_by=token.created_by,
        last_used_at=None if token.last_used_at is None else rfc3339(token.last_used_at),
    )


def new_import_token_shape(
    token: ImportToken, agent_id: str, text: str, public_url: str
) -> NewImportTokenShape:
    """Return the answer that shows a token once."""
    shown = import_token_shape(token, agent_id).model_dump()
    return NewImportTokenShape(**shown, token=text, url=f"{public_url}/api/v1/imports/{text}")
