"""Documents of a revision: what each group of agents gets, as the bytes that are sent."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from guardhouse.agents.rules.store import Document, Revision
from guardhouse.analysis.abuse.compile_rules import AppRule, compile_rules
from guardhouse.analysis.abuse.target import Target, target_hex
from guardhouse.foundation.clock import rfc3339


def make_document(
    slug: str, revision: Revision, rules: Iterable[AppRule], group: Sequence[Target]
) -> Document:
    """Return what the agents of a group get in a revision of a project; made again it is the same.

    Agents take a document when its id differs from theirs or its version is higher: the id says the group, the
    version is the revision.
    """
    marked = target_hex(group)
    compiled = compile_rules(rules, revision.published_at, revision.baseline, group)
    content = {
        "rule_id": f"gh-{slug}-{marked}",
        "version": revision.number,
        "timestamp": revision.published_at,
        **compiled.content,
    }
    text = json.dumps(content, default=_instant, separators=(",", ":"), ensure_ascii=False)
    return Document(marked, tuple(group), text, compiled.not_served)


def _instant(value: Any) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no place in a document")
