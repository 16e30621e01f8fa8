"""Our rules in the kernel: made for this machine, added, thinned out while the self limit holds, taken out again."""

from dataclasses import dataclass
from pathlib import Path

from guard_agent.watch.audit_netlink import AuditControl, AuditError
from guard_agent.watch.audit_rule import Rule, pack_rule
from guard_agent.watch.audit_set import (
    BUSY_CALLS,
    CORE_CALLS,
    call_rules,
    machine_abis,
    own_rules,
    unread_rules,
    watch_rules,
    watched_paths,
)
from guard_agent.watch.audit_settings import Found, add_rules, put_back


@dataclass(slots=True)
class OwnRules:
    """Our rules in the kernel, and the way back."""

    control: AuditControl
    state: Path
    found: Found
    busy: list[Rule]
    count: int
    refusal: str | None

    def limit(self, *, on: bool) -> None:
        """Take the busy rules out, or put them in again."""
        if not on:
            add_rules(self.control, self.busy)
            return
        for rule in self.busy:
            self.control.delete_rule(pack_rule(rule))

    def close(self) -> str:
        """Put everything back as found."""
        try:
            return put_back(self.control, self.state, self.found)
        except AuditError as error:
            return f"could not put audit back as found: {error}; run `guardhouse-agent watch --cleanup`"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of `audit.v1`: those that always stand, and the busy ones that the self limit takes out."""

    core: list[Rule]
    busy: list[Rule]


def make_rules(pid: int, *, alone: bool) -> RuleSet:
    """Return all rules of this machine, `pid` and what it starts left out.

    `alone`: nobody else reads the records, so the kernel need not write what we do not read.

    Raises:
        LookupError: there is no table of system calls for this machine.
    """
    abis = machine_abis()
    core = [*own_rules(pid), *call_rules(abis, CORE_CALLS), *watch_rules(abis, watched_paths())]
    if alone:
        core += unread_rules()
    return RuleSet(core, call_rules(abis, BUSY_CALLS))


def install_rules(control: AuditControl, state: Path, found: Found, rules: RuleSet) -> OwnRules:
    """Add rules; when that is cut short everything is put back.

    Raises:
        AuditError: the kernel does not answer.
    """
    try:
        count, refusal = add_rules(control, [*rules.core, *rules.busy])
    except BaseException:
        put_back(control, state, found)
        raise
    return OwnRules(control, state, found, rules.busy, count, refusal)
