"""Held envelopes are tried again when a key was stored since, and forgotten after a week."""

from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.agents.instances.sender import Sender
from guardhouse.agents.projects.read import load_project
from guardhouse.agents.projects.secrets.issue_secret import load_secrets
from guardhouse.agents.projects.secrets.open_envelope import open_envelope
from guardhouse.agents.projects.secrets.verify_payload import Verified
from guardhouse.foundation import logs
from guardhouse.foundation.errors import BodyTooLarge, NotFound
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity.caller import Caller
from guardhouse.ingest import quarantine
from guardhouse.ingest.accept_app import AppRequest, Kept, accept_app
from guardhouse.ingest.decode_lenient import Cut, MalformedBody
from guardhouse.ingest.envelopes import store
from guardhouse.ingest.envelopes.accept_envelope import read_opened
from guardhouse.ingest.envelopes.store import Waiting
from guardhouse.ingest.store import Owner

TRIED_AT_ONCE: Final = 20
PRUNED_AT_ONCE: Final = 500
KEPT: Final = timedelta(days=7)
NAME: Final = "ingest.open_held"
_log = logs.get(__name__)


@every(30, NAME)
async def open_held(context: JobContext) -> None:
    """Try held envelopes of projects that have a newer key, oldest first; each is stored once, whoever tries it."""
    resources, after = context.resources, 0
    while True:
        async with system_transaction(resources.database) as tx:
            waiting = await store.find_waiting(tx, after, TRIED_AT_ONCE)
        for held in waiting:
            await try_again(resources, held)
        if len(waiting) < TRIED_AT_ONCE:
            return
        after = waiting[-1].no


async def try_again(resources: Resources, held: Waiting) -> bool:
    """Open one envelope with the keys of today and store what is in it; tells whether one opened it."""
    async with tenant_transaction(resources.database, held.tenant) as tx:
        project = await load_project(tx, held.tenant.id, held.project_id)
        keys = await load_secrets(tx, resources.master_key, held.tenant, project, "encryption")
        opened = open_envelope(held.envelope.payload, keys)
        if opened is None:
            await store.note_tried(tx, held.tenant.no, held.no, resources.clock.now())
            return False
    plain, key_id = opened
    take_back = partial(store.delete_held, tenant_no=held.tenant.no, held_no=held.no)
    try:
        batch = AppRequest(
            caller=_caller(held),
            content=plain,
            cut=read_opened(plain, Cut(held.envelope.around)),
            project=None,
            sender=msgspec.json.decode(held.envelope.sender, type=Sender),
            verified=Verified(encrypted=True, used=(key_id,)),
            kept=Kept(held.received_at, take_back),
        )
        await accept_app(resources, batch)
    except (MalformedBody, BodyTooLarge) as problem:
        async with tenant_transaction(resources.database, held.tenant) as tx:
            if await take_back(tx):
                owner = Owner(held.tenant.no, project.no)
                await quarantine.keep_body(tx, owner, problem.code, problem.detail, plain, held.received_at)
    except NotFound:
        pass  # another worker took it
    return True


@every(300, "ingest.prune_held")
async def prune_held(context: JobContext) -> None:
    """Delete envelopes that no key has opened within a week, in short steps."""
    before, gone = context.resources.clock.now() - KEPT, PRUNED_AT_ONCE
    while gone == PRUNED_AT_ONCE:
        async with system_transaction(context.resources.database) as tx:
            gone = await store.prune_held(tx, before, PRUNED_AT_ONCE)
        if gone:
            _log.warning("held_envelopes_dropped", count=gone)


def _caller(held: Waiting) -> Caller:
    return Caller(
        tenant=held.tenant,
        tenant_slug=held.tenant_slug,
        kind="system",
        role="agent",
        scopes=frozenset(),
        credential_id=NAME,
        project_id=UUID(str(held.project_id)),
    )
