"""Shapes of lists on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from guardhouse.detections.lists.entry import Entry
from guardhouse.detections.lists.store import StoredList
from guardhouse.foundation.pages import Pagination

ListName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$", examples=["known mails"])
]


class ListEntryShape(BaseModel):
    """One exact text by its SHA-256, or a phrase."""

    model_config = ConfigDict(extra="forbid", title="ListEntry")

    kind: Annotated[
        Literal["sha256", "phrase"],
        Field(description="`sha256` is that of one exact text in UTF-8; a `phrase` is found word by word."),
    ]
    value: Annotated[str, Field(min_length=1, max_length=1_000, examples=["our usual footer"])]
    channel: Annotated[Literal["user", "external"] | None, Field(description="null: both.")] = None
    note: Annotated[str | None, Field(max_length=500)] = None
    expires_at: AwareDatetime | None = None


Entries = Annotated[
    list[ListEntryShape],
    Field(max_length=5_000, examples=[[{"kind": "phrase", "value": "our usual footer"}]]),
]


class ListRequest(BaseModel):
    """A list to be made; policies name it."""

    model_config = ConfigDict(extra="forbid", title="NewList")

    name: ListName
    kind: Annotated[
        Literal["allow", "deny"],
        Field(description="Deny goes before allow. An allowed phrase excuses itself and nothing beside it."),
    ]
    entries: Entries = []


class ListChange(BaseModel):
    """What `PATCH` takes: absent members stay; entries are set whole."""

    model_config = ConfigDict(extra="forbid", title="ListChange")

    name: ListName | None = None
    entries: Entries | None = None


class ListShape(BaseModel):
    """A list without its entries."""

    model_config = ConfigDict(title="DetectionListSummary")

    id: UUID
    name: str
    kind: Literal["allow", "deny"]
    version: Annotated[int, Field(description="Its ETag.")]
    entry_count: int
    created_at: datetime
    created_by: str
    changed_at: datetime


class ListDetail(ListShape):
    """A list whole."""

    model_config = ConfigDict(title="DetectionListDetail")

    entries: list[ListEntryShape]


class ListPage(BaseModel):
    """One page of lists."""

    data: list[ListShape]
    pagination: Pagination


def entries_of(shapes: list[ListEntryShape]) -> tuple[Entry, ...]:
    """Return the entries that a body names."""
    return tuple(Entry(one.kind, one.value, one.channel, one.note, one.expires_at) for one in shapes)


def list_shape(stored: StoredList) -> ListShape:
    """Return the public form of a list, without its entries."""
    return ListShape.model_validate(
        {
            "id": stored.id,
            "name": stored.name,
            "kind": stored.kind,
            "version": stored.version,
            "entry_count": len(stored.entries),
            "created_at": stored.created_at,
            "created_by": stored.created_by,
            "changed_at": stored.changed_at,
        }
    )


def list_detail(stored: StoredList) -> ListDetail:
    """Return the public form of a whole list."""
    entries = [
        ListEntryShape(
            kind=one.kind, value=one.value, channel=one.channel, note=one.note, expires_at=one.expires_at
        )
        for one in stored.entries
    ]
    return ListDetail(**list_shape(stored).model_dump(), entries=entries)
