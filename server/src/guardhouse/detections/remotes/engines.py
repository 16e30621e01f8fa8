"""The remote engines that the operator has named, each with its breaker; made once per process."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Final

import structlog

from guardhouse.detections.remotes.breaker import State
from guardhouse.detections.remotes.go_contract import RemoteVerdict
from guardhouse.detections.remotes.jobs import tell
from guardhouse.detections.remotes.remote import NoRemoteVerdictError, Remote
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.egress import EgressRules, Opening
from guardhouse.foundation.outbound import Outbound
from guardhouse.foundation.resources import Resources
from guardhouse.notices.engine_kinds import BreakerClosed, BreakerOpened
from guardhouse.settings import RemoteEngine

CONNECT_SECONDS: Final = 0.25
log = structlog.get_logger()


class RemoteEngines:
    """The remote engines by name. They are reached by a way out of their own, for only the operator names them."""

    def __init__(self, resources: Resources) -> None:
        settings = resources.settings.detect_remotes
        self._resources = resources
        self._outbound = way_to(settings)
        self._telling: set[asyncio.Task[None]] = set()
        self.by_name = {
            name: Remote(name, setting, self._outbound, self._changed) for name, setting in settings.items()
        }

    async def close(self) -> None:
        """Finish what is being told and close the connections."""
        await asyncio.gather(*self._telling, return_exceptions=True)
        await self._outbound.close()

    async def ask(self, name: str | None, text: str, block_milli: int, seconds: float) -> RemoteVerdict:
        """Ask an engine by its name.

        Raises:
            NoRemoteVerdictError: it gave no verdict, or the settings no longer name it.
        """
        remote = self.by_name.get(name or "")
        if remote is None:
            raise NoRemoteVerdictError("remote_unreachable")
        return await remote.ask(text, block_milli, seconds)

    def _changed(self, remote: Remote, before: State, reason: str) -> None:
        state, left = remote.breaker.state, remote.breaker.seconds_left()
        log.warning("engine_breaker", engine=remote.name, state=state, before=before, reason=reason)
        if state == "closed":
            self._tell(BreakerClosed(engine=remote.name))
        elif before == "closed":
            again = rfc3339(self._resources.clock.now() + timedelta(seconds=left))
            self._tell(BreakerOpened(engine=remote.name, reason=reason, probe_at=again))

    def _tell(self, data: BreakerOpened | BreakerClosed) -> None:
        task = asyncio.create_task(self._publish(data))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _publish(self, data: BreakerOpened | BreakerClosed) -> None:
        try:
            await tell(self._resources, data)
        except Exception as error:  # noqa: BLE001 - the database may be away; verdicts do not wait for it
            log.warning("engine_breaker_untold", engine=data.engine, error=type(error).__name__)


def way_to(settings: Mapping[str, RemoteEngine]) -> Outbound:
    """Return a way out to the ports of these engines, at any address: the operator wrote their URLs."""
    everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    ports = {setting.port for setting in settings.values()}
    rules = EgressRules(allow=tuple(Opening(network, port) for port in ports for network in everywhere))
    return Outbound(rules, connect_seconds=CONNECT_SECONDS)
