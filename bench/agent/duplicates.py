"""How often an event is sent when the collector has stored it but says so oddly, or not at all.

`python bench/agent/duplicates.py [--full]`: 8 or 39 s per answer: 202, 204, 200 with text, silence. Each
batch is answered so once and well afterwards, as a server does that stored it before the answer was lost; what counts
is the event that was sent most often.
"""

import asyncio
import sys
from collections import Counter
from typing import Any

SECONDS = {False: 8.0, True: 39.0}
EVENTS = 20


def main() -> None:
    """Count on both sides."""
    from _collector import GOOD, Answer, Request, collector, status  # noqa: PLC0415 -- not for probes
    from _sides import KEY, finish, full, run, sides  # noqa: PLC0415

    long, places = full(), sides()
    answers: dict[str, Answer | None] = {
        "202": status(202),
        "204": status(204),
        "200 with text": (200, {"content-type": "text/plain"}, b"OK"),
        "silence": None,
    }
    most: dict[str, list[float]] = {side: [] for side in places}
    for said, odd in answers.items():
        for side, python in places.items():
            copies: Counter[int] = Counter()

            def decide(request: Request, copies: Any = copies, odd: Any = odd) -> Answer | None:
                numbers = [item["metadata"]["n"] for item in request.items() if "metadata" in item]
                copies.update(numbers)
                first = any(copies[number] == 1 for number in numbers)
                return odd if first or (odd is not None and numbers) else GOOD

            with collector(decide=decide) as found:
                run(python, __file__, {"url": found.url, "key": KEY, "seconds": SECONDS[long]})
            most[side].append(max(copies.values(), default=0))
            print(f"{said}, {side}: sent {most[side][-1]} times at most")
    finish("agent_duplicate_sends", most, "sends of one event", must=2, better="lower")


async def probe() -> None:
    """Send a few events and give them time."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    made = agent(timeout=1, flush_interval=1)
    await made.start()
    for number in range(EVENTS):
        await made.send_event(event(number))
    await asyncio.sleep(given()["seconds"])
    tell(None)
    await made.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
