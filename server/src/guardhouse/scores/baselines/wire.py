"""Shapes of baselines on the wire."""

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.analysis.risk.answers import Answers
from guardhouse.analysis.risk.profile import NO_LIMIT, Baseline, habit_factor, q999, ripeness_of
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Instant
from guardhouse.scores.baselines.fold import Learned
from guardhouse.scores.baselines.queries import Program
from guardhouse.scores.baselines.store import StoredBaseline

Share = Annotated[float, Field(ge=0, le=1)]


class ProfileShape(BaseModel):
    """The newest baseline of one program in one group of agents."""

    id: str
    group: str
    exe: str
    alphabet: str
    version: int
    runs: int
    calls: int
    maturity: Annotated[
        Share, Field(description="How much rarity counts; losses of an agent lower it there.")
    ]
    learned_at: str
    halved_at: Annotated[str, Field(description="When its counts were last halved, or begun.")]


class UsualShape(BaseModel):
    """Evidence that learned runs of the program had; `weight` is the share that still counts."""

    id: str
    runs: int
    weight: Share


class AnsweredHereShape(BaseModel):
    """A standing answer of people about evidence of the program."""

    id: str
    detail: str | None
    verdict: str
    times: int


class ProfileDetail(ProfileShape):
    """A baseline with what it holds."""

    usual: list[UsualShape]
    answers: list[AnsweredHereShape]
    edges: Annotated[list[str], Field(description="Programs that it has started.")]
    paths: Annotated[list[str], Field(description="Classes of paths that it has read (r) and written (w).")]
    surprise_limit: Annotated[
        float | None,
        Field(description="Bits under which 99.9 % of its running means lie; null until 500 are known."),
    ]
    waiting: Annotated[
        dict[str, int],
        Field(
            description="Runs not learned yet: `waiting`, or why they stay out: `risk`, `incident`, `loss`."
        ),
    ]


class ProfileList(BaseModel):
    """One page of baselines."""

    data: list[ProfileShape]
    pagination: Pagination


class ProfileQuery(BaseModel):
    """Filters of `GET /risk/profiles`."""

    group: Annotated[str, Field(max_length=200)] | None = None
    exe: Annotated[str, Field(max_length=4096, description="Beginning of the program's path.")] | None = None


class LearnRequest(BaseModel):
    """What `POST /risk/profiles:learn` takes: a group, or the agent whose group is meant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"agent_id": "web-1"}]})

    agent_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    group: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    until: Annotated[Instant | None, Field(description="Learn only runs that ended before.")] = None

    @model_validator(mode="after")
    def one_of_both(self) -> Self:
        """Insist on one name."""
        if (self.agent_id is None) == (self.group is None):
            raise ValueError("name agent_id or group, one of them")
        return self


class LearnedShape(BaseModel):
    """What was learned now; the rest follows where it is too much at once."""

    group: str
    version: int
    learned_at: str
    learned_by: str
    programs: int
    runs: int
    calls: int
    complete: bool


def learned_shape(learned: Learned, *, complete: bool) -> LearnedShape:
    """Return the public form of what was learned."""
    return LearnedShape(
        group=learned.group,
        version=learned.version,
        learned_at=rfc3339(learned.learned_at),
        learned_by=learned.learned_by,
        programs=learned.programs,
        runs=learned.runs,
        calls=learned.calls,
        complete=complete,
    )


def profile_shape(program: Program | StoredBaseline) -> ProfileShape:
    """Return the public form of a baseline."""
    return ProfileShape(
        id=str(program.profile_id),
        group=program.group,
        exe=program.exe,
        alphabet=program.alphabet,
        version=program.version,
        runs=program.runs,
        calls=program.calls,
        maturity=round(ripeness_of(program.calls, program.alphabet) / 1_000_000, 3),
        learned_at=rfc3339(program.learned_at),
        halved_at=rfc3339(program.halved_at),
    )


def profile_detail(found: StoredBaseline, answers: Answers, waiting: dict[str, int]) -> ProfileDetail:
    """Return the public form of a baseline with its content and what people answered about the program."""
    base = Baseline.unpack(json.loads(found.packed))
    limit = q999(base.histogram)
    here = [(place, "expected", 1) for place in answers.expected]
    here += [(place, "false_alarm", times) for place, times in answers.alarms.items()]
    return ProfileDetail(
        **profile_shape(found).model_dump(),
        usual=[
            UsualShape(id=name, runs=runs, weight=habit_factor(runs, base.runs) / 1_000_000)
            for name, runs in sorted(base.hits.items())
        ],
        answers=[
            AnsweredHereShape(id=place.evidence_id, detail=place.detail or None, verdict=verdict, times=times)
            for place, verdict, times in sorted(here)
            if (place.exe, place.alphabet) == (found.exe, found.alphabet)
        ],
        edges=sorted(base.edges),
        paths=sorted(base.paths),
        surprise_limit=None if limit == NO_LIMIT else limit / 1_000_000,
        waiting=waiting,
    )
