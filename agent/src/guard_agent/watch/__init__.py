"""The host agent: collect, spool, sign, send, and count every loss."""

from typing import Final

__version__: Final = "0.1.0"
