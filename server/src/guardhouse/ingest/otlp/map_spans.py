"""Spans as steps of the session that their trace is; calls to models as records of their own."""

from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from guardhouse.anomalies.streams.stored_event import Step, StoredEvent
from guardhouse.ingest.otlp.choose_stream import Source, source_of
from guardhouse.ingest.otlp.decode import Export
from guardhouse.ingest.otlp.map_llm import is_of_model, model_call
from guardhouse.ingest.otlp.records import Place, Records

_MAX_NAME: Final = 256
_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATES: Final = ("unset", "ok", "error")


def map_spans(export: Export, records: Records) -> None:
    """Take the spans of an export."""
    message = export.message
    if not isinstance(message, ExportTraceServiceRequest):
        raise TypeError(type(message).__name__)
    for of_resource in message.resource_spans:
        source = source_of(of_resource.resource)
        plain: Place = (source.slug("traces"), "traces")
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                if not span.trace_id:
                    records.refuse("without a trace id")
                elif is_of_model(span.attributes):
                    records.add((source.slug("llm"), "llm"), _call(export, span, source))
                else:
                    records.add(plain, _step(export, span, source))


def _step(export: Export, span: Span, source: Source) -> StoredEvent:
    start, duration = _times(span)
    step = Step(
        service=source.service,
        name=span.name[:_MAX_NAME],
        kind=_name(_KINDS, span.kind),
        status=_name(_STATES, span.status.code),
        session=export.hex_of(span.trace_id),
        start=start,
        duration=duration,
    )
    return StoredEvent(at=start, step=step, entity=source.entity)


def _call(export: Export, span: Span, source: Source) -> StoredEvent:
    start, duration = _times(span)
    body = model_call(span.attributes, duration)
    conversation = body.get("conversation_id")
    return StoredEvent(
        at=start,
        body=body,
        entity=source.entity,
        session=export.hex_of(span.trace_id) if conversation is None else str(conversation)[:_MAX_NAME],
        attributes={"operation": span.name[:_MAX_NAME], "trace_id": export.hex_of(span.trace_id)},
    )


def _times(span: Span) -> tuple[int, int]:
    """Return start and duration in µs; a span that ends before it begins took no time."""
    start = span.start_time_unix_nano // 1000
    return start, max(0, span.end_time_unix_nano // 1000 - start)


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)
