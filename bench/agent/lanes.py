"""How long a metric waits while the collector fails every body of events.

`python bench/agent/lanes.py [--full]`: 2 or 9 runs a side, both sides at once, 15 s each; a metric a second, flushed
each second; the median wait of a run counts, and one that never came counts as the whole run.
"""

import asyncio
import json
import sys
import tempfile
import time
from statistics import median

RUNS = {False: 2, True: 9}
SECONDS = 15.0


def main() -> None:
    """Measure both sides."""
    from _collector import GOOD, Answer, Request, collector, status  # noqa: PLC0415 -- not for probes
    from _sides import KEY, finish, full, result, sides, start  # noqa: PLC0415

    def decide(request: Request) -> Answer:
        return GOOD if request.path.endswith("/metrics") else status(500)

    long, places = full(), sides()
    waits: dict[str, list[float]] = {side: [] for side in places}
    for _ in range(RUNS[long]):
        for side, python in places.items():
            with (
                collector(decide=decide) as found,
                tempfile.TemporaryDirectory(prefix="agent-bench-") as home,
            ):
                sent = result(start(python, __file__, {"url": found.url, "key": KEY}, home))
                came = {
                    int(item["tags"]["n"]): request.at
                    for request in reversed(found.taken)
                    for item in json.loads(request.body)["metrics"]
                }
            each = [came[n] - at if n in came else SECONDS for n, at in enumerate(sent)]
            waits[side].append(median(each))
            print(f"{side}: median {median(each):.2f} s, worst {max(each):.2f} s of {len(each)} metrics")
    finish("agent_lanes", waits, "s", must=1, better="lower")


async def probe() -> None:
    """Send ten events and one metric a second; tell when each metric was sent."""
    from _probe import agent, event, metric, tell  # noqa: PLC0415 -- in the side's environment

    made = agent(flush_interval=1, retry_attempts=3)
    await made.start()
    sent: list[float] = []
    for second in range(int(SECONDS)):
        for number in range(10):
            await made.send_event(event(10 * second + number))
        sent.append(time.monotonic())
        await made.send_metric(metric(second))
        await asyncio.sleep(1)
    await asyncio.sleep(2)
    tell(sent)


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
