"""The rules of `audit.v1`: every call of the plan, both ABIs, the paths that can be watched, ourselves left out."""

from pathlib import Path

import pytest

from guard_agent.watch.audit_own_rules import make_rules
from guard_agent.watch.audit_rule import (
    ARCH,
    ARG0,
    DIR,
    FILTER_EXCLUDE,
    FILTER_EXIT,
    KEY,
    NEVER,
    PERM,
    PERM_READ,
    PID,
    PPID,
    PREPEND,
    WATCH,
    Rule,
)
from guard_agent.watch.audit_set import (
    BUSY_CALLS,
    CORE_CALLS,
    OWN_KEY,
    WATCHED,
    call_rules,
    machine_abis,
    own_rules,
    watch_rules,
    watched_paths,
)

PLANNED = (
    "execve execveat ptrace process_vm_writev memfd_create connect accept4 listen dup2 dup3 setuid setresuid setgid"
    " setresgid capset chmod fchmod fchmodat unshare setns mount pivot_root init_module finit_module bpf rename"
    " renameat2 unlink unlinkat kexec_load"
)


def value(rule: Rule, name: int) -> object:
    return next((field.value for field in rule.fields if field.name == name), None)


def audited(machine: str) -> dict[int, set[str]]:
    """Return per AUDIT_ARCH the calls that the rules name."""
    found: dict[int, set[str]] = {}
    for abi in machine_abis(machine):
        names = {number: name for name, number in abi.numbers.items()}
        for rule in call_rules([abi], CORE_CALLS + BUSY_CALLS):
            found.setdefault(abi.arch, set()).update(names[number] for number in rule.calls or ())
    return found


def test_every_call_of_the_plan_is_audited_on_both_abis() -> None:
    planned = set(PLANNED.split())
    found = audited("x86_64")
    assert set(found) == {0xC000003E, 0x40000003}
    assert planned <= found[0xC000003E]
    assert planned <= found[0x40000003]
    assert {"setuid32", "setresgid32", "socketcall"} <= found[0x40000003]
    # aarch64 never had the calls that others replaced
    assert planned - {"dup2", "chmod", "rename", "unlink"} <= audited("aarch64")[0xC00000B7]


def test_old_socket_calls_are_told_apart_by_their_first_argument() -> None:
    through = [
        rule for rule in call_rules(machine_abis("x86_64"), BUSY_CALLS) if value(rule, ARG0) is not None
    ]
    assert {value(rule, ARG0) for rule in through} == {3, 5, 18}
    assert {value(rule, ARCH) for rule in through} == {0x40000003}


def test_a_machine_without_a_table_says_so() -> None:
    with pytest.raises(LookupError, match="no table of system calls for mips"):
        machine_abis("mips")


def test_paths_are_watched_where_they_can_be(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    paths = [
        (f"{tmp_path}/folder/", 2),
        (f"{tmp_path}/new", 6),
        (f"{tmp_path}/link", 4),
        (f"{tmp_path}/none/", 2),
        (f"{tmp_path}/none/file", 2),
        (f"{tmp_path}/folder", 2),  # the same again
    ]
    abis = machine_abis("x86_64")
    rules = list(watch_rules(abis, paths))
    assert len(rules) == 3 * len(abis)
    watched = {(value(rule, DIR), value(rule, WATCH), value(rule, PERM)) for rule in rules}
    real = str(tmp_path.resolve())
    assert watched == {
        (f"{real}/folder", None, 2),
        (None, f"{real}/new", 6),
        (None, f"{real}/folder/real", 4),
    }
    assert {value(rule, KEY) for rule in rules} == {OWN_KEY}


def test_reading_secrets_is_watched_and_reading_accounts_is_not() -> None:
    watched = dict(WATCHED)
    assert watched["/etc/shadow"] & PERM_READ
    assert not watched["/etc/passwd"] & PERM_READ
    assert not any(path.startswith("/proc/net") for path in watched)
    assert len(dict(watched_paths())) >= len(watched)


def test_ourselves_and_what_we_start_come_first_and_never() -> None:
    for rule, name in zip(own_rules(4711), (PPID, PID), strict=True):
        assert (rule.action, rule.list_number, rule.calls) == (NEVER, FILTER_EXIT | PREPEND, None)
        assert value(rule, name) == 4711


def test_every_rule_of_this_machine_carries_the_key_and_busy_calls_stand_apart() -> None:
    try:
        rules = make_rules(1, alone=True)
    except LookupError as error:
        pytest.skip(f"not on this kernel or with these rights: {error}")
    assert {value(rule, KEY) for rule in (*rules.core, *rules.busy)} == {OWN_KEY}
    assert not {rule for rule in rules.busy if rule in rules.core}
    beside = make_rules(1, alone=False)
    assert {rule.list_number for rule in rules.core} - {rule.list_number for rule in beside.core} == {
        FILTER_EXCLUDE
    }
