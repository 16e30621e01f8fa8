"""The listening socket, opened by whoever decides on the port and kept while servers behind it come and go."""

import contextlib
import errno
import socket

from guardhouse.foundation.start_error import StartError

DEFAULT_PORT = 8000
_NEXT_PORTS = 100
_BACKLOG = 2048


def open_listener(host: str, port: int | None) -> socket.socket:
    """Listen on ``host``: on the named ``port`` (0: any free one), or without a name on 8000 or the next free one."""
    candidates = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + _NEXT_PORTS)
    for candidate in candidates:
        with contextlib.suppress(_PortTakenError):
            return _listen(host, candidate)
    if port is not None:
        raise StartError(
            f"Port {port} on {host} is taken: stop what uses it or name another one with --port."
        )
    raise StartError(
        f"No port from {DEFAULT_PORT} to {DEFAULT_PORT + _NEXT_PORTS - 1} on {host} is free: name one with --port."
    )


def url_of(listener: socket.socket) -> str:
    """Return the address at which this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - recognised, not bound here
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _PortTakenError(Exception):
    pass


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise StartError(f"{host} port {port} is no address of this machine: correct --host.") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise _PortTakenError from error
        if error.errno == errno.EACCES:
            raise StartError(
                f"This user may not listen on port {port}: name one above 1023 with --port."
            ) from error
        raise StartError(f"{host} port {port} cannot be used: {error.strerror}.") from error
    return listener
