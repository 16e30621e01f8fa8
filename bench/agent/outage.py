"""Events lost over an outage of the collector: 429, 500, 401 and refused connections, at 5 events a second.

`python bench/agent/outage.py [--full]`: 15 or 39 s of outage, then 30 s to recover for ours and 80 s for the released
agent, whose breaker stays open for 60 s; all kinds at the same time, each with a collector and a process of its own.
The full form adds ten minutes at 200 events a second, ours alone.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

KINDS = ("429", "500", "401", "refused")
OUTAGE = {False: 15.0, True: 39.0}
RECOVERY = {"ours": 30.0, "released": 80.0}
RATE = 5.0


def main() -> None:
    """Measure all kinds on both sides at once: their load is small."""
    from _sides import OURS, finish, full, sides  # noqa: PLC0415 -- not for probes

    long, places = full(), sides()
    lost = measure(places, KINDS, OUTAGE[long], RATE)
    if long:
        lasting = measure({OURS: places[OURS]}, ("refused",), 600, 200)
        finish("agent_outage_10min", lasting, "% lost", must=0, better="lower", alone=True)
    finish("agent_outage", lost, "% lost", must=0, better="lower")


def measure(
    places: dict[str, Any], kinds: tuple[str, ...], outage: float, rate: float
) -> dict[str, list[float]]:
    """Return for each side the share of events lost per kind of outage, in per cent."""
    from _collector import Collector, collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, result, start  # noqa: PLC0415

    with ExitStack() as stack:
        found: list[tuple[str, str, Collector, Any]] = []
        for side, python in places.items():
            for kind in kinds:
                other = stack.enter_context(collector())
                home = stack.enter_context(tempfile.TemporaryDirectory(prefix="agent-bench-"))
                asked = {
                    "url": other.url,
                    "key": KEY,
                    "seconds": outage,
                    "rate": rate,
                    "recovery": RECOVERY[side],
                }
                begin(other, kind)
                found.append((side, kind, other, start(python, __file__, asked, home)))
        for _, _, _, process in found:  # the outage begins with the first event
            process.stdout.readline()
        time.sleep(outage)
        for _, kind, other, _ in found:
            end(other, kind)
        lost: dict[str, list[float]] = {side: [] for side in places}
        for side, kind, other, process in found:
            sent = result(process, outage + 120)
            arrived = {item["metadata"]["n"] for item in other.taken_items()}
            lost[side].append(100 * (sent - len(arrived)) / sent)
            print(f"{side}, {kind}: {len(arrived)} of {sent} arrived")
        return lost


def begin(other: Any, kind: str) -> None:
    """Make the collector fail."""
    from _collector import status  # noqa: PLC0415 -- not for probes

    if kind == "refused":
        other.refuse()
    else:
        other.decide = lambda _request: status(int(kind), retry_after="5")


def end(other: Any, kind: str) -> None:
    """Make it well again."""
    from _collector import GOOD  # noqa: PLC0415 -- not for probes

    if kind == "refused":
        other.listen()
    else:
        other.decide = lambda _request: GOOD


async def probe() -> None:
    """Send steadily through the outage, then wait as an app does that goes on running."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    asked = given()
    made = agent(flush_interval=2)
    await made.start()
    tell("begun")
    sent, begun = 0, time.monotonic()
    while time.monotonic() - begun < asked["seconds"]:
        await made.send_event(event(sent))
        sent += 1
        await asyncio.sleep(max(0.0, begun + sent / asked["rate"] - time.monotonic()))
    await asyncio.sleep(asked["recovery"])
    tell(sent)
    await made.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
