"""What import-linter cannot say about the shape of the house."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "server" / "src" / "guardhouse"
LONGEST_FILE, LONGEST_FUNCTION = 400, 70
BANNED_NAMES = {
    "service",
    "services",
    "manager",
    "managers",
    "helper",
    "helpers",
    "util",
    "utils",
    "core",
    "common",
}
BANNED_NAMES |= {"base", "misc"}
NAMED_BY_OTHERS = {
    "agent/src/guard_agent/utils.py"
}  # its name is part of the interface that the library keeps
NOT_FEATURES = {"analysis", "cli", "conformance", "foundation", "http", "worker"}
EDGES = {"cli", "http", "worker"}
# A dot stands for each name's own, so that this file does not hold what it looks for.
HOSTS = r"\b(?:pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|deb[.]debian[.]org|crates[.]io)\b"
MACHINE_PATHS = r"/work/(?:main|wt|shared)\b|/root/[.](?:pyenv|cache|local)\b|/tmp/bash[_]"
BINARY_SUFFIXES = {".enc", ".bin", ".gz", ".zst", ".png", ".woff2"}


def tracked(*patterns: str) -> list[Path]:
    """Return the files git tracks, or all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    else:
        skipped = {".venv", ".venvs", "node_modules", "out", "dist"}
        found = [
            path for path in REPOSITORY.rglob("*") if not skipped & set(path.relative_to(REPOSITORY).parts)
        ]
    return [path for path in found if path.is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked("*.py") if path.suffix == ".py" and "generated" not in path.parts]


def features() -> list[Path]:
    return sorted(
        path
        for path in PACKAGE.iterdir()
        if path.is_dir() and path.name not in {*NOT_FEATURES, "__pycache__"}
    )


def imports(path: Path) -> Iterator[str]:
    """Yield every module a file imports, with the names it takes from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def settings() -> dict[str, object]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_a_feature_never_imports_the_store_of_another() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for feature in features()
        for path in feature.rglob("*.py")
        for name in imports(path)
        if (found := re.match(r"guardhouse\.(\w+)\.(?:\w+\.)*store\b", name)) and found[1] != feature.name
    ]
    # Rows that another feature hands out are its types; they may be named, its statements may not be called.
    wrong = [line for line in wrong if not line.rpartition(".")[2][0].isupper()]
    assert not wrong, "\n".join(wrong)


def test_nobody_but_the_edges_commits() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno} calls .{node.func.attr}()"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name not in EDGES and path.name not in {"transaction.py", "migrate.py"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"commit", "rollback", "begin_nested"}
    ]
    assert not wrong, "\n".join(wrong)


def test_every_feature_has_its_inner_order_checked() -> None:
    contracts = settings()["tool"]["importlinter"]["contracts"]  # type: ignore[index] # plain TOML
    inner = next(contract for contract in contracts if contract["name"].startswith("2."))
    assert set(inner["containers"]) == {f"guardhouse.{feature.name}" for feature in features()}


def test_names_say_what_a_file_holds() -> None:
    wrong = [
        str(path.relative_to(REPOSITORY))
        for path in python_files()
        if BANNED_NAMES & {path.stem, *path.relative_to(REPOSITORY).parts[:-1]}
        and str(path.relative_to(REPOSITORY)) not in NAMED_BY_OTHERS
    ]
    assert not wrong, "\n".join(wrong)


def test_files_stay_short_enough_to_read() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}: {count} lines"
        for path in python_files()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    ]
    assert not wrong, "\n".join(wrong)


def test_functions_stay_short_enough_to_read() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}: {length} lines"
        for path in python_files()
        if "migrations" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not wrong, "\n".join(wrong)


def test_no_tracked_file_names_a_registry_or_a_place_on_one_machine() -> None:
    forbidden = re.compile(f"{HOSTS}|{MACHINE_PATHS}")
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if path.suffix not in BINARY_SUFFIXES
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_files_named_in_the_architecture_exist() -> None:
    document = REPOSITORY / "ARCHITECTURE.md"
    if not document.exists():
        pytest.skip("ARCHITECTURE.md is not written yet")
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|toml|md|json|yaml|txt))`", text))
    roots = (REPOSITORY, PACKAGE, REPOSITORY / "agent" / "src" / "guard_agent")
    missing = sorted(name for name in named if not any((root / name).exists() for root in roots))
    assert not missing, "\n".join(missing)


def test_every_module_says_what_it_is_for() -> None:
    wrong = [
        str(path.relative_to(REPOSITORY))
        for root in (PACKAGE, REPOSITORY / "agent" / "src")
        for path in root.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not wrong, "\n".join(wrong)


# What may be compared with == although its name sounds secret, and why.
COMPARED_OPENLY = {
    "digest != digests[0]",  # which of our own peppers a row was hashed under
    "given != _at_hash(sealed, tokens.access_token)",  # a hash that the ID token shows
    "invites.c.digest == digest",  # a look-up by SQL
    "_encode(given) != mac",  # one spelling per MAC; the MAC itself is compared below it
    "settings.signature == 'required'",  # what a project demands, not a signature
}
SOUNDS_SECRET = re.compile(r"(?:^|_)(?:mac|hmac|digest|digests|signature)$")


def test_secrets_are_compared_in_constant_time() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno} {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops)
        and any(SOUNDS_SECRET.search(name) for name in _names(node))
        and ast.unparse(node) not in COMPARED_OPENLY
    ]
    assert found == [], "compare with hmac.compare_digest"


def _names(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
