"""The URL that comes with a call: it may be delivered to, and the tenant has room for one more."""

from typing import Final

from guardhouse.detections.read_request import Refused
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.webhooks import adhoc
from guardhouse.webhooks.endpoints import check_destination

WEBHOOK_URL: Final = "/webhook_url"


class TooManyUrls(Refused):
    """Calls of the tenant have named as many different URLs as may be delivered to."""

    status, code, title = 422, "too_many_webhook_urls", "Too many webhook URLs"
    remediation = (
        "Use one URL for many calls (`metadata` comes back with each), or register a webhook. A URL that no call"
        " named for three days makes room."
    )


async def check_url(resources: Resources, caller: Caller, url: str) -> None:
    """Judge a URL; no transaction may be open meanwhile.

    Raises:
        WebhookUrlRefused: against a rule of outgoing requests.
        TooManyUrls: the tenant's calls have named too many others.
    """
    await check_destination(resources.outbound, url, WEBHOOK_URL)
    try:
        async with tenant_transaction(resources, caller.tenant) as tx:
            room = await adhoc.has_room(tx, caller.tenant.id, url)
    except DatabaseAway:
        return  # a call that is answered at once is answered all the same
    if not room:
        raise TooManyUrls(
            f"Calls have named {adhoc.MOST_URLS} other URLs.", WEBHOOK_URL, limit=adhoc.MOST_URLS
        )
