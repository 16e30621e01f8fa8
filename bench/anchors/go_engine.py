"""A stub of a remote detection engine: the Go engine's contract and nothing behind it.

It answers in one packet: head and body in two would wait for each other for 40 ms.
Usage: `python bench/anchors/go_engine.py <port>`.
"""

import asyncio
import sys

BODY = (
    b'{"is_malicious":false,"confidence":0.04,"threat_types":null,"processing_time_ms":1,"endpoint":"stub"}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Engine(asyncio.Protocol):
    """Answers whatever comes: requests are small and come one after another on a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection and what is missing of a request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            whole = end + 4 + (int(rest.split(b"\r\n")[0]) if found else 0)
            if len(self.waiting) < whole:
                return
            self.waiting = self.waiting[whole:]
            self.transport.write(ANSWER)


async def main() -> None:
    """Listen until killed."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
