"""The OTLP doors driven by the real OpenTelemetry SDK: both encodings, each coding, refusals, retries, streams."""

import asyncio
import gzip
import json
from datetime import timedelta
from typing import Any

import pytest
import zstandard
from google.rpc.status_pb2 import Status
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
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
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace import Status as SpanStatus

from guardhouse.anomalies.streams.find_stream import MOST_AUTOMATIC
from guardhouse.foundation.clock import microseconds
from server.tests.anomalies.make import send, stored
from server.tests.ingest.make import Door
from server.tests.ingest.otlp.make import Sdk, as_json, exporters

PROTOBUF, JSON = "application/x-protobuf", "application/json"
SERVICE = {"service.name": "Cart API", "host.name": "host-12"}


def busy(**attributes: Any) -> Sdk:
    """Return a process that has logged, measured and traced something."""
    sdk = Sdk({**SERVICE, **attributes})
    sdk.logger.emit(
        body="paid with 4111 1111 1111 1111", severity_text="INFO", attributes={"n": 5, "token": "t"}
    )
    sdk.logger.emit(
        body={"user": "u1", "password": "p", "deep": {"list": [1, 2.5, True]}},
        severity_number=SeverityNumber.WARN,
        event_name="login",
    )
    sdk.meter.create_counter("orders", unit="1").add(3, {"kind": "new"})
    sdk.meter.create_histogram("took", unit="ms").record(12.5)
    sdk.meter.create_gauge("level").set(0.25, {"b": "2", "a": "1"})
    with (
        sdk.tracer.start_as_current_span("checkout", kind=SpanKind.SERVER),
        sdk.tracer.start_as_current_span("pay") as pay,
    ):
        pay.set_status(SpanStatus(StatusCode.ERROR))
    return sdk


async def post(door: Door, signal: str, content: bytes, media: str = PROTOBUF, **headers: str | None) -> Any:
    return await door.post(f"/v1/{signal}", content, content_type=media, **headers)


def status_of(answer: Any) -> Status:
    assert answer.headers["content-type"] == PROTOBUF
    return Status.FromString(answer.content)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_the_exporters_of_the_sdk(door: Door, served: str, compression: Compression) -> None:
    sdk = busy()
    send_with = exporters(served, door.key, compression)
    assert (
        await asyncio.to_thread(send_with["logs"].export, sdk.logs.get_finished_logs())
        is LogRecordExportResult.SUCCESS
    )
    assert (
        await asyncio.to_thread(send_with["metrics"].export, sdk.metrics.get_metrics_data())
        is MetricExportResult.SUCCESS
    )
    assert (
        await asyncio.to_thread(send_with["traces"].export, sdk.spans.get_finished_spans())
        is SpanExportResult.SUCCESS
    )
    assert (len(await stored(door, "logs.cart-api")), len(await stored(door, "metrics.cart-api"))) == (2, 3)
    assert len(await stored(door, "traces.cart-api")) == 2


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
@pytest.mark.parametrize("coding", ["gzip", "identity", "zstd"])
async def test_logs_become_events(door: Door, media: str, coding: str) -> None:
    message = busy().log_message()
    content = message.SerializeToString() if media == PROTOBUF else as_json(message)
    packed = {"gzip": gzip.compress(content), "zstd": zstandard.compress(content), "identity": content}[
        coding
    ]
    answer = await post(door, "logs", packed, media, content_encoding=coding)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.content == (b"" if media == PROTOBUF else b"{}")
    first, second = await stored(door, "logs.cart-api")
    assert first.text == "INFO|shop.cart||paid with <card>"
    assert first.attributes == {"n": "5", "token": "[REDACTED]"}
    assert (first.entity, second.entity) == ("host-12", "host-12")
    assert second.body == {"user": "u1", "password": "[REDACTED]", "deep": {"list": [1, 2.5, True]}}
    assert second.attributes == {"severity": "", "scope": "shop.cart", "event": "login"}


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
async def test_metrics_are_kept_as_they_were_reported(door: Door, media: str) -> None:
    message = busy().metric_message()
    content = message.SerializeToString() if media == PROTOBUF else as_json(message)
    assert (await post(door, "metrics", content, media)).status_code == 200
    points = {
        event.point.name: event.point for event in await stored(door, "metrics.cart-api") if event.point
    }
    orders, took, level = points["orders"], points["took"], points["level"]
    assert (
        orders.kind,
        orders.value,
        orders.cumulative,
        orders.monotonic,
        orders.unit,
        orders.attributes,
    ) == (
        "sum",
        3.0,
        True,
        True,
        "1",
        [("kind", "new")],
    )
    assert (took.kind, took.observations, took.total, took.value) == ("histogram", 1, 12.5, None)
    assert (level.kind, level.value, level.attributes) == ("gauge", 0.25, [("a", "1"), ("b", "2")])
    assert 0 < orders.start_us <= orders.at_us


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
async def test_spans_are_steps_of_their_trace(door: Door, media: str) -> None:
    sdk = busy()
    message = sdk.span_message()
    content = message.SerializeToString() if media == PROTOBUF else as_json(message)
    assert (await post(door, "traces", content, media)).status_code == 200
    trace = format(sdk.spans.get_finished_spans()[0].context.trace_id, "032x")
    steps = [event.step for event in await stored(door, "traces.cart-api") if event.step]
    assert [(step.service, step.name, step.kind, step.status, step.session) for step in steps] == [
        ("Cart API", "pay", "internal", "error", trace),
        ("Cart API", "checkout", "server", "unset", trace),
    ]
    assert all(step.duration >= 0 and step.start > 0 for step in steps)


async def test_calls_to_models_go_to_a_stream_of_their_own(door: Door) -> None:
    sdk = Sdk(SERVICE)
    with sdk.tracer.start_as_current_span("chat") as span:
        span.set_attributes(
            {
                "gen_ai.request.model": "m-1",
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 7,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.conversation.id": "c-9",
                "gen_ai.input.messages": "[]",
                "gen_ai.tool.name": "search",
                "gen_ai.prompt.name": "support",
            }
        )
    sdk.logger.emit(body="said", attributes={"gen_ai.system": "x", "gen_ai.conversation.id": "c-9"})
    await post(door, "traces", sdk.span_message().SerializeToString())
    await post(door, "logs", sdk.log_message().SerializeToString())
    call, said = await stored(door, "llm.cart-api")
    assert call.body is not None
    assert call.body.pop("latency_ms") >= 0
    assert call.body == {
        "template_id": "support",
        "prompt": "[]",
        "model": "m-1",
        "prompt_tokens": 12,
        "response_tokens": 7,
        "finish_reason": "stop",
        "tool_calls": ["search"],
        "conversation_id": "c-9",
    }
    assert (call.session, said.session) == ("c-9", "c-9")
    assert said.body == {"conversation_id": "c-9", "message": "said"}
    assert (await send(door, "GET", "/streams/llm.cart-api")).json()["type"] == "llm"


# Streams.


async def test_a_resource_may_name_its_stream(door: Door) -> None:
    sdk = busy(**{"guardhouse.stream": "front"})
    await post(door, "logs", sdk.log_message().SerializeToString())
    found = (await send(door, "GET", "/streams/front")).json()
    assert (found["type"], found["automatic"], found["events"]) == ("logs", True, 2)


@pytest.mark.parametrize("attributes", [{"service.name": ""}, {"service.name": "!!"}])
async def test_without_a_service_the_default_stream_is_taken(door: Door, attributes: dict[str, str]) -> None:
    await post(door, "logs", busy(**attributes).log_message().SerializeToString())
    assert len(await stored(door, "logs")) == 2


async def test_beyond_200_streams_records_go_to_the_one_of_their_type(door: Door) -> None:
    request = ExportLogsServiceRequest()
    for number in range(MOST_AUTOMATIC + 1):
        of_resource = request.resource_logs.add()
        of_resource.resource.attributes.add(key="service.name").value.string_value = f"s{number:03}"
        of_resource.scope_logs.add().log_records.add().body.string_value = "a"
    assert (await post(door, "logs", request.SerializeToString())).status_code == 200
    rows = await door.rows("SELECT count(*) FROM streams WHERE automatic")
    assert rows[0][0] == MOST_AUTOMATIC
    overflow = await stored(door, "logs")
    assert [(event.text, (event.attributes or {}).get("stream")) for event in overflow] == [
        ("|||a", "logs.s200")
    ]


async def test_a_paused_stream_keeps_nobody_else_from_theirs(door: Door) -> None:
    await send(door, "PATCH", "/streams/logs", json={"state": "paused"})
    request = ExportLogsServiceRequest()
    for service in ("", "web"):
        of_resource = request.resource_logs.add()
        of_resource.resource.attributes.add(key="service.name").value.string_value = service
        of_resource.scope_logs.add().log_records.add().body.string_value = "a"
    answer = await post(door, "logs", request.SerializeToString())
    said = ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, said.rejected_log_records) == (200, 1)
    assert "paused stream logs" in said.error_message
    assert len(await stored(door, "logs.web")) == 1


# Refused records.


async def test_points_that_are_not_finite_are_refused_one_by_one(door: Door) -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="level")
    for value in (1.0, float("nan"), float("inf"), 2.0):
        metric.gauge.data_points.add(as_double=value)
    metric.gauge.data_points.add(flags=1)  # no recorded value: said on purpose, and nothing to refuse
    answer = await post(door, "metrics", request.SerializeToString())
    said = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert (said.rejected_data_points, said.error_message) == (2, "2 not a finite number")
    assert [event.point.value for event in await stored(door, "metrics") if event.point] == [1.0, 2.0]


async def test_spans_without_a_trace_are_refused(door: Door) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(name="lost")
    spans.add(name="found", trace_id=bytes(range(16)), start_time_unix_nano=5_000, end_time_unix_nano=1_000)
    answer = await post(door, "traces", as_json(request), JSON)
    assert answer.json() == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "1 without a trace id"}}
    assert ExportTraceServiceResponse().SerializeToString() == b""
    step = (await stored(door, "traces"))[0].step
    assert step is not None
    assert (step.duration, step.session) == (0, bytes(range(16)).hex())


async def test_every_kind_of_metric(door: Door) -> None:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="a").sum.data_points.add(as_int=2**62)
    metrics.add(name="b").exponential_histogram.data_points.add(count=4, sum=10.0)
    quantiles = metrics.add(name="c").summary.data_points.add(count=2, sum=3.0).quantile_values
    quantiles.add(quantile=0.5, value=1.5)
    metrics.add(name="d")
    assert (await post(door, "metrics", request.SerializeToString())).status_code == 200
    points = [event.point for event in await stored(door, "metrics") if event.point]
    assert [(p.kind, p.value, p.observations, p.total, p.quantiles) for p in points] == [
        ("sum", float(2**62), None, None, []),
        ("exponential_histogram", None, 4, 10.0, []),
        ("summary", None, 2, 3.0, [(0.5, 1.5)]),
    ]


async def test_times_that_are_missing_or_far_ahead_are_those_of_receipt(door: Door) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    ahead = microseconds(door.now + timedelta(hours=25))
    records.add().body.string_value = "a"
    records.add(observed_time_unix_nano=7_000).body.string_value = "b"
    records.add(time_unix_nano=ahead * 1000).body.string_value = "c"
    before = microseconds(door.now)
    await post(door, "logs", request.SerializeToString())
    none, observed, far = await stored(door, "logs")
    assert (observed.at, far.skewed, none.skewed) == (7, True, False)
    assert before <= none.at == far.at <= microseconds(door.now)


# Retries.


async def test_a_retry_is_not_counted_twice(door: Door) -> None:
    content = busy().log_message().SerializeToString()
    answers = await asyncio.gather(*(post(door, "logs", content) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    packed = await post(door, "logs", gzip.compress(content), content_encoding="gzip")
    assert packed.status_code == 200
    assert len(await stored(door, "logs.cart-api")) == 2
    await door.behind.execute(
        "UPDATE otlp_receipts SET received_at = received_at - $1::interval", timedelta(minutes=11)
    )
    await post(door, "logs", content)
    assert len(await stored(door, "logs.cart-api")) == 4


# Refused requests.


@pytest.mark.parametrize("signal", ["logs", "metrics", "traces"])
async def test_what_cannot_be_read_is_told_as_a_status(door: Door, signal: str) -> None:
    for content, media, headers, status, code in (
        (b"\xff\xff\xff", PROTOBUF, {}, 400, 3),
        (b"\x0a\x05ab", PROTOBUF, {}, 400, 3),
        (b"\x1f\x8b\x08\0\0", PROTOBUF, {"content_encoding": "gzip"}, 400, 3),
        (b"x", "text/plain", {}, 415, 3),
        (b"x", PROTOBUF, {"content_encoding": "br"}, 415, 3),
        (b"", PROTOBUF, {"content_length": str(17 << 20)}, 413, 3),
        (b"", PROTOBUF, {"x_api_key": None}, 401, 16),
    ):
        answer = await post(door, signal, content, media, **headers)
        assert answer.status_code == status, answer.content
        said = status_of(answer)
        assert said.code == code
        assert said.message


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"resourceLogs":5}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":7}]}]}]}',
    ],
)
async def test_bad_json_is_told_as_a_status(door: Door, content: bytes) -> None:
    answer = await post(door, "logs", content, JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (400, JSON)
    assert answer.json()["code"] == 3
    assert "malformed_body" in answer.json()["message"]


async def test_other_json_is_shown_the_right_door(door: Door) -> None:
    answer = await post(door, "metrics", b'{"metrics":[{"value":1}]}', JSON)
    assert answer.status_code == 400
    assert "/api/v1/metrics" in answer.json()["message"]


async def test_json_ignores_what_it_does_not_know_and_reads_numbers_either_way(door: Door) -> None:
    record = {"timeUnixNano": "5000", "observedTimeUnixNano": 7000, "future": [1], "body": {"intValue": "12"}}
    document = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record], "x": {}}], "y": 1}], "z": None}
    assert (await post(door, "logs", json.dumps(document).encode(), JSON)).status_code == 200
    event = (await stored(door, "logs"))[0]
    assert (event.at, event.text) == (5, "|||12")


async def test_a_stream_far_behind_is_told_to_be_retried(door: Door) -> None:
    await send(door, "GET", "/streams")
    await door.behind.execute("UPDATE streams SET last_seq = 5000001 WHERE slug = 'logs'")
    answer = await post(door, "logs", busy(**{"service.name": ""}).log_message().SerializeToString())
    assert (answer.status_code, answer.headers["retry-after"], status_of(answer).code) == (429, "30", 8)
    assert await door.count("otlp_receipts") == 0


async def test_who_may_not_send(door: Door) -> None:
    made = await send(door, "POST", "/keys", json={"name": "eyes", "role": "viewer"})
    answer = await post(door, "logs", b"", x_api_key=made.json()["api_key"])
    assert (answer.status_code, status_of(answer).code) == (403, 7)


async def test_an_empty_export_is_good(door: Door) -> None:
    for signal in ("logs", "metrics", "traces"):
        assert (await post(door, signal, b"")).status_code == 200
        assert (await post(door, signal, b"{}", JSON)).content == b"{}"
    assert await door.count("otlp_receipts") == 0
