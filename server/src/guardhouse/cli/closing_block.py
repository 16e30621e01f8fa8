"""What ``up`` says when everything runs: where it is, how to get in, how to stop it."""

from pathlib import Path
from typing import Any

from guardhouse.cli.local_settings import ADMIN_FILE


def closing_block(ready: dict[str, Any], seconds: float, *, taken: bool) -> str:
    """Return the block for people; ``taken``: port 8000 was somebody else's."""
    url, key = ready["url"], ready["admin_key"]
    moved = "  (port 8000 was taken)" if taken else ""
    return f"""
  Guardhouse is ready after {seconds:.1f} s

    API        {url}{moved}
    Contract   {url}/api/v1/openapi.json
    Admin key  {key}
               of the tenant `{ready["tenant"]}`, kept in {Path(ready["data_dir"]) / ADMIN_FILE}
    Try it     curl -s {url}/api/v1/me -H 'X-API-Key: {key}'
    Data       {ready["data_dir"]}
    Stop       Ctrl+C, or kill {ready["pid"]}
"""
