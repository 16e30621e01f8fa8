"""What is read of the rules of apps, and of the processes that ask for them; the tables are in ``store``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.rules.store import Document, Place, Revision, StoredRule
from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.analysis.abuse.target import Target
from guardhouse.foundation.database import TenantKey, Tx

_REVISION: Final = (
    "revision, published_at, author, cause, reason, restored, baseline, targets, due_at, adopted_at"
)
_RULE: Final = (
    "rule_id, kind, value, target, priority, enabled, starts_at, expires_at, reason, source, created_at, created_by,"
    " since, until"
)


def _revision(row: Any) -> Revision:
    number, published_at, author, cause, reason, restored, baseline, targets, due_at, adopted_at = row
    return Revision(
        number, published_at, author, cause, reason, restored, baseline, _targets(targets), due_at, adopted_at
    )


def _targets(listed: Iterable[Mapping[str, str]]) -> tuple[Target, ...]:
    return tuple(Target(**conditions) for conditions in listed)


def _rule(row: Any) -> StoredRule:
    rule = AppRule(row[0], row[1], row[2], Target(**row[3]), row[4], row[5], row[6], row[7])
    return StoredRule(rule, row[8], row[9], row[10], row[11], row[12], row[13])


async def get_newest(tx: Tx, place: Place) -> Revision | None:
    """Return the revision in force; None before the first publication."""
    row = await tx.fetch_row(
        f"SELECT {_REVISION} FROM rule_revisions WHERE tenant_id = $1 AND project_id = $2"
        " ORDER BY revision DESC LIMIT 1",
        place.tenant_id,
        place.project_id,
    )
    return None if row is None else _revision(row)


async def get_revision(tx: Tx, place: Place, number: int) -> Revision | None:
    """Return one revision."""
    row = await tx.fetch_row(
        f"SELECT {_REVISION} FROM rule_revisions WHERE tenant_id = $1 AND project_id = $2 AND revision = $3",
        place.tenant_id,
        place.project_id,
        number,
    )
    return None if row is None else _revision(row)


async def list_revisions(tx: Tx, place: Place, limit: int, before: int | None) -> list[Revision]:
    """Return revisions, newest first."""
    rows = await tx.fetch(
        f"SELECT {_REVISION} FROM rule_revisions WHERE tenant_id = $1 AND project_id = $2"
        " AND ($3::bigint IS NULL OR revision < $3) ORDER BY revision DESC LIMIT $4",
        place.tenant_id,
        place.project_id,
        before,
        limit,
    )
    return [_revision(row) for row in rows]


async def list_rules(tx: Tx, place: Place) -> list[StoredRule]:
    """Return the rules of a project as they stand, by id."""
    rows = await tx.fetch(
        f"SELECT {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2 AND until IS NULL ORDER BY rule_id",
        place.tenant_id,
        place.project_id,
    )
    return [_rule(row) for row in rows]


async def page_rules(
    tx: Tx, place: Place, kind: str | None, limit: int, after: UUID | None
) -> list[StoredRule]:
    """Return some of the rules of a project as they stand, by id."""
    rows = await tx.fetch(
        f"SELECT {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2 AND until IS NULL"
        " AND ($3::text IS NULL OR kind = $3) AND ($4::uuid IS NULL OR rule_id > $4) ORDER BY rule_id LIMIT $5",
        place.tenant_id,
        place.project_id,
        kind,
        after,
        limit,
    )
    return [_rule(row) for row in rows]


async def find_rule(tx: Tx, place: Place, rule_id: UUID) -> StoredRule | None:
    """Return a rule as it stands."""
    row = await tx.fetch_row(
        f"SELECT {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2 AND rule_id = $3 AND until IS NULL",
        place.tenant_id,
        place.project_id,
        rule_id,
    )
    return None if row is None else _rule(row)


async def list_rules_of(tx: Tx, place: Place, number: int) -> list[StoredRule]:
    """Return the rules of a project as they were in a revision, by id."""
    rows = await tx.fetch(
        f"SELECT {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2 AND since <= $3"
        " AND (until IS NULL OR until > $3) ORDER BY rule_id",
        place.tenant_id,
        place.project_id,
        number,
    )
    return [_rule(row) for row in rows]


async def list_changes(tx: Tx, place: Place, number: int) -> list[StoredRule]:
    """Return the rules that a revision brought (``since`` it) and those that it ended (``until`` it), by id."""
    rows = await tx.fetch(
        f"SELECT {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2 AND (since = $3 OR until = $3)"
        " ORDER BY rule_id, since",
        place.tenant_id,
        place.project_id,
        number,
    )
    return [_rule(row) for row in rows]


async def find_document(tx: Tx, place: Place, number: int, target_hex: str) -> Document | None:
    """Return what is kept of a group's document of a revision."""
    row = await tx.fetch_row(
        "SELECT target_hex, targets, document, not_served FROM rule_documents"
        " WHERE tenant_id = $1 AND project_id = $2 AND revision = $3 AND target_hex = $4",
        place.tenant_id,
        place.project_id,
        number,
        target_hex,
    )
    return None if row is None else Document(row[0], _targets(row[1]), row[2], tuple(row[3]))


async def list_documents(tx: Tx, place: Place, number: int) -> list[Document]:
    """Return the kept documents of a revision, by group."""
    rows = await tx.fetch(
        "SELECT target_hex, targets, document, not_served FROM rule_documents"
        " WHERE tenant_id = $1 AND project_id = $2 AND revision = $3 ORDER BY target_hex",
        place.tenant_id,
        place.project_id,
        number,
    )
    return [Document(row[0], _targets(row[1]), row[2], tuple(row[3])) for row in rows]


async def list_net_rules(
    tx: Tx, place: Place, net: str, limit: int
) -> list[tuple[StoredRule, datetime | None]]:
    """Return the rules that ban, release or allow all of a network, the newest first, those that are over too.

    Each as it was last, with when it was taken out or ran out; None while it stands.
    """
    rows = await tx.fetch(
        f"SELECT {', '.join(f'r.{name}' for name in _RULE.split(', '))}, v.published_at FROM"
        f" (SELECT DISTINCT ON (rule_id) {_RULE} FROM rules WHERE tenant_id = $1 AND project_id = $2"
        "  AND kind IN ('ban_net', 'release_net', 'allow_net') AND (value->>'net')::inet >>= $3::text::inet"
        "  ORDER BY rule_id, since DESC) r"
        " LEFT JOIN rule_revisions v ON v.project_id = $2 AND v.tenant_id = $1 AND v.revision = r.until"
        " ORDER BY r.created_at DESC, r.rule_id DESC LIMIT $4",
        place.tenant_id,
        place.project_id,
        net,
        limit,
    )
    return [(_rule(tuple(row)[:-1]), row["published_at"]) for row in rows]


async def list_released(tx: Tx, project_nos: Sequence[int], since: datetime) -> set[tuple[int, str]]:
    """Return (project number, network) of what apps were told to release since an instant, of any tenant."""
    rows = await tx.fetch(
        "SELECT DISTINCT p.project_no, r.value->>'net' AS net FROM rules r JOIN projects p USING (project_id)"
        " WHERE p.project_no = ANY($1) AND r.kind = 'release_net' AND r.created_at >= $2",
        list(project_nos),
        since,
    )
    return {(row["project_no"], row["net"]) for row in rows}


@dataclass(frozen=True, slots=True)
class Known:
    """What a process has said of itself, for targets."""

    instance_id: UUID
    named: bool
    installation: str
    agent_version: str | None
    guard_version: str | None
    process: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """A project whose next revision time alone makes."""

    tenant: TenantKey
    project_id: UUID


@dataclass(frozen=True, slots=True)
class Adoption:
    """How many processes have a revision. ``waiting`` poll and were not given it yet.

    ``failed`` were given it ten minutes ago or more, have said of others that they applied them, and not of this.
    """

    served: int
    applied: int
    failed: int
    waiting: int
    not_polling: int


_OF_PROJECT: Final = "project_no = (SELECT project_no FROM projects WHERE tenant_id = $1 AND project_id = $2)"
_KNOWN: Final = "instance_id, named, installation, agent_version, guard_version, process"


async def find_instance(tx: Tx, place: Place, instance_id: UUID) -> Known | None:
    """Return a process of a project by its id."""
    row = await tx.fetch_row(
        f"SELECT {_KNOWN} FROM instances WHERE {_OF_PROJECT} AND instance_id = $3",
        place.tenant_id,
        place.project_id,
        instance_id,
    )
    return None if row is None else Known(*row)


async def find_installation(tx: Tx, place: Place, installation: str) -> Known | None:
    """Return the process of an installation that was heard last."""
    row = await tx.fetch_row(
        f"SELECT {_KNOWN} FROM instances WHERE {_OF_PROJECT} AND installation = $3"
        " ORDER BY last_seen_at DESC, instance_no DESC LIMIT 1",
        place.tenant_id,
        place.project_id,
        installation,
    )
    return None if row is None else Known(*row)


async def list_living(tx: Tx, place: Place) -> list[Known]:
    """Return the processes of a project that have not ended, as far as is known."""
    rows = await tx.fetch(
        f"SELECT {_KNOWN} FROM instances WHERE {_OF_PROJECT} AND archived_at IS NULL"
        " AND closed IS NULL ORDER BY instance_no",
        place.tenant_id,
        place.project_id,
    )
    return [Known(*row) for row in rows]


async def count_adoption(
    tx: Tx, place: Place, number: int, polled_since: datetime, *, late: bool
) -> Adoption:
    """Count the living processes of a project by what they have of a revision.

    ``late``: the revision is so old that who polls should have applied it.
    """
    row = await tx.fetch_row(
        "SELECT count(*) FILTER (WHERE polls AND rules_served >= $3),"
        " count(*) FILTER (WHERE polls AND rules_applied >= $3),"
        " count(*) FILTER (WHERE $5 AND polls AND rules_served >= $3 AND rules_applied < $3),"
        " count(*) FILTER (WHERE polls AND rules_served < $3), count(*) FILTER (WHERE NOT polls)"
        " FROM (SELECT rules_served, rules_applied, coalesce(rules_served_at >= $4, false) AS polls FROM instances"
        f" WHERE {_OF_PROJECT} AND archived_at IS NULL AND closed IS NULL) AS living",
        place.tenant_id,
        place.project_id,
        number,
        polled_since,
        late,
    )
    return Adoption(0, 0, 0, 0, 0) if row is None else Adoption(*row)


async def list_due(tx: Tx, now: datetime, limit: int) -> list[Due]:
    """Return active projects whose next revision is due, the longest due first."""
    rows = await tx.fetch(
        "SELECT r.tenant_id, t.tenant_no, r.project_id FROM rule_revisions r"
        " JOIN tenants t ON t.tenant_id = r.tenant_id"
        " JOIN projects p ON p.tenant_id = r.tenant_id AND p.project_id = r.project_id AND p.state = 'active'"
        " WHERE r.due_at <= $1 ORDER BY r.due_at, r.project_id LIMIT $2",
        now,
        limit,
    )
    return [Due(TenantKey(row[0], row[1]), row[2]) for row in rows]


async def list_untold(tx: Tx, since: datetime) -> list[Due]:
    """Return active projects whose newest change, made since an instant, is not known to be adopted everywhere."""
    rows = await tx.fetch(
        "SELECT p.tenant_id, t.tenant_no, p.project_id FROM projects p JOIN tenants t ON t.tenant_id = p.tenant_id"
        " JOIN LATERAL (SELECT adopted_at, published_at FROM rule_revisions r WHERE r.tenant_id = p.tenant_id"
        "  AND r.project_id = p.project_id AND r.cause <> 'renewal' ORDER BY r.revision DESC LIMIT 1) AS newest ON true"
        " WHERE p.state = 'active' AND newest.adopted_at IS NULL AND newest.published_at >= $1 ORDER BY p.project_no",
        since,
    )
    return [Due(TenantKey(row[0], row[1]), row[2]) for row in rows]


async def get_newest_change(tx: Tx, place: Place) -> Revision | None:
    """Return the newest revision that was more than a renewal."""
    row = await tx.fetch_row(
        f"SELECT {_REVISION} FROM rule_revisions WHERE tenant_id = $1 AND project_id = $2 AND cause <> 'renewal'"
        " ORDER BY revision DESC LIMIT 1",
        place.tenant_id,
        place.project_id,
    )
    return None if row is None else _revision(row)
