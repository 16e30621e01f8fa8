# This module belongs to guardhouse-agent.
"""What the library may raise. Capturing an event raises nothing, except `BufferFullError` under the policy `raise`."""


class GuardAgentError(Exception):
    """Any error of the agent."""


class BufferFullError(GuardAgentError):
    """Nothing more fits, and `buffer_overflow_policy` is `raise`."""


class PermanentClientError(GuardAgentError):
    """The collector refused a request with `status_code` in a way that repeating it cannot change."""

    def __init__(self, status_code: int, detail: str = "") -> None:
        super().__init__(f"Permanent client error {status_code}: {detail}")
        self.status_code = status_code
        self.detail = detail


class PayloadTooLargeError(PermanentClientError):
    """The collector said 413: the same items in smaller batches may pass."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(413, detail)
