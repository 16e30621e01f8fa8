"""One kept-alive HTTP connection to the server; it knows bytes and headers, nothing of batches."""

import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from guard_agent.watch.answer import Answer

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024


class UnreachableError(Exception):
    """The server could not be asked; the message says why in one clause."""


class ServerAddressError(ValueError):
    """The server's address is no http or https URL."""


class Door:
    """Sends requests to one server, one at a time.

    Raises:
        ServerAddressError: `url` is not `http://host…` or `https://host…`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise ServerAddressError(f"{url} has no valid port") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ServerAddressError(f"{url} is no server address: use http://host:port or https://host")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host, self._port, self._tls = parts.hostname, port, parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, *, timeout_seconds: float
    ) -> Answer:
        """Send one request and read the whole answer (at most 8 MiB).

        Raises:
            UnreachableError: no connection, no answer in time, or no HTTP; the connection is closed then.
        """
        connection = self._connect(timeout_seconds)
        try:
            connection.request(method, self._path + path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES + 1)
            if len(content) > MAX_ANSWER_BYTES or response.will_close:
                self.close()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, content[:MAX_ANSWER_BYTES])
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnreachableError(_clause(error)) from error

    @property
    def is_open(self) -> bool:
        """Tell whether a connection is kept from an earlier request."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._tls:
                context = ssl.create_default_context()
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout_seconds, context=context
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_seconds)
        return self._connection


def _clause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__} {error}".strip()[:200]
