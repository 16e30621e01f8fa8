"""What ``up`` says when everything runs: where it is, how to get in, how to stop it."""

from pathlib import Path
from typing import Any

from guardhouse.cli.local_settings import ADMIN_FILE


def closing_block(ready: dict[str, Any], database: Path | None, seconds: float, *, taken: bool) -> str:
    """Return the block for people.

    ``database`` is the folder of our own database; ``taken`` says that port 8000 was somebody else's.
    """
    url, key = ready["url"], ready["admin_key"]
    moved = "  (port 8000 was taken)" if taken else ""
    data_dir = Path(ready["data_dir"])
    apart = (
        f"\n               its database in {database}"
        if database and data_dir not in database.parents
        else ""
    )
    return f"""
  Guardhouse is ready after {seconds:.1f} s

    API        {url}{moved}
    Contract   {url}/api/v1/openapi.json
    Admin key  {key}
               of the tenant `{ready["tenant"]}`, kept in {data_dir / ADMIN_FILE}
    Try it     curl -s {url}/api/v1/me -H 'X-API-Key: {key}'
    Data       {data_dir}{apart}
    Stop       Ctrl+C, or kill {ready["pid"]}
"""
