"""Entity tags: whoever edits says which version it saw, and loses no edit of another (RFC 9110 §8.8.3, §13.1.1)."""

from collections.abc import Mapping

from guardhouse.foundation.errors import Problem


class PreconditionFailed(Problem):
    """The resource has changed since the version named in If-Match; both versions are in the problem."""

    status, code, title = 412, "precondition_failed", "Precondition failed"
    remediation = "Read the resource again, apply the change to what is there now, and send its new ETag."


class PreconditionRequired(Problem):
    """This resource is edited with If-Match only."""

    status, code, title = 428, "precondition_required", "Precondition required"
    remediation = "Read the resource and send its ETag as If-Match."


def etag(version: int | str) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def check_match(headers: Mapping[str, str], version: int | str, *, required: bool = False) -> None:
    """Compare If-Match with the version that stands.

    Raises:
        PreconditionFailed: it names other versions only.
        PreconditionRequired: ``required``, and there is no If-Match.
    """
    given = headers.get("if-match")
    if given is None:
        if required:
            raise PreconditionRequired("This change needs an If-Match header.")
        return
    tags = {tag.strip() for tag in given.split(",")}
    if "*" not in tags and etag(version) not in tags:
        raise PreconditionFailed(
            "The resource has changed in between.",
            given=given,
            current=etag(version),
            headers={"ETag": etag(version)},
        )
