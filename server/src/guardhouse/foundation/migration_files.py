"""Where the migration files are, and one word that changes whenever one of them does."""

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def migrations_dir() -> Path:
    """Return the folder of the migrations: inside an installed wheel, else beside ``src`` in a checkout."""
    packaged = _PACKAGE / "migrations"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "migrations"


def fingerprint() -> str:
    """Return the SHA-256 over all migration files: equal means that the schema they make is the same."""
    digest = hashlib.sha256()
    for path in sorted((migrations_dir() / "versions").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def head() -> str:
    """Return the newest revision this code knows: files are numbered along one line (a test compares)."""
    return max(path.name.partition("_")[0] for path in (migrations_dir() / "versions").glob("[0-9]*_*.py"))
