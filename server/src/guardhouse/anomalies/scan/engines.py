"""Engines of the streams judged lately, and how one comes back: the newest state that is whole, then its segments.

Forgetting an engine costs a reload, never a result: what a segment did to it does not depend on when it is done.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Final

from guardhouse.analysis.anomaly.engine import VERSION, Engine
from guardhouse.analysis.anomaly.event import Segment as EngineSegment
from guardhouse.analysis.anomaly.snapshot import BadSnapshotError
from guardhouse.anomalies.configs import in_force
from guardhouse.anomalies.configs.config import resolve
from guardhouse.anomalies.scan import store
from guardhouse.anomalies.scan.read_event import engine_config, engine_events
from guardhouse.anomalies.scan.store import SavedState, Waiting
from guardhouse.anomalies.stream import Stream
from guardhouse.anomalies.streams.read_segments import read_segments
from guardhouse.anomalies.streams.segments import read_segment
from guardhouse.foundation import logs
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.objects import ObjectAbsent, ObjectExists, ObjectStore

MAX_ENGINES: Final = 256
REPLAYED_AT_ONCE: Final = 20
Opening = Callable[[], AbstractAsyncContextManager[Tx]]
_log = logs.get(__name__)


@dataclass(slots=True)
class Held:
    """An engine in memory, the version of the configuration it was given last, and the events since it was saved."""

    engine: Engine
    config_version: int = 0
    saved_seq: int = 0


@dataclass(slots=True)
class Engines:
    """Engines in memory, least recent first."""

    objects: ObjectStore
    clock: Clock
    _held: OrderedDict[int, Held] = field(default_factory=OrderedDict)

    async def get(self, opening: Opening, waiting: Waiting, stream: Stream) -> Held:
        """Return the engine of a stream as of its last judged event."""
        held = self._held.get(stream.no)
        if held is None or held.engine.seq != stream.processed_seq:
            held = await self._load(opening, waiting, stream)
        self._held[stream.no] = held
        self._held.move_to_end(stream.no)
        while len(self._held) > MAX_ENGINES:
            self._held.popitem(last=False)
        return held

    def held(self, stream_no: int) -> Held | None:
        """Return an engine that is in memory."""
        return self._held.get(stream_no)

    def forget(self, stream_no: int) -> None:
        """Drop an engine that is ahead of what is stored."""
        self._held.pop(stream_no, None)

    async def save(self, opening: Opening, waiting: Waiting, held: Held) -> None:
        """Keep the state of an engine; what it replaces is deleted, but the one before stays."""
        content = held.engine.to_bytes()
        digest = hashlib.sha256(content)
        seq = held.engine.seq
        key = f"streams/{waiting.tenant.no}/{waiting.stream_no}/{seq}-{digest.hexdigest()[:16]}"
        await _put(self.objects, key, content)
        saved = SavedState(seq, held.config_version, VERSION, key, digest.digest())
        async with opening() as tx:
            gone = await store.add_state(tx, waiting.tenant.no, waiting.stream_no, saved, self.clock.now())
        held.saved_seq = seq
        for old in gone:
            await self.objects.delete(old)

    async def _load(self, opening: Opening, waiting: Waiting, stream: Stream) -> Held:
        async with opening() as tx:
            states = await store.list_states(tx, waiting.tenant.no, stream.no, stream.processed_seq)
        held = Held(Engine(int(stream.seed, 16)))
        for saved in states:
            engine = await self._read(saved, stream)
            if engine is not None:
                held = Held(engine, saved.config_version, saved.state_seq)
                break
        await self._replay(opening, waiting, stream, held)
        return held

    async def _read(self, saved: SavedState, stream: Stream) -> Engine | None:
        """Return a saved engine; None when its object is gone, damaged, or of another version."""
        try:
            return _whole(await self.objects.get(saved.object_key), saved)
        except (ObjectAbsent, BadSnapshotError) as error:
            _log.warning("stream_state_unusable", stream=stream.slug, seq=saved.state_seq, error=str(error))
            return None

    async def _replay(self, opening: Opening, waiting: Waiting, stream: Stream, held: Held) -> None:
        """Take an engine from its state to the last judged event, telling nothing of what it finds."""
        now = self.clock.now()
        while held.engine.seq < stream.processed_seq:
            async with opening() as tx:
                segments = await read_segments(
                    tx, waiting.tenant, stream.no, (held.engine.seq, stream.processed_seq), REPLAYED_AT_ONCE
                )
                span = (held.engine.seq, stream.processed_seq)
                versions = await store.list_versions(tx, waiting.tenant.no, stream.no, *span)
                configs = {
                    version: resolve(await in_force.find_version(tx, waiting.tenant, version, now), stream)
                    for version in {*versions.values()} - {held.config_version}
                }
            if not segments:  # older than what is kept: the stream learns from what comes
                held.engine.seq = stream.processed_seq
                return
            for segment in segments:
                version = versions.get(segment.first_seq, held.config_version)
                config = engine_config(configs[version]) if version in configs else None
                events = engine_events(read_segment(segment.payload, segment.sha256), segment.first_seq)
                results = held.engine.process(EngineSegment(events, config=config))
                held.config_version = version
                for finding in results.findings:
                    if not finding.quiet:
                        held.engine.spend(finding)


def _whole(content: bytes, saved: SavedState) -> Engine:
    """Return the engine of a state.

    Raises:
        BadSnapshotError: the bytes are not those that were saved, or of another version of the engine.
    """
    if not hmac.compare_digest(hashlib.sha256(content).digest(), saved.sha256):
        raise BadSnapshotError("the object has another hash than was noted")
    return Engine.from_bytes(content)


async def _put(objects: ObjectStore, key: str, content: bytes) -> None:
    with suppress(ObjectExists):  # the same bytes: another worker saved the same state
        await objects.put(key, content)
