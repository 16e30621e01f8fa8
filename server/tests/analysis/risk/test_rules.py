# ruff: noqa: S108 - paths are data here, nothing is written

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from guardhouse.analysis.risk import rules as rules_module
from guardhouse.analysis.risk.conditions import RuleInvalidError
from guardhouse.analysis.risk.rule_tests import expand_events, failures, hits_of
from guardhouse.analysis.risk.rules import RuleSet, compile_rule
from server.tests.analysis.risk.benign_day import BENIGN_DAY

FOLDER = Path(rules_module.__file__).parent / "data" / "rules"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "lists")
# The tables of the design: id, techniques that the rule must name, nats.
DESIGNED: dict[str, tuple[set[str], float]] = {
    "shell_on_socket": ({"T1059.004"}, 2.2),
    "fileless_exec": ({"T1620"}, 2.0),
    "mass_rename": ({"T1486"}, 1.8),
    "kernel_module": ({"T1547.006"}, 1.8),
    "download_execute": ({"T1105"}, 1.5),
    "server_spawns_shell": ({"T1505.003"}, 1.4),
    "setuid_bit": ({"T1548.001"}, 1.3),
    "recon": ({"T1082", "T1033", "T1057"}, 1.2),
    "foreign_ptrace": ({"T1055.008"}, 1.2),
    "foreign_ptrace_write": ({"T1055.008"}, 0.8),
    "credential_read": ({"T1003.008", "T1552.004"}, 1.1),
    "persistence_cron": ({"T1053.003"}, 1.0),
    "persistence_ssh_key": ({"T1098.004"}, 1.1),
    "persistence_systemd": ({"T1543.002"}, 0.8),
    "persistence_preload": ({"T1574.006"}, 1.6),
    "container_escape_mount": ({"T1611"}, 1.0),
    "container_escape_kernel": ({"T1611"}, 1.8),
    "container_escape_socket": ({"T1611"}, 1.8),
    "become_root": ({"T1548"}, 1.6),
    "log_wipe": ({"T1070.002"}, 0.9),
    "history_wipe": ({"T1070.003"}, 0.9),
    "bpf_load": ({"T1014"}, 0.8),
    "unshare": ({"T1611"}, 0.4),
    "exec_tmp": ({"T1036"}, 0.35),
    "sudoers_write": ({"T1548.003"}, 1.2),
    "account_file_write": ({"T1136.001"}, 1.2),
    "account_tool": ({"T1136.001"}, 0.7),
    "pam_write": ({"T1556.003"}, 1.2),
    "preload_env": ({"T1574.006"}, 0.8),
    "shell_rc_write": ({"T1546.004"}, 0.6),
    "udev_rule_write": ({"T1546.017"}, 0.8),
    "rc_script_write": ({"T1037.004"}, 0.8),
    "at_job": ({"T1053.002"}, 0.6),
    "timer_write": ({"T1053.006"}, 0.8),
    "file_capability": ({"T1548.001"}, 1.1),
    "proc_mem_write": ({"T1055.009"}, 1.2),
    "input_device_read": ({"T1056.001"}, 1.0),
    "packet_socket": ({"T1040"}, 0.9),
    "port_scan": ({"T1046"}, 1.2),
    "cloud_metadata": ({"T1552.005"}, 1.0),
    "mass_delete": ({"T1485"}, 1.4),
    "firewall_off": ({"T1562.004"}, 0.9),
    "audit_tamper": ({"T1562.012"}, 1.2),
    "security_module_off": ({"T1562.001"}, 1.0),
    "timestomp": ({"T1070.006"}, 0.6),
    "kexec": ({"T1542"}, 1.4),
    "setns_init": ({"T1611"}, 1.0),
    "no_aslr": ({"T1055"}, 0.4),
    "writable_code": ({"T1055"}, 0.4),
    "tunnel": ({"T1572"}, 0.6),
    "interpreter_inline": ({"T1059.006"}, 0.5),
    "decode_to_shell": ({"T1140"}, 0.8),
    "download_to_shell": ({"T1105"}, 0.9),
    "switch_user_burst": ({"T1110.001"}, 0.9),
    "archive_then_connect": ({"T1560.001"}, 0.9),
}


def source(name: str = "setuid_bit") -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def lists() -> dict[str, list[str]]:
    return tomllib.loads((FOLDER / "lists.toml").read_text())


def test_the_rules_of_the_design_ship_with_their_techniques_and_weights(rules: RuleSet) -> None:
    found = {rule.id: (set(rule.attack), rule.weight / 1_000_000) for rule in rules.rules}
    assert set(found) == set(DESIGNED)
    for name, (techniques, weight) in DESIGNED.items():
        assert found[name][0] >= techniques, name
        assert found[name][1] == weight, name


@pytest.mark.parametrize("name", NAMES)
def test_each_rules_own_tests_hold_among_all_rules(rules: RuleSet, name: str) -> None:
    rule = next(rule for rule in rules.rules if rule.id == name)
    assert failures(rule, rules) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_other_rule_changes_a_rules_hits(rules: RuleSet, name: str) -> None:
    rule = next(rule for rule in rules.rules if rule.id == name)
    alone = rules.only(name)
    for test in rule.tests:
        among = hits_of(rules, expand_events(test["events"])).get(rule.evidence_id)
        assert hits_of(alone, expand_events(test["events"])).get(rule.evidence_id) == among


@pytest.mark.parametrize("name", NAMES)
def test_harmless_tests_of_one_rule_stay_harmless_for_the_rest(rules: RuleSet, name: str) -> None:
    """Ordinary administration taken for one rule's tests must not raise a medium alarm through another."""
    rule = next(rule for rule in rules.rules if rule.id == name)
    for test in rule.tests:
        if not test["hits"]:
            hits = hits_of(rules, expand_events(test["events"]))
            assert sum(hits.values()) < 511_000, (test["name"], hits)


def test_every_rule_has_two_tests_of_each_kind_and_says_more_than_its_name(rules: RuleSet) -> None:
    for rule in rules.rules:
        kinds = [test["hits"] for test in rule.tests]
        assert kinds.count(True) >= 2, rule.id
        assert kinds.count(False) >= 2, rule.id
        assert all(test.get("name") for test in rule.tests), rule.id
        assert rule.attack, rule.id


def test_the_version_names_the_content(rules: RuleSet) -> None:
    assert rules.version.startswith("2026.1+")
    assert RuleSet.builtin() is rules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "Bad Id"}, "lower-case"),
        ({"weight": -0.1}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": 3.5}, "weight"),
        ({"weight": True}, "weight"),
        ({"family": "other"}, "unknown family"),
        ({"scope": "galaxy"}, "scope"),
        ({"step": []}, "no step"),
        ({"test": []}, "two hitting"),
        ({"colour": "red"}, "unknown word 'colour'"),
        ({"why": "{mood}"}, "unknown field 'mood'"),
        ({"why": "{exe"}, "unknown field"),
        ({"full_at": 9}, "full_at"),
        ({"full_at": "8"}, "full_at"),
        ({"attack": ["T1"]}, "technique"),
        ({"within_s": -1}, "within_s"),
        ({"except": [{}]}, "everything"),
        ({"distinct": 3}, "item"),
        ({"step": [{"calls": []}]}, "calls"),
        ({"step": [{"calls": ["@nothing"]}]}, "unknown list"),
        ({"step": [{"calls": ["open"], "failed": "maybe"}]}, "unknown failed"),
        ({"step": [{"calls": ["open"], "where": {"mood": {"eq": "x"}}}]}, "unknown field"),
        ({"step": [{"calls": ["open"], "where": {"path": {"like": "x"}}}]}, "unknown operator"),
        ({"step": [{"calls": ["open"], "where": {"path": "x"}}]}, "expected operators"),
        ({"step": [{"calls": ["open"], "where": {"path": {"prefix": 3}}}]}, "string"),
        ({"step": [{"calls": ["open"], "where": {"mode": {"ge": "x"}}}]}, "integer"),
        ({"step": [{"calls": ["open"], "need_flag": "brave"}]}, "unknown 'brave'"),
        ({"step": [{"calls": ["open"], "need_flag": "attached"}]}, "another rule"),
        ({"step": [{"calls": ["open"], "set_flag": "listens"}]}, "engine itself"),
        ({"step": [{"calls": ["open"], "with": 1}]}, "unknown word"),
    ],
)
def test_a_bad_rule_is_refused_with_a_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleInvalidError, match=message):
        compile_rule({**source(), **change}, lists())


def test_a_rule_without_harmless_tests_does_not_load() -> None:
    raw = source()
    raw["test"] = [test for test in raw["test"] if test["hits"]]
    with pytest.raises(RuleInvalidError, match="two harmless"):
        compile_rule(raw, lists())
    raw["test"] = [{**test, "events": []} for test in source()["test"]]
    with pytest.raises(RuleInvalidError, match="without events"):
        compile_rule(raw, lists())


def test_the_same_id_twice_is_refused() -> None:
    rule = compile_rule(source(), lists())
    with pytest.raises(RuleInvalidError, match="same id"):
        RuleSet((rule, rule), lists(), "x")


def test_texts_evaluate_nothing() -> None:
    raw = {**source(), "why": "{path} and {exe}"}
    rule = compile_rule(raw, lists())
    events = copy.deepcopy(raw["test"][0]["events"])
    events[0]["args"]["path"] = "/tmp/{exe.__class__}{0}"
    hits = hits_of(RuleSet((rule,), lists(), "x"), expand_events(events))
    assert rule.evidence_id in hits


def test_a_benign_day_raises_nothing(rules: RuleSet) -> None:
    assert hits_of(rules, expand_events(BENIGN_DAY)) == {}
