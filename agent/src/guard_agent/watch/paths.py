"""Where the agent keeps its state, and where a server on the same machine says that it is ready."""

import os
from collections.abc import Mapping
from pathlib import Path


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `$GUARDHOUSE_AGENT_STATE_DIR`, or ours below `$XDG_STATE_HOME` or `~/.local/state`."""
    if given := environment.get("GUARDHOUSE_AGENT_STATE_DIR"):
        return Path(given)
    if home := environment.get("XDG_STATE_HOME"):
        return Path(home) / "guardhouse-agent"
    return Path.home() / ".local" / "state" / "guardhouse-agent"


def ready_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `$GUARDHOUSE_READY_FILE`, else `ready.json` in the server's data folder."""
    if given := environment.get("GUARDHOUSE_READY_FILE"):
        return Path(given)
    if folder := environment.get("GUARDHOUSE_DATA_DIR"):
        return Path(folder) / "ready.json"
    shared = environment.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "guardhouse" / "ready.json"
