"""The parts of one instance, put together: what its worker, its status and its figures look at."""

import random
import time
import uuid
from collections.abc import Callable
from typing import Any

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.classes import EVENTS, METRICS
from guard_agent._pipeline.deliver import Deliverer
from guard_agent._pipeline.inbox import RAW_BYTES, Inbox
from guard_agent._pipeline.intake import Intake
from guard_agent._pipeline.keeper import Keeper
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.report_error import ErrorReporter
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.send import Sender
from guard_agent._pipeline.worker import Worker
from guard_agent.config import AgentConfig
from guard_agent.encryption import EncryptionConfigError, EncryptionError, create_encryptor
from guard_agent.install_id import resolve_install_id


class Parts:
    """Everything that one instance consists of, from its queues to its way to the server.

    Raises:
        EncryptionConfigError: encryption is configured and cannot work.
    """

    def __init__(self, config: AgentConfig, worker: Worker) -> None:
        self.config = config
        self.worker = worker
        self.account = Account(str(uuid.uuid4()))
        self.ledger = self.account.ledger
        try:
            self.encryptor = create_encryptor(config.project_encryption_key)
        except EncryptionError as error:
            raise EncryptionConfigError(str(error)) from error
        self.errors = ErrorReporter(config.on_error)
        mark = int(config.buffer_size * config.high_watermark_ratio)
        self.inbox = Inbox(self.ledger, limit=config.max_memory_bytes // RAW_BYTES, mark=mark)
        chance = random.Random()  # noqa: S311 - jitter, no secret
        self.lanes = {name: Lane(name, chance) for name in (EVENTS, METRICS)}
        installation = resolve_install_id(override=config.install_id)
        self.sender = Sender(config, installation, self.account.instance)
        self.sealer = Sealer(config, self.account, self.encryptor)
        self.keeper = Keeper(config, self.account, self.lanes, self.encryptor, self.errors)
        self.intake = Intake(config, self.inbox, self.ledger, self.keeper, self.sealer, self.errors)
        self.deliverer = Deliverer(config, self.sender, self.keeper, self.sealer, self.errors, self.encryptor)
        self.clients: Callable[[], Any] | None = None
        """Gives what the middleware has counted per client, for the status."""
        self.started_at = time.monotonic()

    def use(self, config: AgentConfig) -> None:
        """Go on with other settings for the same endpoint, project and encryption."""
        self.config = config
        for part in (self.sealer, self.keeper, self.intake, self.deliverer):
            part.config = config
        self.errors.hook = config.on_error
        self.sender.follow(config)
        for lane in self.lanes.values():
            lane.resume()
