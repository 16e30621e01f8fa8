"""The tour of the first verdicts does what the page says: its shell blocks run as they stand, in a house."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.tests.cli.house_process import RunningHouse, clean_environment, running_house, wait_for

PAGE = Path(__file__).parents[3] / "docs" / "tutorial" / "first-verdicts.md"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ATTACK = {"injection", "jailbreak", "system_prompt_leak", "data_extraction"}
END = "\N{SYMBOL FOR END OF TEXT}"


class Shell:
    """A terminal in which a reader pastes one block after the other; the first command that fails ends it."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder

    def paste(self, block: str) -> list[str]:
        """Run a block to its end and return the lines that it printed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{block}\nprintf '{END}\\n'\n")
            self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if line == f"{END}\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell ended in:\n{block}\nhaving said:\n" + "\n".join(lines))

    def kept(self, name: str) -> Any:
        """Return an answer that the page kept in a file."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def blocks() -> dict[str, list[str]]:
    """Return the shell blocks of each numbered step; what stands before the first step starts the house."""
    steps = re.split(r"^## (\d+)\. .*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return {number: found.findall(text) for number, text in zip(steps[::2], steps[1::2], strict=True)}


@contextlib.contextmanager
def reachable_house(folder: Path) -> Iterator[RunningHouse]:
    for path in (folder, *folder.parents[:3]):
        with contextlib.suppress(PermissionError):
            path.chmod(0o711)  # the database runs as another user when the tests run as root
    with running_house(folder / "house", "--port", "0", GUARDHOUSE_EGRESS_ALLOW="127.0.0.1/32:*") as running:
        yield running


@contextlib.contextmanager
def terminal(house: RunningHouse, folder: Path) -> Iterator[Shell]:
    """Open a terminal with what the page's second block sets."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        port = candidate.getsockname()[1]
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"URL": house.ready["url"], "KEY": house.ready["admin_key"], "PORT": str(port), "PATH": found}
    with subprocess.Popen(
        ["bash", "-euo", "pipefail"],
        cwd=folder, env=clean_environment(**given), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield Shell(process, folder)
        finally:
            process.kill()


@pytest.mark.timeout(300)
def test_the_tour_block_by_block(tmp_path: Path) -> None:
    steps = blocks()
    with reachable_house(tmp_path) as house, terminal(house, tmp_path) as shell:
        said = {number: [shell.paste(block) for block in steps[number]] for number in "12345"}
        app, fresh = shell.kept("registered.json"), shell.kept("rotated.json")
        assert said["1"] == [[app["key_id"]]]
        assert said["2"][0][0] == "block"
        assert said["2"][0][1] == shell.kept("verdict.json")["reason"] != ""
        assert said["3"] == [["2", "1"]]
        assert shell.kept("batch.json")["errors"][2]["code"] == "text_empty"
        later = shell.kept("later.json")["id"]
        assert re.fullmatch(UUID, later)
        assert said["4"] == [[], ["queued", f"verified detection.completed {later} block"], ["completed"]]
        assert said["5"] == [["200", "200"]]
        assert fresh["key_id"] != app["key_id"]
        assert fresh["rate_limit_per_minute"] == app["rate_limit_per_minute"] == 600

        # The page sleeps; a busy machine may need longer until the last request, with the old key, is counted.
        def counted() -> bool:
            _, usage = house.get(f"/admin/usage/{app['key_id']}")
            return bool(usage["total"]["requests"] >= 6)

        wait_for(counted, 60, "six requests of the registered key in its usage")
        (_, (total, by_decision, by_threat), recorded) = [shell.paste(block) for block in steps["6"]]
    assert set(steps) == set("123456"), "a step of the page that no line above looks at"
    profile, stats = shell.kept("profile.json"), shell.kept("stats.json")
    decisions = {"allow": 1, "block": 3}  # the worker's verdict counts too
    assert profile["decisions"] == stats["by_decision"] == decisions
    assert profile["malicious_detections"] == 3
    assert recorded == ["3"]
    assert profile["total_requests"] >= 6
    assert (total, by_decision) == (str(shell.kept("usage.json")["total"]), str(decisions))
    assert by_threat == str(stats["by_threat_type"])
    assert ATTACK & set(stats["by_threat_type"])
