r"""Kill -9 under load, again and again, and then count: nothing acknowledged is lost, nothing is there twice.

A platform of its own (PostgreSQL, API, worker) takes batches from senders that repeat whatever was not answered,
under the same key. At random moments one of its processes is killed. At the end every acknowledged event must be
stored exactly once, positions without gaps, everything scored, each score and incident what the stored events give,
and each notice there exactly once. Usage: `python server/tests/faults/kill_loop.py --kills 500 --seed 1`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import httpx
import psutil
from pydantic import SecretStr

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import process_id
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events import partitions
from guardhouse.events.identify import identifier
from guardhouse.events.read import read_after
from guardhouse.foundation import migrate
from guardhouse.foundation.data_folder import DataFolder
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys, tenants
from guardhouse.scores.incidents.book import Book, Tale
from guardhouse.scores.process_key import key_text
from guardhouse.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[3]))  # as a program it is not run from a package
from server.tests.faults.kill_load import PATIENCE_SECONDS, Agent, Load, Told

PARTS = ("serve", "work")
VICTIMS = {"serve": 3, "work": 3, "postmaster": 4, "backend": 6}  # how often; Python processes start slowly
PROGRESS_SECONDS = 6.0


@dataclass
class Report:
    """What a run found; ``faults`` is empty when everything held."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    agents: int = 0
    events: int = 0
    batches: int = 0
    retries: int = 0
    replays: int = 0
    processes: int = 0
    score_rows: int = 0
    incidents: int = 0
    notices: int = 0
    scored_after_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Parts:
    """PostgreSQL, API and worker; whatever was killed is started again at once."""

    def __init__(self, folder: Path, postgres: EmbeddedPostgres) -> None:
        self.folder = folder
        self.postgres = postgres
        self.port = _free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.secrets = {
            "master_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "key_peppers": "kill:" + urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }

    def settings(self) -> Settings:
        return Settings(
            database_url=SecretStr(self.postgres.login_url),
            data_dir=self.folder,
            master_key=SecretStr(self.secrets["master_key"]),
            key_peppers=SecretStr(self.secrets["key_peppers"]),
        )

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "guardhouse.cli.main", name]
        if name == "serve":
            command += ["--host", "127.0.0.1", "--port", str(self.port)]
        given = {
            "DATABASE_URL": self.postgres.login_url,
            "DATA_DIR": str(self.folder),
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "LOG_LEVEL": "warning",
            "WORKER_METRICS_PORT": "0",
        } | {key.upper(): value for key, value in self.secrets.items()}
        environment = {n: v for n, v in os.environ.items() if not n.startswith("GUARDHOUSE_")}
        environment |= {f"GUARDHOUSE_{key}": value for key, value in given.items()}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self, victim: str, draw: Random) -> bool:
        """Kill -9 one process and start it again; False when there is none to kill just now."""
        if victim in PARTS:
            process = self.processes[victim]
            if process.poll() is not None:
                return False
            process.kill()
            process.wait()
            self.start(victim)
            return True
        pid = self.postgres.pid
        if pid is None:
            return False
        with contextlib.suppress(psutil.Error):
            target = psutil.Process(pid)
            if victim == "backend":
                backends = [p for p in target.children() if "guardhouse_login" in " ".join(p.cmdline())]
                if not backends:
                    return False
                target = draw.choice(backends)
            target.send_signal(signal.SIGKILL)
            return True
        return False

    def look_after(self) -> None:
        """Start again what has ended by itself or was killed."""
        if self.postgres.has_exited():
            self.postgres.stop(fast_seconds=1.0)
            self.postgres.start()
        for name in PARTS:
            if self.processes[name].poll() is not None:
                self.start(name)

    def end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run(
    kills: int, seed: int, *, longest_pause: float = 2.0, most_seconds: float = 1e9, say: bool = False
) -> Report:
    """Do one whole run and return what it found; after ``most_seconds`` nothing more is killed."""
    report = Report(seed)
    draw = Random(seed)
    begun = time.monotonic()
    with _platform() as (parts, key):
        load = Load(parts.port, key, seed)
        load.start()
        try:
            done: Counter[str] = Counter()
            while done.total() < kills and load.is_alive() and time.monotonic() - begun < most_seconds:
                _wait_for_load(parts, load, draw.uniform(0.0, longest_pause))
                (victim,) = draw.choices([*VICTIMS], [*VICTIMS.values()])
                done[victim] += parts.kill(victim, draw)
                if say:
                    counts = {**done, **load.count, "faults": len(load.faults)}
                    print(f"{time.monotonic() - begun:6.0f} s  {done.total()} kills {counts}", flush=True)
            report.kills = dict(sorted(done.items()))
        finally:
            load.stopped.set()
            while load.is_alive():
                parts.look_after()
                load.join(0.05)
        report.faults += load.faults
        report.batches, report.retries = load.count["batches"], load.count["retries"]
        report.replays = load.count["replays"]
        asyncio.run(_check(parts, key, load.told, report))
        for log in (parts.folder / f"{name}.log" for name in PARTS):
            if "Traceback" in (text := log.read_text(errors="replace")):
                report.faults.append(f"{log.name} has a traceback: …{text[text.index('Traceback') :][:1500]}")
    report.seconds = round(time.monotonic() - begun, 1)
    return report


def _wait_for_load(parts: Parts, load: Load, pause: float) -> None:
    """Wait until batches are taken again (a kill of what does nothing shows nothing), and a random moment more."""
    before, latest = load.count["batches"], time.monotonic() + PROGRESS_SECONDS
    while load.count["batches"] == before and time.monotonic() < latest:
        parts.look_after()
        time.sleep(0.02)
    until = time.monotonic() + pause
    while time.monotonic() < until:
        parts.look_after()
        time.sleep(0.02)


@contextlib.contextmanager
def _platform() -> Iterator[tuple[Parts, str]]:
    with tempfile.TemporaryDirectory(prefix="guardhouse-kill-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with DataFolder.open(folder) as locked, EmbeddedPostgres(locked) as postgres:
            migrate.upgrade(postgres.owner_url)
            parts = Parts(folder, postgres)
            key = asyncio.run(_make_key(parts))
            for part in PARTS:
                parts.start(part)
            try:
                yield parts, key
            finally:
                parts.end()


async def _make_key(parts: Parts) -> str:
    async with open_resources(parts.settings()) as resources, system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, resources.clock.now().date())
        tenant = await tenants.create_tenant(tx, resources.clock, "kill", "Kill")
        wanted = keys.NewKey("kill")
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, wanted, created_by="kill"
        )
        return text


async def _check(parts: Parts, key: str, told: dict[str, Told], report: Report) -> None:
    async with open_resources(parts.settings()) as resources:
        await _wait_until_scored(parts, resources, report)
        async with system_transaction(resources.database) as tx:
            rows = await tx.fetch(
                "SELECT agent_no, agent_id, next_position, tenant_id FROM host_agents ORDER BY agent_no"
            )
        agents = {row["agent_id"]: Agent(*row) for row in rows}
        if set(agents) != set(told):
            report.faults.append(f"agents differ: {set(agents) ^ set(told)}")
        report.agents = len(agents)
        for name, agent in agents.items():
            await _check_agent(resources, agent, told.get(name, Told()), report)
        await _check_notices_by_count(resources, report)
    await _check_recalculation(parts, key, report)


async def _wait_until_scored(parts: Parts, resources: Resources, report: Report) -> None:
    begun = time.monotonic()
    while True:
        parts.look_after()
        async with system_transaction(resources.database) as tx:
            waiting = await tx.fetch_value(
                "SELECT count(*) FROM host_agents a LEFT JOIN score_cursors c USING (agent_no)"
                " WHERE a.next_position - 1 > coalesce(c.position, 0)"
            )
        if waiting == 0:
            break
        if time.monotonic() - begun > PATIENCE_SECONDS:
            report.faults.append(f"{waiting} agents are not scored")
            break
        await asyncio.sleep(0.1)
    report.scored_after_seconds = round(time.monotonic() - begun, 2)


async def _check_agent(resources: Resources, agent: Agent, told: Told, report: Report) -> None:
    """Replay an agent's stored events and compare everything that was made of them while things died."""
    name, agent_no = agent.name, agent.no
    engine, book = AgentEngine(RuleSet.builtin()), Book(identifier(str(agent.tenant_id), name))
    rows, ids, positions = [], [], []
    async with system_transaction(resources.database) as tx:
        events = await read_after(tx, agent_no, 0, 100_000)
        stored_rows = await tx.fetch(
            "SELECT position, key, risk, tree_risk, risk_score, band, reasons FROM scores WHERE agent_no = $1"
            " ORDER BY position, key",
            agent_no,
        )
        stored_notices = await tx.fetch(
            "SELECT notice_id, subject_seq, data->>'process_id' AS process_id, data->>'band' AS band FROM notices"
            " WHERE kind LIKE 'risk.%' AND data->>'agent_id' = $1 ORDER BY notice_id",
            name,
        )
        stored_incidents = await tx.fetch(
            "SELECT incident_id, status, opened_position, risk, peak_risk, version FROM risk_incidents"
            " WHERE agent_no = $1 ORDER BY incident_id",
            agent_no,
        )
        stored_lines = await tx.fetch(
            "SELECT l.incident_id, l.band, l.evidence_id, l.notice_id, l.number FROM risk_incident_notices l"
            " JOIN risk_incidents i USING (incident_id) WHERE i.agent_no = $1 ORDER BY 1, 5",
            agent_no,
        )
    for event in events:
        ids.append(event.event_id.hex())
        positions.append(event.position)
        effects = engine.apply(event)
        if effects is not None:
            rows += [
                (r.position, key_text(r.key), r.risk, r.tree_risk, r.risk_score, r.band, list(r.reasons))
                for r in effects.rows
            ]
            for c in effects.crossings:
                book.take(Tale(c, process_id(name, c.root), process_id(name, c.process)))
    incidents = [
        (i.id, i.status, i.opened_position, i.risk, i.peak_risk, i.version) for i in book.changed.values()
    ]
    lines = [(*w.line.told, w.notice_id, w.number) for w in book.words if w.line is not None]
    notices = [(w.notice_id, w.number, w.tale.process_id, w.tale.crossing.band) for w in book.words]
    found = [
        (len(events) == told.sent, f"{len(events)} stored, {told.sent} sent"),
        (set(ids) == told.acknowledged and len(ids) == len(set(ids)), "stored is not what was acknowledged"),
        (positions == list(range(1, agent.next_position)), "positions have gaps"),
        ([tuple(row) for row in stored_rows] == sorted(rows, key=lambda r: r[:2]), "score rows differ"),
        ([tuple(row) for row in stored_incidents] == sorted(incidents), "incidents differ"),
        ([tuple(row) for row in stored_lines] == sorted(lines, key=lambda n: (n[0], n[4])), "lines differ"),
        ([tuple(row) for row in stored_notices] == sorted(notices), "notices differ"),
    ]
    report.faults += [f"{name}: {what}" for held, what in found if not held]
    report.events += len(events)
    report.score_rows += len(stored_rows)
    report.incidents += len(stored_incidents)
    report.notices += len(stored_notices)


async def _check_notices_by_count(resources: Resources, report: Report) -> None:
    async with system_transaction(resources.database) as tx:
        count = await tx.fetch_value("SELECT count(*) FROM notices WHERE kind LIKE 'risk.%'")
        twice = await tx.fetch_value("SELECT count(*) - count(DISTINCT notice_id) FROM notices")
    if count != report.notices or twice:
        report.faults.append(f"{count} notices, {report.notices} expected, {twice} ids twice")


async def _check_recalculation(parts: Parts, key: str, report: Report) -> None:
    """Ask the API itself whether each process's state is what its events give."""
    base = f"http://127.0.0.1:{parts.port}/api/v1"
    async with httpx.AsyncClient(headers={"X-API-Key": key}, timeout=60.0, trust_env=False) as client:
        cursor: dict[str, str] = {}
        await _wait_until_it_answers(parts, client, f"{base}/processes")
        while True:
            answer = await client.get(f"{base}/processes", params={"limit": "1000", **cursor})
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # connections from before the last kill
                continue
            page = answer.json()
            for process in page["data"]:
                report.processes += 1
                answer = await client.post(f"{base}/scores:recalculate", json={"process_id": process["id"]})
                said = answer.json()
                if answer.status_code != httpx.codes.OK or said["recalculation"]["equal"] is not True:
                    report.faults.append(
                        f"{process['id']}: recalculated {answer.status_code} {str(said)[:300]}"
                    )
            if not page["pagination"]["has_more"]:
                return
            cursor = {"cursor": page["pagination"]["cursor"]}


async def _wait_until_it_answers(parts: Parts, client: httpx.AsyncClient, url: str) -> None:
    """Wait until the API is up again: it may have been killed last of all, and a busy machine starts it slowly."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        parts.look_after()
        with contextlib.suppress(httpx.TransportError):
            if (await client.get(url)).status_code == httpx.codes.OK:
                return
        await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


def main() -> None:
    """Run as a program and print the report; the exit status is 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--longest-pause", type=float, default=2.0, help="seconds under load before a kill, at most"
    )
    parser.add_argument("--most-seconds", type=float, default=1e9, help="kill nothing more after this time")
    asked = parser.parse_args()
    report = run(
        asked.kills, asked.seed, longest_pause=asked.longest_pause, most_seconds=asked.most_seconds, say=True
    )
    print(json.dumps(asdict(report) | {"python": platform.python_version()}, indent=2))
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
