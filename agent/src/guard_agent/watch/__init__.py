"""The host agent: collect, spool, sign, send, and count every loss."""
