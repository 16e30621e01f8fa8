r"""Log records of OpenTelemetry over HTTP, stored in segments before the answer: events per second.

Two API processes share the two cores with PostgreSQL and the load generator. Anchor in the same run, on one core: what
decoding alone costs, the official protobuf classes parsing the very same bytes under gzip, nothing mapped or stored.
No worker runs: what is accepted waits to be judged. Usage: `python bench/otlp.py`.
"""

import asyncio
import gzip
import random
import statistics
import time

from _kit import Client, Platform, finish, http_request, platform
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

ROUNDS = 3
BATCHES = 60
BATCH = 1000
CONNECTIONS = 4
MUST, GOAL = 10_000, 30_000


def main() -> None:
    """Run the rounds and print the table."""
    with platform("serve", "serve") as made:
        asyncio.run(_run(made, 8, 0))
        ours, anchor = [], []
        for number in range(ROUNDS):
            bodies = [export(number + 1, batch) for batch in range(BATCHES)]
            made.psql("UPDATE streams SET processed_seq = last_seq, waiting_since = NULL")
            ours.append(asyncio.run(_run(made, BATCHES, number + 1)))
            anchor.append(decode_only(bodies))
            print(
                f"round {number + 1}: ours {ours[-1]:,.0f} events/s, decoding alone {anchor[-1]:,.0f} events/s"
            )
        print(f"median ratio {statistics.median(o / a for o, a in zip(ours, anchor, strict=True)):.3f}")
        stored = int(made.psql("SELECT sum(last_seq) FROM streams"))
        if stored != (8 + ROUNDS * BATCHES) * BATCH:
            raise RuntimeError(f"{stored:,} events are stored")
        finish("otlp", ours, anchor, "events/s", must=MUST, goal=GOAL, on="ours")


def export(round_number: int, batch: int) -> bytes:
    """Return an export of 1,000 log records of about 130 bytes with four attributes, under gzip; each is another."""
    draw = random.Random(f"{round_number} {batch}")
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    for key, value in (("service.name", f"shop-{batch % 4}"), ("host.name", "host-12")):
        of_resource.resource.attributes.add(key=key).value.string_value = value
    records = of_resource.scope_logs.add().log_records
    now = time.time_ns()
    for number in range(BATCH):
        record = records.add(time_unix_nano=now + number, severity_text="INFO", trace_id=draw.randbytes(16))
        record.body.string_value = (
            f"GET /api/orders/{draw.randrange(10**6)} took {draw.randrange(900)} ms for user {draw.randrange(10**4)}"
            f" from 10.0.{draw.randrange(256)}.{draw.randrange(256)} cache {draw.choice(('hit', 'miss'))}"
        )
        for key in ("http.method", "http.route", "thread.name", "code.function"):
            record.attributes.add(key=key).value.string_value = f"value-{draw.randrange(20)}"
    return gzip.compress(request.SerializeToString(), 6)


def decode_only(bodies: list[bytes]) -> float:
    """Unpack and parse the bodies on this core, and nothing else; returns events per second."""
    started = time.perf_counter()
    for body in bodies:
        ExportLogsServiceRequest.FromString(gzip.decompress(body))
    return len(bodies) * BATCH / (time.perf_counter() - started)


async def _run(made: Platform, batches: int, round_number: int) -> float:
    headers = {"x-api-key": made.key, "content-type": "application/x-protobuf", "content-encoding": "gzip"}
    queues: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for batch in range(batches):
        body = export(round_number, batch)
        queues[batch % CONNECTIONS].append(http_request("POST", "/v1/logs", headers, body))
    clients = [await Client.open(made.ports[n % len(made.ports)]) for n in range(CONNECTIONS)]
    started = time.perf_counter()
    await asyncio.gather(*(_send(c, q) for c, q in zip(clients, queues, strict=True)))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return batches * BATCH / seconds


async def _send(client: Client, requests: list[bytes]) -> None:
    for request in requests:
        status, body = await client.send(request)
        if (status, body) != (200, b""):
            raise RuntimeError(f"{status}: {body[:300]!r}")


if __name__ == "__main__":
    main()
