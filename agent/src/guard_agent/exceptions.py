# This module belongs to guardhouse-agent.
"""What the library may raise. Capturing an event raises nothing, except `BufferFullError` under the policy `raise`."""


class GuardAgentError(Exception):
    """Any error of the agent."""


class BufferFullError(GuardAgentError):
    """Nothing more fits, and `buffer_overflow_policy` is `raise`."""


class PermanentClientError(GuardAgentError):
    """The collector refused a request in a way that repeating it cannot change.

    `status_code` is the HTTP status, or None where none was read.
    """

    def __init__(self, *args: object, status_code: int | None = None) -> None:
        super().__init__(*args)
        self.status_code = status_code


class PayloadTooLargeError(PermanentClientError):
    """The collector said 413: the same items in smaller batches may pass."""
