"""The pack ``decision``: which option, how firmly, and what is missing. It never invents a score."""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from guardhouse.analysis.decision.model import Criterion, Model, Spread, weights_of
from guardhouse.analysis.decision.question import CRITERIA, options_of
from guardhouse.analysis.decision.sensitivity import DRAWS, Sensitivity, examine
from guardhouse.analysis.decision.value import Worth, weigh
from guardhouse.runs.pack import Line, PackContext, PackResult, Price, Quote, Timebox

BRIEF_MICROS: Final = 10_000
DETAILED_MICROS: Final = 20_000
CELL_MICROS: Final = 500
FREE_CELLS: Final = 20
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Number = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


class CriterionIn(BaseModel):
    """One thing that matters. The scale is declared, not taken from the scores."""

    model_config = ConfigDict(extra="forbid", title="DecisionCriterion")

    name: _Name
    low: _Number = 0
    high: _Number = 10
    direction: Annotated[Literal["max", "min"], Field(description="Which end of the scale is good.")] = "max"
    weight: Annotated[float | None, Field(ge=0, le=1e6, allow_inf_nan=False)] = None
    rank: Annotated[int | None, Field(ge=1, le=20, description="1 is the most important.")] = None
    veto: Annotated[_Number | None, Field(description="An option that scores worse than this is out.")] = None

    @model_validator(mode="after")
    def _scale_has_two_ends(self) -> "CriterionIn":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class SpreadIn(BaseModel):
    """A score that is not certain."""

    model_config = ConfigDict(extra="forbid", title="DecisionSpread")

    low: _Number
    likely: _Number
    high: _Number

    @model_validator(mode="after")
    def _in_order(self) -> "SpreadIn":
        if not self.low <= self.likely <= self.high:
            raise ValueError("low, likely and high must be in this order")
        return self


class OptionIn(BaseModel):
    """One way to go, with its scores by criterion; what is null or absent is unknown."""

    model_config = ConfigDict(extra="forbid", title="DecisionOption")

    name: _Name
    scores: Annotated[dict[str, _Number | SpreadIn | None], Field(max_length=20)] = Field(
        default_factory=dict
    )


class DecisionInputs(BaseModel):
    """What is to be decided."""

    model_config = ConfigDict(extra="forbid", title="DecisionInputs")

    question: Annotated[str, Field(min_length=1, max_length=2_000)]
    mode: Literal["brief", "detailed"] = "detailed"
    options: Annotated[list[OptionIn] | None, Field(min_length=2, max_length=20)] = None
    criteria: Annotated[list[CriterionIn] | None, Field(min_length=1, max_length=20)] = None

    @model_validator(mode="after")
    def _names_agree(self) -> "DecisionInputs":
        for what, named in (("options", self.options), ("criteria", self.criteria)):
            names = [one.name for one in named or ()]
            if len(set(names)) < len(names):
                raise ValueError(f"{what} must have different names")
        if any(option.scores for option in self.options or ()) and self.criteria is None:
            raise ValueError("scores need criteria")
        known = {criterion.name for criterion in self.criteria or ()}
        for option in self.options or ():
            unknown = sorted(set(option.scores) - known)
            if unknown:
                raise ValueError(f"{option.name} has a score for {unknown[0]}, which is no criterion")
        return self


class RankedOption(BaseModel):
    """What one option is worth, in thousandths."""

    option: str
    least_milli: int
    value_milli: Annotated[int | None, Field(description="null while a score is missing.")]
    most_milli: int
    closeness_milli: Annotated[int | None, Field(description="TOPSIS, beside the value.")]
    vetoed_by: str | None
    unknown: list[str]


class WeightSpanOut(BaseModel):
    """Between which weights of one criterion the winner stays."""

    criterion: str
    weight_milli: int
    lowest_milli: int
    highest_milli: int


class FlipOut(BaseModel):
    """The smallest change of one score that lets another option draw level."""

    option: str
    criterion: str
    change_milli: int
    winner: str


class SensitivityOut(BaseModel):
    """How firm the winner stands."""

    reliability_milli: int
    draws: int
    weights: list[WeightSpanOut]
    flip: FlipOut | None
    winner_without: dict[str, str]
    dominated: dict[str, str]


class MissingOut(BaseModel):
    """A score that is not known, and how far it can move its option's value."""

    option: str
    criterion: str
    moves_milli: int


class DecisionOutput(BaseModel):
    """The outcome. ``needs_input``: what is known does not decide it; ``next_inputs`` is a request to fill in."""

    model_config = ConfigDict(title="DecisionOutput")

    outcome: Literal["decided", "needs_input"]
    recommendation: str | None
    reason: str
    ranking: list[RankedOption]
    methods_agree: bool | None
    sensitivity: SensitivityOut | None
    missing_information: list[MissingOut]
    next_inputs: dict[str, Any] | None


class DecisionPack:
    """Weighs options by criteria and says how firm the answer is."""

    name = "decision"
    version = "1.0.0"
    summary = "Weighs options by criteria; says which wins, how firmly, and what is missing."
    inputs = DecisionInputs
    output = DecisionOutput
    timebox = Timebox()
    max_attempts = 2
    price = Price(
        "2026-11",
        BRIEF_MICROS,
        (
            Line("detailed mode, more than brief", DETAILED_MICROS - BRIEF_MICROS),
            Line(f"option x criterion cell above {FREE_CELLS}", CELL_MICROS),
        ),
    )

    def quote(self, inputs: DecisionInputs) -> Quote:
        """Say what the inputs cost: they tell it wholly."""
        cells = len(inputs.options or ()) * len(inputs.criteria or ())
        base = BRIEF_MICROS if inputs.mode == "brief" else DETAILED_MICROS
        cost = base + CELL_MICROS * max(0, cells - FREE_CELLS)
        return Quote(cost, cost)

    async def run(self, ctx: PackContext, inputs: DecisionInputs) -> PackResult:
        """Weigh what is known and examine the winner."""
        ctx.meter.add(self.quote(inputs).expected)
        model = _model(inputs)
        ranked = weigh(model)
        rivals = [one for one in ranked if one.vetoed_by is None]
        known = [one for one in rivals if not one.unknown]
        ctx.check()
        decided = (
            bool(rivals)
            and rivals[0] in known
            and all(one.most < rivals[0].least for one in rivals if one.unknown)
        )
        examined = (
            examine(model, [one.option for one in known], ctx.seed) if decided and len(known) > 1 else None
        )
        output = _output(inputs, model, ranked, rivals, decided=decided, examined=examined)
        if inputs.mode == "detailed":
            ctx.artifact("report.md", "text/markdown; charset=utf-8", _report(inputs, output).encode())
        reliability = examined.reliability_milli if examined else 1_000 if decided else None
        return PackResult(output, reliability)


def _model(inputs: DecisionInputs) -> Model:
    criteria = [
        Criterion(one.name, one.low, one.high, one.direction, one.weight, one.rank, one.veto)
        for one in inputs.criteria or ()
    ] or [Criterion(name) for name in CRITERIA]
    if inputs.options is None:
        return Model(options_of(inputs.question), criteria)
    scores = {
        (option.name, name): Spread(score.low, score.likely, score.high)
        if isinstance(score, SpreadIn)
        else Spread(score, score, score)
        for option in inputs.options
        for name, score in option.scores.items()
        if score is not None
    }
    return Model(tuple(option.name for option in inputs.options), criteria, scores)


def _output(
    inputs: DecisionInputs,
    model: Model,
    ranked: list[Worth],
    rivals: list[Worth],
    *,
    decided: bool,
    examined: Sensitivity | None,
) -> DecisionOutput:
    closest = max(
        (one for one in rivals if one.closeness is not None), key=lambda one: one.closeness or 0, default=None
    )
    agree = None if not decided or closest is None else closest.closeness == rivals[0].closeness
    detailed = inputs.mode == "detailed"
    return DecisionOutput(
        outcome="decided" if decided else "needs_input",
        recommendation=rivals[0].option if decided else None,
        reason=_reason(rivals, decided=decided),
        ranking=[
            RankedOption(
                option=one.option,
                least_milli=one.least,
                value_milli=one.likely,
                most_milli=one.most,
                closeness_milli=one.closeness,
                vetoed_by=one.vetoed_by,
                unknown=list(one.unknown),
            )
            for one in ranked
        ],
        methods_agree=agree,
        sensitivity=_sensitivity(examined) if examined and detailed else None,
        missing_information=_missing(model, rivals),
        next_inputs=None if decided else _next_inputs(inputs, model),
    )


def _reason(rivals: list[Worth], *, decided: bool) -> str:
    if not rivals:
        return "Every option is vetoed."
    if not decided:
        return "What is known does not decide it: the missing scores could change which option wins."
    if len(rivals) == 1:
        return f"{rivals[0].option} is the only option that no criterion vetoes."
    lead = rivals[0].least - rivals[1].most
    firm = "whatever the uncertain scores turn out to be" if lead > 0 else "by its likely scores"
    return f"{rivals[0].option} is worth {rivals[0].likely} of 1000 and wins {firm}."


def _sensitivity(found: Sensitivity) -> SensitivityOut:
    return SensitivityOut(
        reliability_milli=found.reliability_milli,
        draws=DRAWS,
        weights=[
            WeightSpanOut(
                criterion=one.criterion,
                weight_milli=one.weight // 1_000,
                lowest_milli=one.lowest // 1_000,
                highest_milli=one.highest // 1_000,
            )
            for one in found.weights
        ],
        flip=FlipOut(
            option=found.flip.option,
            criterion=found.flip.criterion,
            change_milli=found.flip.change_milli,
            winner=found.flip.winner,
        )
        if found.flip
        else None,
        winner_without=dict(found.without),
        dominated=dict(found.dominated),
    )


def _missing(model: Model, rivals: list[Worth]) -> list[MissingOut]:
    """List unknown scores, those that can move a value most first."""
    weights = dict(zip([one.name for one in model.criteria], weights_of(model.criteria), strict=True))
    found = [
        MissingOut(option=one.option, criterion=name, moves_milli=weights[name] // 1_000)
        for one in rivals
        for name in one.unknown
    ]
    return sorted(found, key=lambda one: (-one.moves_milli, one.criterion, one.option))


def _next_inputs(inputs: DecisionInputs, model: Model) -> dict[str, Any]:
    """Return a complete request to fill in: what is unknown is null."""
    given = {option.name: option.model_dump(exclude_none=False)["scores"] for option in inputs.options or ()}
    return {
        "question": inputs.question,
        "mode": inputs.mode,
        "options": [
            {
                "name": option,
                "scores": {one.name: given.get(option, {}).get(one.name) for one in model.criteria},
            }
            for option in model.options
        ],
        "criteria": [
            {"name": one.name, "low": one.low, "high": one.high, "direction": one.direction}
            | {key: getattr(one, key) for key in ("weight", "rank", "veto") if getattr(one, key) is not None}
            for one in model.criteria
        ],
    }


def _report(inputs: DecisionInputs, output: DecisionOutput) -> str:
    """Write the result for people."""
    lines = [f"# {_plain(inputs.question)}", "", output.reason, "", "| option | value | span | vetoed by |"]
    lines.append("|---|---|---|---|")
    for one in output.ranking:
        value = "unknown" if one.value_milli is None else str(one.value_milli)
        lines.append(
            f"| {_plain(one.option)} | {value} | {one.least_milli} to {one.most_milli} |"
            f" {_plain(one.vetoed_by or '')} |"
        )
    if output.sensitivity:
        lines += [
            "",
            f"Wins {output.sensitivity.reliability_milli / 10:.1f} % of {output.sensitivity.draws} draws.",
        ]
    if output.missing_information:
        lines += ["", "## Missing", ""]
        lines += [
            f"- {_plain(one.option)}: {_plain(one.criterion)} (up to {one.moves_milli} of 1000)"
            for one in output.missing_information
        ]
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """Keep what people wrote from being markup."""
    return (
        json.dumps(" ".join(text.split()), ensure_ascii=False)[1:-1].replace("|", "\\|").replace("<", "&lt;")
    )
