"""Shapes of previews on the wire."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.preview import GroupPreview, RulesPreview
from guardhouse.agents.rules.wire import (
    AppRuleShape,
    DynamicRulesShape,
    OperationsRequest,
    TargetShape,
    app_rule_shape,
)
from guardhouse.events.rule_effect import RuleEffect
from guardhouse.foundation.clock import rfc3339

BASIS: Final = "Events that agents reported; released agents report none for an ordinary request."
Code = Literal["replaces_app_setting", "not_revocable", "lifts_app_bans", "matches_no_instance", "not_served"]


class WarningShape(BaseModel):
    """Something to know of one rule before it is published."""

    model_config = ConfigDict(title="RuleWarning")

    code: Code
    rule_id: Annotated[
        UUID, Field(description="As in `added`; a rule that is to be made has it in this answer only.")
    ]
    detail: str


class GroupPreviewShape(BaseModel):
    """The document of one group of agents before and after."""

    targets: list[TargetShape]
    instances: Annotated[int, Field(description="Known processes of the group.")]
    before: Annotated[DynamicRulesShape | None, Field(description="null: nothing was published yet.")]
    after: DynamicRulesShape
    not_served: list[str]


class PreviewRequest(OperationsRequest):
    """What `POST /projects/{project_id}/rules:preview` takes: as `rules:apply`, and how far to look back."""

    model_config = ConfigDict(extra="forbid", title="PreviewRules")

    hours: Annotated[int, Field(ge=1, le=168, description="Events of so many hours are looked at.")] = 24


class AddressEffectShape(BaseModel):
    """An address that would have been hit."""

    address: str
    events: int
    attacks: int


class EndpointEffectShape(BaseModel):
    """An endpoint at which something would have been hit; routes are templates such as `/items/{n}`."""

    endpoint: str
    events: int


class RuleEffectShape(BaseModel):
    """What the added rules would have hit of what agents reported."""

    since: str
    basis: Annotated[str, Field(description="What the figures are made of, in words.")]
    whole: Annotated[bool, Field(description="false: the newest 100,000 events only were looked at.")]
    events: int
    by_class: dict[str, int]
    by_endpoint: list[EndpointEffectShape]
    addresses: Annotated[list[AddressEffectShape], Field(description="The 20 with the most events.")]
    attackers: Annotated[int, Field(description="Addresses with an attack among what would have been hit.")]
    harmless: Annotated[int, Field(description="Addresses without one.")]
    unmeasured: Annotated[list[str], Field(description="Kinds of the added rules that events do not show.")]


class RulesPreviewShape(BaseModel):
    """What operations would come to; nothing is published."""

    model_config = ConfigDict(title="RulesPreview")

    revision: Annotated[int, Field(description="The number that the revision would have.")]
    added: list[AppRuleShape]
    ended: list[AppRuleShape]
    documents: list[GroupPreviewShape]
    warnings: list[WarningShape]
    effect: RuleEffectShape


def preview_shape(preview: RulesPreview, effect: RuleEffect) -> RulesPreviewShape:
    """Return the public form of a preview."""
    at = preview.revision.published_at
    return RulesPreviewShape(
        revision=preview.revision.number,
        added=[app_rule_shape(rule, at) for rule in preview.added],
        ended=[app_rule_shape(rule, at) for rule in preview.ended],
        documents=[_group(group) for group in preview.groups],
        warnings=[WarningShape.model_validate(warned, from_attributes=True) for warned in preview.warnings],
        effect=_effect(effect),
    )


def _effect(effect: RuleEffect) -> RuleEffectShape:
    return RuleEffectShape(
        since=rfc3339(effect.since),
        basis=BASIS,
        whole=effect.whole,
        events=effect.events,
        by_class=dict(effect.by_class),
        by_endpoint=[EndpointEffectShape(endpoint=name, events=count) for name, count in effect.by_endpoint],
        addresses=[AddressEffectShape.model_validate(row, from_attributes=True) for row in effect.addresses],
        attackers=effect.attackers,
        harmless=effect.harmless,
        unmeasured=list(effect.unmeasured),
    )


def _group(group: GroupPreview) -> GroupPreviewShape:
    return GroupPreviewShape(
        targets=[TargetShape(**target.conditions) for target in group.targets],
        instances=group.instances,
        before=None if group.before is None else DynamicRulesShape(**group.before),
        after=DynamicRulesShape(**group.after),
        not_served=list(group.not_served),
    )
