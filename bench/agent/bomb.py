"""A gzip bomb at the door for telemetry: when it is refused, and what the server's memory grows by.

10 GiB of zeros compress to some 10 MiB; the answer is 413 as soon as the ratio is passed. The anchor in the same run
is the same request with a body of nothing but its first KiB. Usage: `python bench/agent/bomb.py`.
"""

import asyncio
import sys
import threading
import time
import zlib
from pathlib import Path

import psutil

BENCH = Path(__file__).parents[1]
sys.path.insert(0, str(BENCH))

from _kit import finish, platform  # noqa: E402

ROUNDS = 9
MIB = 1 << 20
BOMB_MIB = 10 * 1024
MUST_MS, MUST_MIB = 300, 40


def main() -> None:
    """Run the rounds and print the figures."""
    bomb = packed(BOMB_MIB)
    with platform("serve") as made:
        process = psutil.Process(made.pids[0])
        asyncio.run(send(made.port, made.key, bomb[:1024]))
        before = process.memory_info().rss
        peak, stop = [before], threading.Event()
        watcher = threading.Thread(target=watch, args=(process, peak, stop))
        watcher.start()
        took, anchor = [], []
        for number in range(ROUNDS):
            status, seconds = asyncio.run(send(made.port, made.key, bomb))
            if status != 413:
                raise SystemExit(f"the bomb was answered {status}")
            took.append(seconds * 1000)
            anchor.append(asyncio.run(send(made.port, made.key, bomb[:1024]))[1] * 1000)
            print(f"round {number + 1}: refused in {took[-1]:.0f} ms; a cut KiB in {anchor[-1]:.0f} ms")
        stop.set()
        watcher.join()
        grown = (peak[0] - before) / MIB
        print(f"{len(bomb) / MIB:.1f} MiB on the wire; memory grew by {grown:.1f} MiB at most")
        memory = {"must": MUST_MIB, "on": "ours", "better": "lower"}
        finish("agent_bomb_memory", [grown], [], "MiB", **memory)
        finish("agent_bomb", took, anchor, "ms", must=MUST_MS, on="ours", better="lower")


def packed(mebibytes: int) -> bytes:
    """Return so many mebibytes of zeros as gzip."""
    packer, zeros = zlib.compressobj(9, wbits=31), bytes(MIB)
    return b"".join(packer.compress(zeros) for _ in range(mebibytes)) + packer.flush()


def watch(process: psutil.Process, peak: list[int], stop: threading.Event) -> None:
    """Remember the most memory that a process had, until told to stop."""
    while not stop.wait(0.005):
        peak[0] = max(peak[0], process.memory_info().rss)


async def send(port: int, key: str, body: bytes) -> tuple[int, float]:
    """Send a body and return the status of the answer and the seconds until it came; the server may not read it all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.perf_counter()
    writer.write(
        f"POST /api/v1/events HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\nContent-Encoding: gzip\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(body)
    line = await reader.readline()
    took = time.perf_counter() - begun
    writer.transport.abort()
    return int(line.split()[1]), took


if __name__ == "__main__":
    main()
