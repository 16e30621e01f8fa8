"""Carry the events of one run away: its spool, its sender in a thread of its own, and what earlier runs left."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from guard_agent.watch.credentials import Credentials
from guard_agent.watch.door import Door
from guard_agent.watch.outbox import Outbox
from guard_agent.watch.sender import Sender
from guard_agent.watch.streams import close_spool, leftovers, open_live

DRAIN_SECONDS: Final = 5.0
_JOIN_SECONDS: Final = 0.2

Say = Callable[[str], None]


class Delivery:
    """A live spool that is being sent. `spool` takes events at once; `stop` sends what is left and closes.

    Raises:
        OSError: the state folder cannot be written.
    """

    def __init__(self, credentials: Credentials, state: Path, alphabet: str, say: Say) -> None:
        self._credentials, self._state, self._say = credentials, state, say
        self.spool = open_live(state, credentials.key.agent_id, alphabet)
        self.sender = Sender(Outbox(self.spool), Door(credentials.server), credentials.key, say)
        self._thread = threading.Thread(target=self.sender.run, name="sender", daemon=True)

    def start(self) -> None:
        """Begin to send; call it when no process will be forked any more."""
        self._thread.start()
        threading.Thread(target=self._send_leftovers, name="leftovers", daemon=True).start()

    def stop(self, processes: int, seconds: float = DRAIN_SECONDS) -> None:
        """Send what is left for at most `seconds`, say what became of the events of so many processes, close."""
        self.sender.stop(seconds)
        self._thread.join(seconds + _JOIN_SECONDS)
        if not self._thread.is_alive():
            self.sender.close()
        self._tell_end(processes)
        close_spool(self.spool)

    def _send_leftovers(self) -> None:
        send_leftovers(self._credentials, self._state, self._say)

    def _tell_end(self, processes: int) -> None:
        totals, spool = self.sender.totals, self.spool
        refused = sum(totals.refused.values())
        text = f"{spool.offered} events of {processes} processes: {totals.stored + totals.duplicates} stored"
        if refused:
            text += f", {refused} refused"
        text += f", {spool.losses.total} lost"
        if spool.losses.total:
            text += f" ({', '.join(f'{where} {count}' for where, count in spool.losses.totals.items())})"
        if spool.waiting:
            text += f"; {spool.waiting} wait in {spool.folder} and are sent by the next run"
        self._say(text)


def send_leftovers(credentials: Credentials, state: Path, say: Say) -> None:
    """Send what earlier runs left on the disk, stream by stream; what cannot be sent is kept."""
    for spool in leftovers(state, credentials.key.agent_id):
        sender = Sender(Outbox(spool), Door(credentials.server), credentials.key, lambda _text: None)
        while spool.waiting:
            step = sender.step()
            if step.blocked is not None:
                break
            time.sleep(step.seconds)
        sender.close()
        sent = sender.totals.stored + sender.totals.duplicates
        if sent:
            say(f"sent {sent} events that an earlier run had left on disk")
        close_spool(spool)
