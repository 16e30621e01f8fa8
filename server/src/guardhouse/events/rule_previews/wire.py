"""Shapes of previews on the wire."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.agents.rules.preview import GroupPreview, RulesPreview
from guardhouse.agents.rules.wire import AppRuleShape, DynamicRulesShape, TargetShape, app_rule_shape

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


class RulesPreviewShape(BaseModel):
    """What operations would come to; nothing is published."""

    model_config = ConfigDict(title="RulesPreview")

    revision: Annotated[int, Field(description="The number that the revision would have.")]
    added: list[AppRuleShape]
    ended: list[AppRuleShape]
    documents: list[GroupPreviewShape]
    warnings: list[WarningShape]


def preview_members(preview: RulesPreview) -> dict[str, Any]:
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
    }


def _group(group: GroupPreview) -> GroupPreviewShape:
    return GroupPreviewShape(
        targets=[TargetShape(**target.conditions) for target in group.targets],
        instances=group.instances,
        before=None if group.before is None else DynamicRulesShape(**group.before),
        after=DynamicRulesShape(**group.after),
        not_served=list(group.not_served),
    )
