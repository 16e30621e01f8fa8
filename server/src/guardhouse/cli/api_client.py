"""A few requests to a running house, as any client would make them."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from guardhouse.foundation.start_error import StartError


@dataclass(frozen=True, slots=True)
class ApiClient:
    """One server and one API key."""

    url: str
    api_key: str
    timeout_seconds: float = 15.0

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send one request; returns the status and the JSON document (None when there is none).

        Raises:
            StartError: the server does not answer.
        """
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=self.timeout_seconds)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": "application/json", "X-API-Key": self.api_key, **(headers or {})},
            )
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StartError(f"{self.url} does not answer as it should: {error}.") from error
        finally:
            connection.close()
