"""Shapes of verdicts on the wire."""

from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.scores.answers.store import Verdict

Word = Literal["confirmed", "false_alarm", "expected"]


class VerdictRequest(BaseModel):
    """What `POST /processes/{process_id}/verdict` takes."""

    model_config = ConfigDict(extra="forbid")

    verdict: Annotated[
        Word,
        Field(
            description="confirmed: it was an attack; false_alarm: it was not, count less of it; "
            "expected: count none of it again."
        ),
    ]
    evidence: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=120)]],
        Field(max_length=64, description="Ids from the explanation; none: all that the process has."),
    ] = []
    note: Annotated[str, Field(min_length=1, max_length=2000)] | None = None


class AnsweredShape(BaseModel):
    """One piece of evidence that a verdict is about; `exe` is null where the program was never told."""

    id: str
    detail: str | None
    exe: str | None
    alphabet: str


class VerdictShape(BaseModel):
    """One verdict of one person on one process; it stands until `ended_at`."""

    id: str
    process_id: str
    verdict: Word
    evidence: list[AnsweredShape]
    note: str | None
    person: str
    given_at: str
    ended_at: str | None
    ended_by: str | None


class VerdictList(BaseModel):
    """One page of verdicts."""

    data: list[VerdictShape]
    pagination: Pagination


def verdict_shape(verdict: Verdict, process_id: str) -> VerdictShape:
    """Return the public form of a verdict."""
    word: Word = msgspec.convert(verdict.verdict, Word)
    return VerdictShape(
        id=str(verdict.verdict_id),
        process_id=process_id,
        verdict=word,
        evidence=[
            AnsweredShape(id=name, detail=detail or None, exe=exe or None, alphabet=alphabet)
            for exe, alphabet, name, detail in verdict.evidence
        ],
        note=verdict.note,
        person=verdict.person,
        given_at=rfc3339(verdict.given_at),
        ended_at=rfc3339(verdict.ended_at) if verdict.ended_at else None,
        ended_by=verdict.ended_by,
    )
