"""What SIGTERM right after an attack costs, under uvicorn: with a collector that answers, and with one that is away.

`python bench/agent/sigterm.py [--full]`: 4 or 8 runs a side and case. With the collector away the app is started again
once it is back; what has not arrived then is lost.
"""

import asyncio
import sys
import tempfile
import time
import urllib.request

RUNS = {False: 4, True: 8}
AGAIN_SECONDS = 4.0


def main() -> None:
    """Count what is lost on both sides."""
    from _collector import collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, finish, full, sides, start  # noqa: PLC0415

    long, places = full(), sides()
    lost: dict[str, list[float]] = {side: [] for side in places}
    for side, python in places.items():
        gone = {True: 0, False: 0}
        for number in range(RUNS[long]):
            for healthy in (True, False):
                with collector() as found, tempfile.TemporaryDirectory(prefix="agent-bench-") as home:
                    asked = {"url": found.url, "key": KEY}
                    process = start(python, __file__, asked, home)
                    assert process.stdout is not None
                    port = int(process.stdout.readline())
                    if not healthy:
                        found.refuse()
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/attack/{number}", timeout=10).read()
                    process.terminate()
                    process.communicate(timeout=60)
                    if not healthy:
                        found.listen()
                        again = start(python, __file__, asked, home)
                        time.sleep(AGAIN_SECONDS)
                        again.terminate()
                        again.communicate(timeout=60)
                    arrived = {item["metadata"]["n"] for item in found.taken_items() if "metadata" in item}
                    gone[healthy] += number not in arrived
        print(f"{side}: of {RUNS[long]} runs lost with the collector there {gone[True]}, away {gone[False]}")
        lost[side] = [gone[True] + gone[False]]
    finish("agent_sigterm_lost", lost, f"of {2 * RUNS[long]} runs", must=0, better="lower")


def probe() -> None:
    """Serve an app whose one route reports an attack."""
    import socket  # noqa: PLC0415 -- in the side's environment
    from contextlib import asynccontextmanager  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415
    from _probe import agent, event, tell  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415

    @asynccontextmanager
    async def lifespan(_app: FastAPI):  # type: ignore[no-untyped-def] # noqa: ANN202
        app.state.agent = agent(timeout=2, flush_interval=30)
        await app.state.agent.start()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/attack/{number}")
    async def attack(number: int) -> dict[str, int]:
        await app.state.agent.send_event(event(number, "penetration_attempt"))
        return {"n": number}

    async def serve() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
                await asyncio.sleep(0.01)
            tell(listener.getsockname()[1])
            await serving

    asyncio.run(serve())


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        probe()
    else:
        main()
