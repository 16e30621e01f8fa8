"""Where an agent keeps what must outlive its process: the first folder that it can really write to."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guard_agent.config import AgentConfig


def find_state_dir(config: AgentConfig) -> Path | None:
    """Return the state folder, made with mode 0700; None where no candidate can be written."""
    for folder in _candidates(config):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = folder / f".probe-{os.getpid()}-{os.urandom(4).hex()}"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError:
            continue
        return folder
    return None


def spool_root(state_dir: Path, config: AgentConfig) -> Path:
    """Return the folder of all instances that send to one endpoint and project."""
    named = f"{config.endpoint}\n{config.project_id or ''}"
    return state_dir / "spool" / hashlib.sha256(named.encode()).hexdigest()[:16]


def _candidates(config: AgentConfig) -> Iterator[Path]:
    if config.state_dir is not None:
        yield config.state_dir
        return
    if named := os.environ.get("GUARD_AGENT_STATE_DIR"):
        yield Path(named)
    if state := os.environ.get("XDG_STATE_HOME"):
        yield Path(state) / "guard-agent"
    with contextlib.suppress(RuntimeError):  # there is no home folder
        yield Path.home() / ".guard-agent"
    yield Path(tempfile.gettempdir()) / f"guard-agent-{os.getuid()}"
