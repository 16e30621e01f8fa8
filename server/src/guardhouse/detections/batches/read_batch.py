"""Read the body of a batch: what is wrong with one item is that item's error, what is wrong with all refuses all."""

from dataclasses import dataclass
from typing import Any, Final

from guardhouse.detections.decode_body import decode
from guardhouse.detections.read_request import (
    MemberInvalid,
    ObjectExpected,
    Refused,
    Wanted,
    url_of,
    wanted_of,
)
from guardhouse.foundation.errors import Problem

MOST_ITEMS: Final = 1_000
MOST_AT_ONCE: Final = 100  # answered in the request
MOST_CHARACTERS: Final = 1_000_000
MOST_ID: Final = 200
_SHARED: Final = ("config", "policy", "channel")
_TOP: Final = frozenset({"requests", "webhook_url", *_SHARED})


class BatchSize(Refused):
    """A batch has 1 to 1,000 items."""

    status, code, title = 422, "batch_size", "Batch of a wrong size"
    remediation = "Send 1 to 1,000 items in `requests`."


class DuplicateItem(Refused):
    """Two items have the same id, so their results could not be told apart."""

    status, code, title = 422, "duplicate_item", "Two items have the same id"
    remediation = "Give each item an id of its own, or none."


class BatchTooLong(Problem):
    """The texts of a batch have more than 1,000,000 code points together."""

    status, code, title = 413, "batch_too_long", "Batch too long"
    remediation = "Split the batch; `limit` and `length` count code points."


@dataclass(frozen=True, slots=True)
class Item:
    """One text of a batch, or why it cannot be one; ``name`` is its own id, ``asked`` what it says."""

    name: str | None
    wanted: Wanted | Problem
    asked: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as asked for, in the order given."""

    items: list[Item]
    webhook_url: str | None = None
    warnings: tuple[str, ...] = ()


def read_batch(body: bytes) -> Batch:
    """Read the body of ``POST /detect/batch``.

    Raises:
        InvalidJson: as for a single text.
        BatchSize, DuplicateItem, BatchTooLong, ObjectExpected: the whole batch is refused.
    """
    value, warnings, replaced = decode(body)
    if not isinstance(value, dict) or not isinstance(value.get("requests"), list):
        raise BatchSize("The body needs a list `requests`.", "/requests")
    given: list[Any] = value["requests"]
    if not 1 <= len(given) <= MOST_ITEMS:
        raise BatchSize(f"`requests` has {len(given):,} items.", "/requests", limit=MOST_ITEMS)
    _check_ids(given)
    _check_length(given)
    shared = {name: value[name] for name in _SHARED if value.get(name) is not None}
    warnings += [f"unknown_member:{name[:64]}" for name in value if name not in _TOP]
    items = [_item(one, shared, replaced=replaced) for one in given]
    return Batch(items, url_of(value), tuple(warnings))


def _check_ids(given: list[Any]) -> None:
    seen: set[str] = set()
    for place, one in enumerate(given):
        name = one.get("id") if isinstance(one, dict) else None
        if isinstance(name, str):
            if name in seen:
                raise DuplicateItem(
                    f"The id {name[:MOST_ID]!r} is that of two items.", f"/requests/{place}/id"
                )
            seen.add(name)


def _check_length(given: list[Any]) -> None:
    length = sum(
        len(one["text"]) for one in given if isinstance(one, dict) and isinstance(one.get("text"), str)
    )
    if length > MOST_CHARACTERS:
        raise BatchTooLong(
            f"The texts have {length:,} code points together.", limit=MOST_CHARACTERS, length=length
        )


def _item(one: Any, shared: dict[str, Any], *, replaced: bool) -> Item:
    if not isinstance(one, dict):
        return Item(None, ObjectExpected("An item is a JSON object with `text`.", ""), {})
    name = one.get("id")
    if name is not None and (not isinstance(name, str) or len(name) > MOST_ID):
        return Item(None, MemberInvalid(f"`id` is a string of at most {MOST_ID} characters.", "/id"), {})
    own = {member: part for member, part in one.items() if member != "id"}
    if isinstance(own.get("config"), dict) and isinstance(shared.get("config"), dict):
        own["config"] = shared["config"] | own["config"]
    asked = {member: part for member, part in (shared | own).items() if member != "webhook_url"}
    try:
        return Item(name, wanted_of(asked, replaced=replaced), asked)
    except Problem as problem:
        return Item(name, problem, asked)
