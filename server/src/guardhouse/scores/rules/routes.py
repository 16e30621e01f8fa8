"""Routes of rules: list, show, write, change, take out, and which techniques they cover."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query

from guardhouse.analysis.risk.coverage import cover
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores.rules import change_rule as change
from guardhouse.scores.rules import list_rules as shown
from guardhouse.scores.rules import save_rule as save
from guardhouse.scores.rules.rule_sets import newest
from guardhouse.scores.rules.save_rule import RuleInvalid
from guardhouse.scores.rules.wire import (
    RULE_ID,
    CoverageShape,
    RuleChange,
    RuleDetail,
    RuleList,
    RuleQuery,
    RuleRequest,
    change_of,
    coverage_shape,
    new_rule_of,
    rule_detail,
    rule_shape,
)

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
RiskWriter = Annotated[Caller, Depends(Require("risk:write"))]
RuleId = Annotated[str, Path(pattern=RULE_ID, examples=["payroll_read"])]


@router.get("/risk/rules", operation_id="list_rules", response_model=RuleList)
async def list_rules(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage, wanted: Annotated[RuleQuery, Query()]
) -> dict[str, Any]:
    """List the rules in force by id: the product's with what is changed of them here, and one's own."""
    after = "" if page.after is None else str(page.after[0])
    rows = [
        row
        for row in await shown.list_rules(tx, caller.tenant, shared.clock)
        if row.rule.id > after
        and wanted.origin in (None, row.rule.origin)
        and wanted.state in (None, row.state)
        and (wanted.technique is None or wanted.technique in row.rule.attack)
    ]
    return page.answer(rows[: page.limit + 1], lambda row: (row.rule.id,), rule_shape)


@router.get("/risk/rules:coverage", operation_id="get_rule_coverage")
async def get_rule_coverage(caller: Reader, tx: RequestTx) -> CoverageShape:
    """Show which techniques of the public Linux tests the rules in force speak to, and which not."""
    rules = await newest(tx, caller.tenant.no)
    return coverage_shape(cover(rules.rules))


@router.get("/risk/rules/{rule_id}", operation_id="get_rule", responses=refusals(NotFound))
async def get_rule(caller: Reader, tx: RequestTx, shared: Shared, rule_id: RuleId) -> RuleDetail:
    """Show a rule whole: its steps, its exceptions, its tests."""
    return rule_detail(await shown.get_rule(tx, caller.tenant, rule_id, shared.clock))


@router.put("/risk/rules/{rule_id}", operation_id="set_rule", responses=refusals(Conflict, RuleInvalid))
async def set_rule(
    caller: RiskWriter, tx: RequestTx, shared: Shared, rule_id: RuleId, wanted: RuleRequest
) -> RuleDetail:
    """Write a rule of one's own, new or anew; it is in shadow for seven days unless told otherwise.

    Its own tests are run first. A rule that is refused changes nothing: the version before stays in force.
    """
    await save.save_rule(tx, caller, rule_id, new_rule_of(wanted), shared.clock.now())
    return rule_detail(await shown.get_rule(tx, caller.tenant, rule_id, shared.clock))


@router.patch("/risk/rules/{rule_id}", operation_id="update_rule", responses=refusals(NotFound, RuleInvalid))
async def update_rule(
    caller: RiskWriter, tx: RequestTx, shared: Shared, rule_id: RuleId, wanted: RuleChange
) -> RuleDetail:
    """Change what a rule counts for here; what that takes away stays visible as suppressed."""
    await change.change_rule(tx, caller, rule_id, change_of(wanted), shared.clock.now())
    return rule_detail(await shown.get_rule(tx, caller.tenant, rule_id, shared.clock))


@router.delete(
    "/risk/rules/{rule_id}",
    status_code=204,
    operation_id="delete_rule",
    responses=refusals(NotFound, Conflict),
)
async def delete_rule(caller: RiskWriter, tx: RequestTx, shared: Shared, rule_id: RuleId) -> None:
    """Take a rule of one's own out; evidence that it left behind stays and fades."""
    await change.delete_rule(tx, caller, rule_id, shared.clock.now())
