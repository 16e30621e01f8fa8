"""An alert of Falco in our words: a finding, on its process where the alert names one.

Source: Falco's JSON output (`json_output: true`): time, rule, priority, source, hostname, output, tags, output_fields;
`uuid` where a forwarder adds one. A field that was not known is null or ``<NA>``.
"""

from collections.abc import Mapping
from typing import Any, Final

from guardhouse.ingest.formats.reading import (
    MAX_WORD,
    Reading,
    Unmapped,
    fitting,
    identifier,
    mapping,
    moment,
    pid,
    present,
    text,
    words,
)

SOURCE: Final = "falco"
MAX_PRIORITY: Final = 64
_HOST: Final = "host"  # what container.id says of a process in no container


def read_falco(event: Mapping[str, Any]) -> Reading:
    """Return one alert as a finding.

    Raises:
        Unmapped: it has no rule: this is no alert.
    """
    rule = text(event.get("rule"), MAX_WORD)
    if rule is None:
        raise Unmapped("an alert of Falco has a rule", "rule")
    fields = mapping(event.get("output_fields"))
    priority = text(event.get("priority"), MAX_PRIORITY)
    host = text(event.get("hostname"), MAX_WORD)
    number = pid(fields.get("proc.pid"))
    members = present(
        kind="finding",
        id=identifier(event.get("uuid")),
        timestamp=moment(event.get("time")) or moment(fields.get("evt.time")),
        rule=rule,
        priority=None if priority is None else priority.lower(),
        source=SOURCE,
        tags=words(event.get("tags")),
        container=_container(fields),
        metadata=fitting(
            output=event.get("output") or event.get("message"),
            falco_source=event.get("source"),
            hostname=host,
            output_fields=dict(fields),
        ),
    )
    if number is not None:
        members |= present(
            pid=number,
            tid=pid(fields.get("thread.tid")),
            ppid=pid(fields.get("proc.ppid")),
            exe=_path(fields.get("proc.exepath")),
            comm=text(fields.get("proc.name"), MAX_WORD),
        )
    return Reading(members, host)


def _path(value: Any) -> str | None:
    found = text(value)
    return found if found is not None and found.startswith("/") else None


def _container(fields: Mapping[str, Any]) -> str | None:
    found = text(fields.get("container.id"), MAX_WORD)
    return None if found == _HOST else found
