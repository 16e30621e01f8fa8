# This module belongs to guardhouse-agent.
"""The version of this distribution, and the released interface it keeps."""

from typing import Final

__version__: Final = "0.1.0"
# The version of the released package `guard-agent` whose names, signatures and wire shapes this library has.
API_LEVEL: Final = "3.2.4"
USER_AGENT: Final = f"guardhouse-agent/{__version__} (guard-agent-api {API_LEVEL})"
