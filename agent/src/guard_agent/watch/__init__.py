"""The host agent: collect, spool, sign, send, and count every loss."""

from guard_agent._version import __version__ as __version__
