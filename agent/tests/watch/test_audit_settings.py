"""Audit's settings: written down before they are changed, put back as found, left alone where others changed them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from guard_agent.watch.audit_netlink import AuditControl
from guard_agent.watch.audit_own_rules import RuleSet, install_rules
from guard_agent.watch.audit_rule import ARCH, KEY, PID, Field, Rule, pack_rule, unpack_rule
from guard_agent.watch.audit_set import OWN_KEY
from guard_agent.watch.audit_settings import (
    FILE_NAME,
    Found,
    StillRunningError,
    add_rules,
    change_settings,
    clean_up,
    note_settings,
    put_back,
    read_found,
)

OURS = Rule((Field(ARCH, 0xC000003E), Field(PID, 4_194_304), Field(KEY, OWN_KEY)), frozenset((59,)))
THEIRS = Rule(
    (Field(ARCH, 0xC000003E), Field(PID, 4_194_304), Field(KEY, "guardhouse-theirs")), frozenset((60,))
)


def settings(control: AuditControl) -> tuple[int, int, int]:
    status = control.status()
    return status.enabled, status.backlog_limit, status.wait_time


def test_what_was_changed_is_put_back_and_only_that(audit: AuditControl, tmp_path: Path) -> None:
    before = settings(audit)
    audit.add_rule(THEIRS)
    found = change_settings(audit, tmp_path, audit.status())
    assert settings(audit) == (1, max(8192, before[1]), min(100, before[2]))
    assert read_found(tmp_path) == found
    assert add_rules(audit, [OURS, OURS]) == (2, None)
    audit.set(backlog_limit=7000)  # somebody else's wish, while we watch
    assert put_back(audit, tmp_path, found) == "1 audit rules removed, settings are as found"
    assert settings(audit) == (before[0], 7000, before[2])
    assert [unpack_rule(data) for data in audit.list_rules()] == [THEIRS]
    assert read_found(tmp_path) is None
    audit.set(backlog_limit=before[1])
    audit.delete_rule(pack_rule(THEIRS))


def test_a_rule_that_the_kernel_refuses_costs_only_itself(audit: AuditControl) -> None:
    wrong = Rule((Field(9999, 1), Field(KEY, OWN_KEY)), frozenset((1,)))
    count, refusal = add_rules(audit, [wrong, OURS])
    audit.delete_rule(pack_rule(OURS))
    assert count == 1
    assert refusal is not None
    assert refusal.startswith("add an audit rule: ")


def test_cleanup_undoes_what_a_dead_agent_left(audit: AuditControl, tmp_path: Path) -> None:
    before = settings(audit)
    leave = f"""
import os, sys
from pathlib import Path
from guard_agent.watch.audit_netlink import AuditControl, AuditReader
from guard_agent.watch.audit_own_rules import RuleSet, install_rules
from guard_agent.watch.audit_rule import *
from guard_agent.watch.audit_settings import change_settings
control = AuditControl()
reader = AuditReader(65536)
reader.take_records()
change_settings(control, Path({str(tmp_path)!r}), control.status())
control.add_rule(Rule((Field(ARCH, 0xC000003E), Field(PID, 4194304), Field(KEY, "guardhouse")), frozenset((59,))))
os.kill(os.getpid(), 9)
"""
    left = subprocess.run([sys.executable, "-c", leave], capture_output=True, text=True, check=False)
    assert left.returncode == -9, left.stderr
    assert audit.status().enabled == 1
    assert clean_up(tmp_path) == "1 audit rules removed, settings are as found"
    assert settings(audit) == before
    assert audit.status().pid in (0, os.getpid())
    assert audit.list_rules() == []
    # nothing noted: rules by their key are all that can be undone
    audit.add_rule(OURS)
    assert clean_up(tmp_path) == "1 audit rules removed, no settings were noted here to put back"


def test_cleanup_leaves_a_living_agent_alone(audit: AuditControl, tmp_path: Path) -> None:
    found = note_settings(tmp_path, audit.status())
    stat = Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()
    other = replace(found, pid=1, start=int(stat[19]))
    names = Found.__dataclass_fields__
    (tmp_path / FILE_NAME).write_text(json.dumps({name: getattr(other, name) for name in names}))
    with pytest.raises(StillRunningError, match="pid 1 is watching"):
        clean_up(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"boot_id": 1}', "null", '{"pid": 1, "x": 2}'])
def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert read_found(tmp_path) is None


def test_a_note_of_an_earlier_boot_is_no_note(tmp_path: Path) -> None:
    note = {"boot_id": "another", "pid": 1, "start": 1, "found": {}, "ours": {}}
    (tmp_path / FILE_NAME).write_text(json.dumps(note))
    assert read_found(tmp_path) is None


def test_busy_rules_leave_the_kernel_while_the_limit_holds(audit: AuditControl, tmp_path: Path) -> None:
    core, busy = (
        Rule((Field(ARCH, 0xC000003E), Field(PID, pid), Field(KEY, OWN_KEY)), frozenset((59,)))
        for pid in (4_194_303, 4_194_304)
    )
    rules = install_rules(audit, tmp_path, note_settings(tmp_path, audit.status()), RuleSet([core], [busy]))
    assert (rules.count, rules.refusal) == (2, None)
    rules.limit(on=True)
    assert [unpack_rule(data) for data in audit.list_rules()] == [core]
    rules.limit(on=False)
    assert [unpack_rule(data) for data in audit.list_rules()] == [core, busy]
    assert rules.close() == "2 audit rules removed, settings are as found"
