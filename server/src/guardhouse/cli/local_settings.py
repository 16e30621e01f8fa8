"""Settings for commands: from the environment, completed from the data folder of a house on this machine."""

import base64
import secrets
from typing import Any

from pydantic import SecretStr, ValidationError

from guardhouse.foundation import postgres_probe
from guardhouse.foundation.data_folder import DataFolder, read_object
from guardhouse.foundation.postgres_probe import Answer
from guardhouse.foundation.postgres_record import read_record
from guardhouse.foundation.postgres_settings import HOST
from guardhouse.foundation.start_error import StartError
from guardhouse.settings import PREFIX, Settings

SECRETS_FILE = "secrets.json"
ADMIN_FILE = "admin.json"
READY_FILE = "ready.json"
STATE_FILE = "state.json"
SECRET_NAMES = ("master_key", "key_peppers")


def read_settings(**given: Any) -> Settings:
    """Read the environment, with ``given`` (None values left out) above it; a wrong value is one sentence."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise StartError(f"The setting {name} is not usable: {first['msg']}.") from error
    except OSError as error:
        raise StartError(f"A secret's file cannot be read: {error.filename}: {error.strerror}.") from error


def local_settings(*, must_run: bool = True) -> Settings:
    """Return the settings of the house of this data folder, also while it runs in another process.

    What the environment names wins; database and secrets that it does not name come from the folder. With
    ``must_run`` a database of the folder that does not run is a :class:`StartError`.
    """
    settings = read_settings()
    known: dict[str, Any] = {}
    record = read_record(settings.data_dir) if settings.database_url is None else None
    if record is not None:
        if must_run and postgres_probe.ask(HOST, record.port) is Answer.SILENT:
            raise StartError(
                f"The house in {settings.data_dir} is not running: start it with `guardhouse up`."
            )
        known["database_url"] = record.login_url
        known["database_owner_url"] = record.owner_url
    if any(getattr(settings, name) is None for name in SECRET_NAMES):
        found = read_object(settings.data_dir / SECRETS_FILE)
        known |= {
            name: found[name] for name in SECRET_NAMES if getattr(settings, name) is None and name in found
        }
    return read_settings(data_dir=settings.data_dir, **known)


def owner_url(settings: Settings) -> str:
    """Return where migrations connect."""
    url = settings.database_owner_url or settings.database_url
    if url is None:
        raise StartError(
            "There is no database here yet: start `guardhouse up` once, or set GUARDHOUSE_DATABASE_URL."
        )
    return url.get_secret_value()


def new_secrets() -> dict[str, str]:
    """Return fresh values for the master key and the peppers of key digests."""
    return {"master_key": _random_text(), "key_peppers": f"p1:{_random_text()}"}


def ensure_secrets(folder: DataFolder, settings: Settings) -> dict[str, str]:
    """Return both secrets: from the environment, else from the folder, which gets fresh ones at first."""
    kept = folder.read(SECRETS_FILE)
    values: dict[str, str] = {}
    for name, fresh in new_secrets().items():
        given: SecretStr | None = getattr(settings, name)
        values[name] = given.get_secret_value() if given else str(kept.get(name, fresh))
        if given is None:
            kept[name] = values[name]
    if kept and kept != folder.read(SECRETS_FILE):
        folder.write(SECRETS_FILE, kept)
    return values


def _random_text() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
