"""The systemd unit: what it may do, that systemd takes it; and the wheel, on a host without a server."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from agent.tests.watch.conftest import require_here
from guard_agent.watch.command import main
from guard_agent.watch.unit import UnitError, install_unit, own_program, unit_text

AGENT = Path(__file__).parents[2]


def values(text: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(name + "=")]


def test_the_unit_has_four_capabilities_and_its_limits() -> None:
    text = unit_text("/usr/bin/guardhouse-agent")
    (capabilities,) = values(text, "CapabilityBoundingSet")
    assert set(capabilities.split()) == {
        "CAP_AUDIT_CONTROL",
        "CAP_AUDIT_READ",
        "CAP_NET_ADMIN",
        "CAP_SYS_PTRACE",
    }
    assert (values(text, "CPUQuota"), values(text, "MemoryMax")) == (["25%"], ["256M"])
    assert values(text, "ExecStart") == [
        "/usr/bin/guardhouse-agent watch --state-dir /var/lib/guardhouse-agent"
    ]
    assert "watch --cleanup" in values(text, "ExecStopPost")[0]
    assert "@" not in text.replace("@system-service", "")


@pytest.mark.parametrize("program", ["guardhouse-agent", "/a b/c", "/a%i", "/a\nb", '/a"b', "/$HOME/a"])
def test_a_program_that_cannot_stand_in_a_unit_is_refused(program: str) -> None:
    with pytest.raises(UnitError, match="cannot stand in a unit"):
        unit_text(program)


def test_the_unit_is_written_or_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guardhouse-agent.service"
    assert main(["install-unit", "--program", "/usr/bin/guardhouse-agent", "--to", str(path)]) == 0
    assert "systemctl daemon-reload" in capsys.readouterr().err
    assert main(["install-unit", "--program", "/usr/bin/guardhouse-agent", "--print"]) == 0
    assert capsys.readouterr().out == path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert main(["install-unit", "--program", "relative"]) == 2
    assert main(["install-unit", "--program", "/x", "--to", str(tmp_path / "none" / "unit")]) == 69
    assert Path(own_program()).name == "guardhouse-agent"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    require_here(verify, "systemd-analyze is not installed: `apt install systemd` (Debian)")
    path = tmp_path / "guardhouse-agent.service"
    install_unit(shutil.which("true") or "/bin/true", path)
    done = subprocess.run(
        [str(verify), "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert path.name not in done.stderr


def test_the_wheel_alone_brings_the_agent_to_a_host(tmp_path: Path) -> None:
    """Built, installed into an environment of its own, asked what works there, the unit printed."""
    source = tmp_path / "source"
    shutil.copytree(AGENT, source, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    build = "from hatchling.build import build_wheel; print(build_wheel('../wheel'))"
    (tmp_path / "wheel").mkdir()
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    wheel = tmp_path / "wheel" / built.stdout.split()[-1]
    venv.EnvBuilder(with_pip=True).create(tmp_path / "host")
    programs = tmp_path / "host" / "bin"
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "GUARDHOUSE_READY_FILE": str(tmp_path / "none")}
    doctor = subprocess.run(
        [str(programs / "guardhouse-agent"), "doctor", "--state-dir", str(tmp_path / "state")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=90,
        check=False,
    )
    assert doctor.returncode == 1  # no key
    for name in ("audit (default mode)", "process connector", "deep (bpftrace)", "launch (strace)", "spool"):
        assert f" {name}: " in doctor.stdout, doctor.stderr
    assert "guardhouse-agent[watch]" in doctor.stdout  # the extra is not installed: gzip instead of zstd
    unit = subprocess.run(
        [str(programs / "guardhouse-agent"), "install-unit", "--print"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert f"ExecStart={programs}/guardhouse-agent watch" in unit.stdout
