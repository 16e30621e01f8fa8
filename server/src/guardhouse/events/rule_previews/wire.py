"""Shapes of previews on the wire."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.preview import GroupPreview, RulesPreview
from guardhouse.agents.rules.wire import AppRuleShape, DynamicRulesShape, TargetShape, app_rule_shape
from guardhouse.events.rule_effect import RuleEffect
from guardhouse.foundation.clock import rfc3339

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


class AddressEffectShape(BaseModel):
    """An address that the rules would have hit."""

    address: str
    events: int
    attacks: Annotated[int, Field(description="How many of the events are attacks.")]


class EffectShape(BaseModel):
    """What the added rules would have hit of what agents told of the last hours.

    Released agents tell nothing of ordinary requests: those are not in it.
    """

    model_config = ConfigDict(title="RuleEffect")

    since: str
    whole: Annotated[bool, Field(description="false: the newest 100,000 events were looked at.")]
    events: int
    by_class: dict[str, int]
    by_endpoint: Annotated[dict[str, int], Field(description="The 20 most frequent routes.")]
    addresses: Annotated[list[AddressEffectShape], Field(description="The 20 with the most events.")]
    attackers: Annotated[int, Field(description="Addresses with an attack among what would have been hit.")]
    harmless: Annotated[int, Field(description="Addresses without one.")]
    unmeasured: Annotated[
        list[str], Field(description="Kinds among the added rules of which events say nothing.")
    ]


class RulesPreviewShape(BaseModel):
    """What operations would come to; nothing is published."""

    model_config = ConfigDict(title="RulesPreview")

    revision: Annotated[int, Field(description="The number that the revision would have.")]
    added: list[AppRuleShape]
    ended: list[AppRuleShape]
    documents: list[GroupPreviewShape]
    warnings: list[WarningShape]
    effect: EffectShape


class PreviewQuery(BaseModel):
    """How far back the effect of a preview looks."""

    effect_hours: Annotated[int, Field(ge=1, le=168)] = 24


def preview_members(preview: RulesPreview, effect: RuleEffect) -> dict[str, Any]:
    """Return the members of the public form of a preview."""
    at = preview.revision.published_at
    return {
        "revision": preview.revision.number,
        "added": [app_rule_shape(rule, at) for rule in preview.added],
        "ended": [app_rule_shape(rule, at) for rule in preview.ended],
        "documents": [_group(group) for group in preview.groups],
        "warnings": [
            WarningShape.model_validate(warned, from_attributes=True) for warned in preview.warnings
        ],
        "effect": _effect(effect),
    }


def _effect(effect: RuleEffect) -> EffectShape:
    return EffectShape(
        since=rfc3339(effect.since),
        whole=effect.whole,
        events=effect.events,
        by_class=dict(effect.by_class),
        by_endpoint=dict(effect.by_endpoint),
        addresses=[
            AddressEffectShape(address=each.address, events=each.events, attacks=each.attacks)
            for each in effect.addresses
        ],
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
