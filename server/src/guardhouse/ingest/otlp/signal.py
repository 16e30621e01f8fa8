"""The three signals of OTLP: their messages, and what their answers call a refused record."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from guardhouse.anomalies.stream import StreamType

Request: TypeAlias = ExportLogsServiceRequest | ExportMetricsServiceRequest | ExportTraceServiceRequest
Response: TypeAlias = ExportLogsServiceResponse | ExportMetricsServiceResponse | ExportTraceServiceResponse
SignalName = Literal["logs", "metrics", "traces"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal. ``member``: the one member of its request in JSON; ``native``: where our own JSON goes."""

    name: SignalName
    stream_type: StreamType
    request: type[Request]
    response: type[Response]
    member: str
    rejected: str
    native: str


LOGS: Final = Signal(
    "logs",
    "logs",
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    "resourceLogs",
    "rejected_log_records",
    "/api/v1/streams/{id}/events",
)
METRICS: Final = Signal(
    "metrics",
    "metrics",
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    "resourceMetrics",
    "rejected_data_points",
    "/api/v1/metrics or /api/v1/streams/{id}/events",
)
TRACES: Final = Signal(
    "traces",
    "traces",
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    "resourceSpans",
    "rejected_spans",
    "/api/v1/streams/{id}/events",
)
