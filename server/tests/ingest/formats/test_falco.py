"""Alerts of Falco: a finding on its process, or on the host."""

from typing import Any

import pytest

from guardhouse.ingest.formats.falco import read_falco
from guardhouse.ingest.formats.reading import Unmapped
from server.tests.ingest.formats.samples import NODE, falco


def members(alert: dict[str, Any]) -> dict[str, Any]:
    return read_falco(alert).members


def test_an_alert_is_a_finding_on_its_process() -> None:
    reading = read_falco(
        falco(time="2026-01-01T00:00:00.123456789Z", uuid="0198c0de-5f3b-7a10-b3c2-000000000001")
    )
    assert reading.host == NODE
    found = dict(reading.members)
    metadata = found.pop("metadata")
    assert found == {
        "kind": "finding",
        "id": "0198c0de-5f3b-7a10-b3c2-000000000001",
        "timestamp": "2026-01-01T00:00:00.123456789Z",
        "rule": "Terminal shell in container",
        "priority": "notice",
        "source": "falco",
        "tags": ["container", "mitre_execution", "T1059", "shell"],
        "container": "4f1d8a0c2b3e",
        "pid": 4711,
        "ppid": 4700,
        "exe": "/usr/bin/bash",
        "comm": "bash",
    }
    assert metadata["output_fields"]["proc.cmdline"] == "bash -i"
    assert metadata["falco_source"] == "syscall"


@pytest.mark.parametrize("pid", [None, "<NA>", -1, 0, 4_194_305, "x", 1.5, True, [], {}])
def test_an_alert_without_a_process_is_about_the_host(pid: Any) -> None:
    alert = falco()
    alert["output_fields"]["proc.pid"] = pid
    found = members(alert)
    assert (found["kind"], found["rule"]) == ("finding", "Terminal shell in container")
    assert not {"pid", "ppid", "exe", "comm"} & found.keys()


def test_an_alert_of_another_source_has_no_process_at_all() -> None:
    found = members(falco(source="k8s_audit", output_fields={"ka.user.name": "admin"}))
    assert "pid" not in found
    assert found["metadata"]["output_fields"] == {"ka.user.name": "admin"}


def test_older_alerts_have_fewer_members() -> None:
    """Before 0.29 there was no source, before 0.31 neither tags nor a host name."""
    old = {
        "output": "00:00:00.1: Error File below /etc opened for writing (user=root file=/etc/hosts)",
        "priority": "Error",
        "rule": "Write below etc",
        "time": "2026-01-01T00:00:00.100000000Z",
        "output_fields": {"proc.pid": "77", "evt.time": 1_767_225_600_100_000_000, "fd.name": "/etc/hosts"},
    }
    reading = read_falco(old)
    assert reading.host is None
    assert (reading.members["pid"], reading.members["priority"]) == (77, "error")


def test_the_event_s_own_time_stands_in_for_the_alert_s() -> None:
    assert members(falco())["timestamp"] == 1_767_225_600_000_000_000
    assert "timestamp" not in members(falco(output_fields={}))


@pytest.mark.parametrize("rule", [None, "", 5, []])
def test_what_has_no_rule_is_no_alert(rule: Any) -> None:
    with pytest.raises(Unmapped) as refused:
        read_falco(falco(rule=rule))
    assert refused.value.field == "rule"


def test_the_host_is_no_container() -> None:
    alert = falco()
    alert["output_fields"]["container.id"] = "host"
    assert "container" not in members(alert)


def test_long_fields_are_cut_and_what_does_not_fit_is_left_out_by_name() -> None:
    alert = falco()
    alert["output_fields"] |= {f"proc.env[{number}]": "x" * 5000 for number in range(5)}
    metadata = members(alert)["metadata"]
    assert metadata["output_fields"]["user.name"] == "root"
    assert metadata["output_fields"]["proc.env[0]"] == "x" * 1000
    assert "output_fields.proc.env[4]" in metadata["left_out"]
