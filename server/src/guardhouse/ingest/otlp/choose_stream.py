"""Which stream the records of a resource go to: the one it names, else its service's, else the one of their type."""

import re
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from guardhouse.anomalies.stream import SLUG_PATTERN, StreamType
from guardhouse.ingest.otlp.values import text_of

_SLUG: Final = re.compile(SLUG_PATTERN)
_OTHER: Final = re.compile(r"[^a-z0-9._-]+")
_MAX_SLUG: Final = 80
_ENTITIES: Final = ("host.name", "service.instance.id", "k8s.pod.name", "container.id")


@dataclass(frozen=True, slots=True)
class Source:
    """What a resource says of itself. ``stream``: the slug it asks for, if it may be one."""

    service: str
    entity: str | None
    stream: str | None

    def slug(self, kind: StreamType) -> str:
        """Return the slug of the stream for records of one type."""
        if self.stream is not None:
            return self.stream
        service = _OTHER.sub("-", self.service.lower()).strip("-")
        return f"{kind}.{service}"[:_MAX_SLUG] if service else kind


def source_of(resource: Resource) -> Source:
    """Return what a resource says of itself."""
    said = {attribute.key: text_of(attribute.value) for attribute in resource.attributes}
    entity = next((said[name] for name in _ENTITIES if said.get(name)), None)
    wanted = said.get("guardhouse.stream", "")
    stream = wanted if _SLUG.fullmatch(wanted) else None
    return Source(said.get("service.name", ""), entity, stream)
