"""The one base of every refusal: a Problem becomes RFC 9457 problem+json, its code is stable and documented."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

MAX_LISTED_ERRORS = 100


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """A refusal that a client can act on.

    A subclass per business failure, declared in the file that raises it, sets ``status``, ``code`` (lower
    snake case, unique, stable), ``title`` and ``remediation``. An instance adds what is special to the
    occurrence: ``detail``, ``errors`` (one object per violation, with ``pointer`` or ``parameter``),
    response ``headers`` and extension members.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    remediation: ClassVar[str] = "Try again; if it happens again, report the instance and correlation id."

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        remediation: str | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.extensions = extensions
        self.advice = remediation or self.remediation

    def headers_at(self, public_url: str) -> Mapping[str, str]:  # noqa: ARG002 - for those whose headers link
        """Return the headers of the answer, for a server that is reached at ``public_url``."""
        return self.headers

    def body(self, *, public_url: str, instance: str, correlation_id: str) -> dict[str, Any]:
        """Return the problem document (RFC 9457 §3), at most 100 errors listed and the rest counted."""
        document: dict[str, Any] = {
            "type": f"{public_url}/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "correlation_id": correlation_id,
            "remediation": self.advice,
        }
        if self.errors:
            document["errors"] = list(self.errors[:MAX_LISTED_ERRORS])
            document["error_count"] = len(self.errors)
        return document | {name: value for name, value in self.extensions.items() if name not in document}


def catalogue() -> list[type[Problem]]:
    """Return every declared problem, ordered by code. Features must have been imported before."""
    return sorted({Problem, *_descendants(Problem)}, key=lambda problem: problem.code)


def _descendants(parent: type[Problem]) -> Iterator[type[Problem]]:
    for child in parent.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from _descendants(child)


class InvalidRequest(Problem):
    """The request as a whole cannot be understood."""

    status, code, title = 400, "invalid_request", "Invalid request"
    remediation = "Compare the request with the API reference."


class InvalidJson(Problem):
    """The body is not JSON as RFC 8259 defines it."""

    status, code, title = 400, "invalid_json", "Invalid JSON"
    remediation = "Send one JSON document in UTF-8, without NaN or Infinity."


class NotFound(Problem):
    """No such resource for this tenant; a foreign resource gives the same answer."""

    status, code, title = 404, "not_found", "Not found"
    remediation = "Check the path and the id; resources of other tenants look like absent ones."

    def __init__(self, detail: str = "There is nothing at this address.") -> None:
        super().__init__(detail)


class MethodNotAllowed(Problem):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"
    remediation = "Use one of the methods named in the Allow header."


class NotAcceptable(Problem):
    """No representation satisfies the Accept header."""

    status, code, title = 406, "not_acceptable", "Not acceptable"
    remediation = "Accept application/json."


class RequestTimeout(Problem):
    """The body came too slowly."""

    status, code, title = 408, "request_timeout", "Request timeout"
    remediation = "Send the body without long pauses; use smaller batches on slow links."


class Conflict(Problem):
    """The resource is in a state that does not allow this."""

    status, code, title = 409, "conflict", "Conflict"
    remediation = "Read the resource again and decide anew."


class BodyTooLarge(Problem):
    """The body is over the limit, as sent or decoded."""

    status, code, title = 413, "body_too_large", "Body too large"
    remediation = "Split the request; the limit is in `limit_bytes`."


class UriTooLong(Problem):
    """The request target is over 8 KiB."""

    status, code, title = 414, "uri_too_long", "URI too long"
    remediation = "Shorten the query; use fewer filters per call."


class UnsupportedMediaType(Problem):
    """The content type is not one that this operation reads."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"
    remediation = "Send one of the media types in `supported`."


class UnsupportedCoding(Problem):
    """The content coding is not one that this operation reads."""

    status, code, title = 415, "unsupported_coding", "Unsupported content coding"
    remediation = "Send the body plain, or with one of the codings in `supported`."


class ValidationFailed(Problem):
    """Well-formed, but one or more members are wrong; each is listed with its place."""

    status, code, title = 422, "validation_failed", "Validation failed"
    remediation = "Correct the members listed in `errors`."


class UnknownParameter(Problem):
    """A query parameter that this operation does not have."""

    status, code, title = 422, "unknown_parameter", "Unknown query parameter"
    remediation = "Remove or correct the parameters listed in `errors`."


class InvalidText(Problem):
    """A text holds NUL or lone surrogates, which PostgreSQL cannot store."""

    status, code, title = 422, "invalid_text", "Invalid text"
    remediation = "Remove NUL characters and unpaired surrogates."


class HeadersTooLarge(Problem):
    """All headers together are over 32 KiB."""

    status, code, title = 431, "headers_too_large", "Headers too large"
    remediation = "Send fewer or shorter headers."


class Unavailable(Problem):
    """A part that this request needs is away for the moment; nothing was stored."""

    status, code, title = 503, "unavailable", "Unavailable"
    remediation = "Try again after the seconds in Retry-After; the same Idempotency-Key stays good."

    def __init__(self, detail: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class TimedOut(Unavailable):
    """The request took longer than a minute and was given up; whether it happened is not known."""

    status, code, title = 503, "timeout", "Timeout"
    remediation = "Send it again under the same Idempotency-Key, or ask for less at once."


class Draining(Unavailable):
    """This process is shutting down."""

    status, code, title = 503, "draining", "Draining"
    remediation = "Try again; another process, or the next one, will answer."
