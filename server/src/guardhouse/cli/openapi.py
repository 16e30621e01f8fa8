"""``guardhouse openapi``: the API's document as canonical JSON, without a database or a running server."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from guardhouse.cli.local_settings import new_secrets, read_settings
from guardhouse.foundation.resources import open_resources
from guardhouse.foundation.start_error import StartError
from guardhouse.http import contract
from guardhouse.http.app import create_app


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("openapi")(openapi)


def openapi(
    out: Annotated[Path | None, typer.Option(help="Write to this file; without it to the output.")] = None,
) -> None:
    """Print the OpenAPI document: keys sorted, so that equal APIs give equal bytes."""
    text = json.dumps(asyncio.run(_document()), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"{out} cannot be written: {error.strerror}.") from error


async def _document() -> dict[str, Any]:
    # Nothing connects: the application is assembled, not started.
    settings = read_settings(
        database_url=SecretStr("postgresql://nowhere.invalid/none"),
        public_url="http://127.0.0.1:8000",
        **{name: SecretStr(value) for name, value in new_secrets().items()},
    )
    async with open_resources(settings) as resources:
        return contract.document(create_app(resources))
