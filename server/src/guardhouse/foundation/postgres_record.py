"""What the data folder remembers of its PostgreSQL: place, port and passwords, in one 0600 file."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from guardhouse.foundation.data_folder import DataFolder, read_object
from guardhouse.foundation.postgres_settings import HOST
from guardhouse.foundation.start_error import StartError

FILE = "postgres.json"
DATABASE = "guardhouse"
SUPERUSER, OWNER, LOGIN = "postgres", "guardhouse_owner", "guardhouse_login"


@dataclass(frozen=True, slots=True)
class Record:
    """One cluster. ``roles_made`` says that its logins and its database exist."""

    home: str
    port: int
    passwords: dict[str, str]
    roles_made: bool = False

    @property
    def owner_url(self) -> str:
        """Where migrations connect."""
        return self.url(OWNER, DATABASE)

    @property
    def login_url(self) -> str:
        """Where server and worker connect."""
        return self.url(LOGIN, DATABASE)

    def url(self, user: str, database: str) -> str:
        """Return SQLAlchemy's address of a database for one of the logins."""
        return f"postgresql+asyncpg://{user}:{quote(self.passwords[user], safe='')}@{HOST}:{self.port}/{database}"


def new_record(home: Path, port: int) -> Record:
    """Return a record with fresh passwords."""
    return Record(str(home), port, {name: os.urandom(18).hex() for name in (SUPERUSER, OWNER, LOGIN)})


def read_record(data_dir: Path) -> Record | None:
    """Return what ``data_dir`` remembers, or None when it never had a cluster; needs no lock."""
    found: dict[str, Any] = read_object(data_dir / FILE)
    try:
        return Record(**found) if found else None
    except TypeError as error:
        raise StartError(
            f"{data_dir / FILE} is not what this version writes: restore it from a backup."
        ) from error


def save_record(folder: DataFolder, record: Record) -> None:
    """Write the record to its folder."""
    folder.write(FILE, asdict(record))
