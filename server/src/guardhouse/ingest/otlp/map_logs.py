"""Log records as events: a text with severity, scope and event name before it, or a record of named values."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from guardhouse.anomalies.streams.redact import redact_value
from guardhouse.anomalies.streams.stored_event import StoredEvent, cut_text
from guardhouse.ingest.otlp.choose_stream import Source, source_of
from guardhouse.ingest.otlp.decode import Export
from guardhouse.ingest.otlp.map_llm import is_of_model, model_call
from guardhouse.ingest.otlp.records import Place, Records
from guardhouse.ingest.otlp.values import texts_of, value_of


def map_logs(export: Export, records: Records) -> None:
    """Take the log records of an export."""
    message = export.message
    if not isinstance(message, ExportLogsServiceRequest):
        raise TypeError(type(message).__name__)
    for of_resource in message.resource_logs:
        source = source_of(of_resource.resource)
        plain: Place = (source.slug("logs"), "logs")
        for of_scope in of_resource.scope_logs:
            scope = of_scope.scope.name
            for record in of_scope.log_records:
                if is_of_model(record.attributes):
                    records.add((source.slug("llm"), "llm"), _call(export, record, source))
                else:
                    records.add(plain, _line(export, record, source, scope))


def _line(export: Export, record: LogRecord, source: Source, scope: str) -> StoredEvent:
    event = _event(export, record, source)
    severity = record.severity_text
    name = record.event_name or (event.attributes or {}).get("event.name", "")
    if record.body.HasField("kvlist_value"):
        event.body = redact_value(value_of(record.body))
        event.attributes = {"severity": severity, "scope": scope, "event": name} | (event.attributes or {})
        return event
    said = record.body.string_value
    if not said:
        found = value_of(record.body)
        said = "" if found is None else str(found)
    event.text, event.cut = cut_text(f"{severity}|{scope}|{name}|{said}")
    return event


def _call(export: Export, record: LogRecord, source: Source) -> StoredEvent:
    event = _event(export, record, source)
    event.body = model_call(record.attributes)
    said = value_of(record.body)
    if said is not None:
        event.body |= {"message": redact_value(said)}
    conversation = event.body.get("conversation_id")
    event.session = None if conversation is None else str(conversation)[:256]
    event.attributes = {key: value for key, value in (event.attributes or {}).items() if "gen_ai" not in key}
    return event


def _event(export: Export, record: LogRecord, source: Source) -> StoredEvent:
    attributes: dict[str, str] = redact_value(texts_of(record.attributes))
    if record.trace_id:
        attributes["trace_id"] = export.hex_of(record.trace_id)
    return StoredEvent(
        at=(record.time_unix_nano or record.observed_time_unix_nano) // 1000,
        entity=source.entity,
        attributes=attributes or None,
    )
