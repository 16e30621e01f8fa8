"""The desk: the parts that a process needs to judge texts, made once, closed at its end.

An API process has one, and so has a worker: what a detection does is the same wherever it runs.
"""

from starlette.requests import HTTPConnection

from guardhouse.detections.ask_engine import make_engine
from guardhouse.detections.policies.in_force import Policies
from guardhouse.detections.records.waiting import Waiting
from guardhouse.detections.remember import Remembered
from guardhouse.detections.remotes.engines import RemoteEngines
from guardhouse.foundation.resources import Resources


class Desk:
    """The engines, the policies in force, the records that wait to be written, and what stands around them."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.engine = make_engine(resources.settings)
        self.remotes = RemoteEngines(resources)
        self.remembered = Remembered(resources)
        self.records = Waiting()
        self.policies = Policies(resources)

    async def close(self) -> None:
        """End what was begun."""
        self.policies.close()
        await self.engine.close()
        await self.remotes.close()
        await self.remembered.close()


async def desk_of(connection: HTTPConnection) -> Desk:
    """Return the desk of the application that serves this connection."""
    found: Desk = connection.app.state.detection_desk
    return found
