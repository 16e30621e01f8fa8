"""``guardhouse healthcheck``: exit 0 when a server is ready; for containers, which have no curl."""

import http.client
import json
from typing import Annotated
from urllib.parse import urlsplit

import typer

from guardhouse.cli.local_settings import READY_FILE, read_settings
from guardhouse.foundation.data_folder import read_object
from guardhouse.foundation.start_error import StartError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("healthcheck")(healthcheck)


def healthcheck(
    url: Annotated[
        str | None,
        typer.Option(help="The server; without it the house of the data folder, else the public URL."),
    ] = None,
    timeout_seconds: Annotated[float, typer.Option(help="How long to wait for the answer.")] = 5.0,
) -> None:
    """Say whether the server is ready to serve requests."""
    settings = read_settings()
    place = url or read_object(settings.data_dir / READY_FILE).get("url") or settings.public_url
    reasons = ask(str(place), timeout_seconds)
    if reasons:
        raise StartError(f"{place} is not ready: {', '.join(reasons)}.")
    print(f"{place} is ready.")


def ask(url: str, timeout_seconds: float) -> list[str]:
    """Return why the server at ``url`` is not ready; empty when it is."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return [str(error) or type(error).__name__]
    finally:
        connection.close()
    if answer.status == http.HTTPStatus.OK:
        return []
    try:
        said = json.loads(body)
        return [str(reason) for reason in said.get("reasons") or said["problems"]]  # API or worker
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"it answered {answer.status}"]
