"""The database logins of the house and the SQL that creates them, the same for every server.

``guardhouse_owner`` owns the database and runs migrations; ``guardhouse_login`` serves and sees nothing by
itself: each transaction becomes ``guardhouse_tenant`` or ``guardhouse_system``.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

TENANT_ROLE = "guardhouse_tenant"
SYSTEM_ROLE = "guardhouse_system"
_ITERATIONS = 4096  # what PostgreSQL and its drivers expect (RFC 7677 §4)


@dataclass(frozen=True, slots=True)
class Login:
    """A role that may log in, with its password in clear; it leaves this process only as a verifier."""

    name: str
    password: str


def scram_verifier(password: str) -> str:
    """Return ``password`` as PostgreSQL stores it (RFC 5803), so that no statement or log carries it in clear."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def role_statements(owner: Login, login: Login) -> list[str]:
    """Return the statements, each safe to repeat, that create both logins and the roles they become."""
    statements = [_create_role(role, "NOLOGIN") for role in (TENANT_ROLE, SYSTEM_ROLE)]
    statements += [
        _create_role(owner.name, "LOGIN"),
        _create_role(login.name, "LOGIN NOINHERIT"),
        f"ALTER ROLE {owner.name} LOGIN PASSWORD '{scram_verifier(owner.password)}'",
        f"ALTER ROLE {login.name} LOGIN NOINHERIT PASSWORD '{scram_verifier(login.password)}'",
        f"GRANT {TENANT_ROLE}, {SYSTEM_ROLE} TO {login.name}",
        f"GRANT {TENANT_ROLE}, {SYSTEM_ROLE} TO {owner.name} WITH ADMIN OPTION",
    ]
    return statements


def database_statements(database: str, owner: str, login: str) -> list[str]:
    """Return psql's statements, each safe to repeat, that create the database for these two logins alone."""
    known = f"SELECT FROM pg_database WHERE datname = '{database}'"
    return [
        f"SELECT 'CREATE DATABASE {database} OWNER {owner}' WHERE NOT EXISTS ({known}) \\gexec",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {login}",
    ]


def _create_role(name: str, options: str) -> str:
    # Two sessions may create the same role at once: the loser sees either of the two conditions.
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') "
        f"THEN CREATE ROLE {name} {options}; END IF; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
