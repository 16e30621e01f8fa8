"""``guardhouse keys``: make, list and revoke API keys of a tenant, sign in by link, make a server's two secrets."""

from typing import Annotated
from uuid import UUID

import typer

from guardhouse.cli.database_door import with_transaction
from guardhouse.cli.local_settings import READY_FILE, local_settings, new_secrets
from guardhouse.foundation.data_folder import read_object
from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.start_error import StartError
from guardhouse.identity import keys as api_keys
from guardhouse.identity import sign_in_links, tenants
from guardhouse.identity.keys import NewKey
from guardhouse.identity.roles import ROLES, TENANT_ROLES
from guardhouse.identity.store import ApiKey, Tenant
from guardhouse.settings import PREFIX, Settings

CREATOR = "guardhouse keys"
LIST_LIMIT = 1000
TenantName = Annotated[str, typer.Option("--tenant", help="The tenant's short name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="API keys of a tenant, and the server's secrets.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(show)
    group.command("revoke")(revoke)
    group.command("login-link")(login_link)
    group.command("init-secrets")(init_secrets)
    app.add_typer(group, name="keys")


def create(
    tenant: TenantName = "demo",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "made on the command line",
    role: Annotated[str, typer.Option(help=f"One of {', '.join(sorted(ROLES))}.")] = "admin",
    expires_in_days: Annotated[
        int | None, typer.Option(help="Days the key is good for; without it for ever.")
    ] = None,
    new_tenant: Annotated[bool, typer.Option("--new-tenant", help="Make the tenant first.")] = False,
) -> None:
    """Make a key and print it, alone, on the output; it is shown this once."""
    if role not in ROLES:
        raise StartError(f"There is no role {role}: use one of {', '.join(sorted(ROLES))}.")

    async def work(resources: Resources, tx: Tx) -> str:
        if new_tenant:
            found = await tenants.create_tenant(tx, resources.clock, tenant, tenant)
        else:
            found = await _tenant(tx, tenant)
        wanted = NewKey(name, role=role, expires_in_days=expires_in_days)
        _, text = await api_keys.create_key(
            tx, resources.clock, resources.peppers[0], found, wanted, created_by=CREATOR
        )
        return text

    print(with_transaction(local_settings(), work))


def show(tenant: TenantName = "demo") -> None:
    """List the keys of a tenant, newest first; their text is not kept anywhere."""

    async def work(_resources: Resources, tx: Tx) -> list[ApiKey]:
        return await api_keys.list_keys(tx, (await _tenant(tx, tenant)).id, LIST_LIMIT)

    for key in with_transaction(local_settings(), work):
        expiry = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "without end"
        print(f"{key.id}  {key.prefix}…{key.last4}  {key.role:<8} {key.state:<9} {expiry:<16} {key.name}")


def revoke(
    key_id: Annotated[UUID, typer.Argument(help="The key's id, as `keys list` shows it.")],
    tenant: TenantName = "demo",
) -> None:
    """End a key for good, everywhere, within a second."""

    async def work(_resources: Resources, tx: Tx) -> ApiKey:
        return await api_keys.revoke_key(
            tx, (await _tenant(tx, tenant)).id, key_id, revoked_by="command line"
        )

    key = with_transaction(local_settings(), work)
    print(f"The key {key.prefix}…{key.last4} is revoked.")


def login_link(
    tenant: TenantName = "demo",
    role: Annotated[str, typer.Option(help=f"One of {', '.join(sorted(TENANT_ROLES))}.")] = "admin",
) -> None:
    """Print a link that signs a browser in: once, within ten minutes."""
    if role not in TENANT_ROLES:
        raise StartError(f"There is no role {role} for people: use one of {', '.join(sorted(TENANT_ROLES))}.")

    async def work(resources: Resources, tx: Tx) -> str:
        found = await _tenant(tx, tenant)
        made = await sign_in_links.make_link(tx, resources, found, role, created_by=CREATOR)
        return made.url

    print(with_transaction(_reachable(local_settings()), work))


def _reachable(settings: Settings) -> Settings:
    """Return settings whose public URL is that of the house of this data folder, unless it is set."""
    running = read_object(settings.data_dir / READY_FILE).get("url")
    if running is None or "public_url" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"public_url": str(running)})


def init_secrets() -> None:
    """Print fresh secrets as settings for `serve` and `work`; keep them, they cannot be recovered."""
    for name, value in new_secrets().items():
        print(f"{PREFIX}{name.upper()}={value}")


async def _tenant(tx: Tx, slug: str) -> Tenant:
    found = await tenants.find_tenant(tx, slug)
    if found is None:
        known = ", ".join(tenant.slug for tenant in await tenants.list_tenants(tx)) or "none yet"
        raise StartError(
            f"There is no tenant {slug} (known: {known}); `--new-tenant` with `keys create` makes one."
        )
    return found
