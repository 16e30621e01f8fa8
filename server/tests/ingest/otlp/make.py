"""Exports of the real OpenTelemetry SDK, sent by its own exporters or kept as the messages that they would send."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@dataclass(slots=True)
class Sdk:
    """One instrumented process. What it records is kept until it is asked for."""

    attributes: dict[str, Any]
    logs: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)
    metrics: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    logger: Any = None
    meter: Any = None
    tracer: Any = None

    def __post_init__(self) -> None:
        resource = Resource(self.attributes)
        logging, tracing = LoggerProvider(resource=resource), TracerProvider(resource=resource)
        logging.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.logger = logging.get_logger("shop.cart")
        self.tracer = tracing.get_tracer("shop.cart")
        self.meter = MeterProvider(metric_readers=[self.metrics], resource=resource).get_meter("shop.cart")

    def log_message(self) -> Message:
        """Return the export of the log records so far."""
        return encode_logs(self.logs.get_finished_logs())

    def metric_message(self) -> Message:
        """Return the export of the metrics as they are now."""
        found = self.metrics.get_metrics_data()
        assert found is not None
        return encode_metrics(found)

    def span_message(self) -> Message:
        """Return the export of the spans so far."""
        return encode_spans(self.spans.get_finished_spans())


def as_json(message: Message) -> bytes:
    """Return an export in OTLP's JSON: protobuf's mapping, but ids in hex."""
    document = MessageToDict(message)
    for member in ("traceId", "spanId", "parentSpanId"):
        _in_hex(document, member)
    return json.dumps(document).encode()


def _in_hex(value: Any, member: str) -> None:
    if isinstance(value, dict):
        if isinstance(value.get(member), str):
            value[member] = base64.b64decode(value[member]).hex()
        for inner in value.values():
            _in_hex(inner, member)
    elif isinstance(value, list):
        for inner in value:
            _in_hex(inner, member)


def exporters(url: str, key: str, compression: Compression) -> dict[str, Any]:
    """Return the SDK's own exporters for a server; they retry and compress as they do everywhere."""
    options: dict[str, Any] = {"headers": {"x-api-key": key}, "compression": compression, "timeout": 20}
    return {
        "logs": OTLPLogExporter(f"{url}/v1/logs", **options),
        "metrics": OTLPMetricExporter(f"{url}/v1/metrics", **options),
        "traces": OTLPSpanExporter(f"{url}/v1/traces", **options),
    }
