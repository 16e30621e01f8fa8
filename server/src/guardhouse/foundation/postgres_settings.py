"""How the embedded PostgreSQL is set: durable, small, on loopback alone, and quiet about what it stores."""

from collections.abc import Mapping

HOST = "127.0.0.1"
SETTINGS_FILE = "guardhouse.conf"
INCLUDE = f"\ninclude '{SETTINGS_FILE}'  # rewritten at every start; what stands below wins\n"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",  # a file per weekday, overwritten a week later
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a failed statement may carry telemetry
    "jit": "off",
}


def render(settings: Mapping[str, str]) -> str:
    """Return ``settings`` as the text of a configuration file."""
    quoted = ((name, value.replace("'", "''")) for name, value in settings.items())
    return "".join(f"{name} = '{value}'\n" for name, value in quoted)
