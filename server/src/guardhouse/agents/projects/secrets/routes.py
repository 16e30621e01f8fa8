"""Routes of projects' secrets: make or bring along, list, delete."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from guardhouse.agents.projects.read import reach_project
from guardhouse.agents.projects.secrets import issue_secret as issuing
from guardhouse.agents.projects.secrets import store
from guardhouse.agents.projects.secrets.wire import (
    EncryptionKeyRequest,
    NewEncryptionKeyShape,
    NewSigningSecretShape,
    ProjectSecretList,
    SigningSecretRequest,
    secret_list,
    secret_shape,
)
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("projects")
Reader = Annotated[Caller, Depends(Require("projects:read"))]
Writer = Annotated[Caller, Depends(Require("projects:write"))]


@router.post(
    "/projects/{project_id}/encryption-keys",
    status_code=201,
    operation_id="create_encryption_key",
    responses=refusals(NotFound, Conflict),
)
async def create_encryption_key(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    wanted: EncryptionKeyRequest | None = None,
) -> NewEncryptionKeyShape:
    """Make the key that envelopes are opened with; its text is in this answer alone, the one before works on.

    Envelopes that are held because no key opened them are tried again within a minute.
    """
    project = await reach_project(tx, caller, project_id, lock=True)
    given = None if wanted is None else wanted.encryption_key
    stored, text = await issuing.issue_secret(tx, shared, caller, project, "encryption", given)
    return NewEncryptionKeyShape(**secret_shape(stored).model_dump(), encryption_key=text)


@router.get(
    "/projects/{project_id}/encryption-keys",
    operation_id="list_encryption_keys",
    responses=refusals(NotFound),
)
async def list_encryption_keys(caller: Reader, tx: RequestTx, project_id: UUID) -> ProjectSecretList:
    """List the keys that open envelopes, the active one first."""
    project = await reach_project(tx, caller, project_id)
    return secret_list(await store.list_secrets(tx, caller.tenant.id, project.id, "encryption"))


@router.delete(
    "/projects/{project_id}/encryption-keys/{encryption_key_id}",
    status_code=204,
    operation_id="delete_encryption_key",
    responses=refusals(NotFound),
)
async def delete_encryption_key(
    caller: Writer, tx: RequestTx, project_id: UUID, encryption_key_id: UUID
) -> Response:
    """End a key now: envelopes that are sealed with it are held from then on."""
    project = await reach_project(tx, caller, project_id, lock=True)
    await issuing.delete_secret(tx, caller, project, "encryption", encryption_key_id)
    return Response(status_code=204)


@router.post(
    "/projects/{project_id}/signing-secrets",
    status_code=201,
    operation_id="create_signing_secret",
    responses=refusals(NotFound, Conflict),
)
async def create_signing_secret(
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    project_id: UUID,
    wanted: SigningSecretRequest | None = None,
) -> NewSigningSecretShape:
    """Make the secret of X-Payload-Signature; its text is in this answer alone, the one before works on."""
    project = await reach_project(tx, caller, project_id, lock=True)
    given = None if wanted is None else wanted.signing_secret
    stored, text = await issuing.issue_secret(tx, shared, caller, project, "signing", given)
    return NewSigningSecretShape(**secret_shape(stored).model_dump(), signing_secret=text)


@router.get(
    "/projects/{project_id}/signing-secrets",
    operation_id="list_signing_secrets",
    responses=refusals(NotFound),
)
async def list_signing_secrets(caller: Reader, tx: RequestTx, project_id: UUID) -> ProjectSecretList:
    """List the secrets that signatures are checked with, the active one first."""
    project = await reach_project(tx, caller, project_id)
    return secret_list(await store.list_secrets(tx, caller.tenant.id, project.id, "signing"))


@router.delete(
    "/projects/{project_id}/signing-secrets/{signing_secret_id}",
    status_code=204,
    operation_id="delete_signing_secret",
    responses=refusals(NotFound),
)
async def delete_signing_secret(
    caller: Writer, tx: RequestTx, project_id: UUID, signing_secret_id: UUID
) -> Response:
    """End a secret now: payloads that are signed with it are refused from then on."""
    project = await reach_project(tx, caller, project_id, lock=True)
    await issuing.delete_secret(tx, caller, project, "signing", signing_secret_id)
    return Response(status_code=204)
