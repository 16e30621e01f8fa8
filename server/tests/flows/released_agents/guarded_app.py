"""An app as its author writes it: FastAPI, fastapi-guard and the agent, plus a back door for the test that runs it.

It runs in the environment of its row, so it imports nothing of this repository. ``argv[1]`` is a JSON object:
``port_file`` (where the app writes its port), ``security`` (the keywords of ``SecurityConfig``) and ``old_adapter``
(fastapi-guard 4, which leaves it to the app to start the agent and to apply rules). Behind ``/-/`` the app tells what
went into the agent's ``send_event`` and ``send_metric`` and what every request of the agent was answered, and makes it
send or ask now instead of at its next interval.
"""

import importlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from guard import SecurityConfig, SecurityMiddleware  # type: ignore[import-not-found] # of the row's environment

FIELDS = {
    "event": ("timestamp", "event_type", "ip_address", "action_taken", "reason", "endpoint", "method"),
    "metric": ("timestamp", "metric_type", "value", "tags"),
}  # adapters also hand over objects that are no models of the agent's

package: Any = importlib.import_module("guard_agent")  # whichever the environment has
given = json.loads(sys.argv[1])
produced: dict[str, list[Any]] = {"event": [], "metric": []}
answers: list[tuple[str, str, int]] = []
agents: list[Any] = []
config = SecurityConfig(**given["security"])
HANDLERS = "guard.handlers" if given["old_adapter"] else "guard_core.handlers"
RULES: Any = importlib.import_module(f"{HANDLERS}.dynamic_rule_handler").DynamicRuleManager


def listen_to(kind: str) -> None:
    """Note each item that enters the agent, as it is."""
    handler = package.GuardAgentHandler
    send = getattr(handler, f"send_{kind}")

    def heard(agent: Any, item: Any) -> Any:
        if agent not in agents:
            agents.append(agent)
        produced[kind].append({name: getattr(item, name, None) for name in FIELDS[kind]})
        return send(agent, item)

    setattr(handler, f"send_{kind}", heard)


def listen_to_answers() -> None:
    """Note the status of every answer; 0 where there was none."""
    send = httpx.AsyncClient.send

    async def heard(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        status = 0
        try:
            answer = await send(client, request, **options)
            status = answer.status_code
        finally:
            answers.append((request.method, request.url.path, status))
        return answer

    httpx.AsyncClient.send = heard  # type: ignore[method-assign, assignment] # the app listens to its own agent


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Start and stop the agent where the adapter of the row does not."""
    if not given["old_adapter"]:
        yield
        return
    agent = package.guard_agent(config.to_agent_config())
    await agent.start()
    await RULES(config).initialize_agent(agent)
    yield
    await agent.stop()


listen_to("event")
listen_to("metric")
listen_to_answers()
app = FastAPI(lifespan=lifespan)
app.add_middleware(SecurityMiddleware, config=config)
back = FastAPI()


@app.get("/")
@app.get("/limited")
@app.get("/search")
@app.get("/file")
@app.get("/items/{number}")
@app.post("/login")
async def page(request: Request) -> dict[str, str]:
    """Answer every path alike: what happens before is under test."""
    return {"path": request.url.path}


@back.get("/-/said")
async def said() -> dict[str, Any]:
    """Tell what the agent was given, what its requests were answered, and what it counts."""
    stats = agents[0].get_stats() if agents else {}
    return {"produced": produced, "answers": answers, "stats": json.loads(json.dumps(stats, default=str))}


@back.post("/-/flush")
async def flush() -> None:
    """Send what waits."""
    await agents[0].flush_buffer()


@back.post("/-/status")
async def status() -> None:
    """Report the agent's state."""
    agent = agents[0]
    if transport := getattr(agent, "transport", None):
        await transport.send_status(await agent.get_status())


@back.post("/-/poll")
async def poll() -> dict[str, Any]:
    """Ask for rules now, past the agent's cache, and let the adapter apply them as its own loop does."""
    agent = agents[0]
    if transport := getattr(agent, "transport", None):
        agent.get_dynamic_rules = transport.fetch_dynamic_rules
    manager = RULES(config)
    await manager.update_rules()
    rules = manager.current_rules
    return {"rule_id": rules.rule_id, "version": rules.version} if rules else {}


async def house(scope: Any, receive: Any, send: Any) -> None:
    """Lead to the back door, of which guard and agent know nothing, or to the app."""
    door = back if scope.get("path", "").startswith("/-/") else app
    await door(scope, receive, send)


with socket.create_server(("127.0.0.1", 0)) as door:
    draft = Path(given["port_file"] + ".new")
    draft.write_text(str(door.getsockname()[1]))
    draft.rename(given["port_file"])
    uvicorn.Server(uvicorn.Config(house, log_level="warning")).run(sockets=[door])
