"""Write the call tables and constants that audit records are read with, from the kernel's own user headers.

Audit records name calls and flags by number. `agent/src/guard_agent/watch/calls/` holds, per ABI, which number
is which call, and what the numbers in arguments mean; nothing there is written by hand. Run with the folder
that holds the headers of all three machines, in the layout of the PyPI package `ziglang` (an archive whose
`lib/libc/include` is such a folder); `--check` compares instead of writing.

    python tools/make_call_tables.py .../ziglang/lib/libc/include [--check]
"""

import ast
import operator
import re
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

TARGET = Path(__file__).parents[1] / "agent/src/guard_agent/watch/calls"
X32_BIT = 0x40000000
_DEFINE = re.compile(r"^#\s*define\s+([A-Za-z_][A-Za-z0-9_]*)[ \t]+(.+)$", re.MULTILINE)
_OUTER_DEFINE = re.compile(r"^#define\s+([A-Za-z_][A-Za-z0-9_]*)[ \t]+(.+)$", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|/\*.*$|//.*$", re.DOTALL | re.MULTILINE)
_ENUM = re.compile(r"enum\s*([a-z_]*)\s*\{(.*?)\}", re.DOTALL)
_OPERATORS: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.LShift: operator.lshift,
    ast.BitOr: operator.or_,
    ast.Add: operator.add,
}

Rows = dict[int, str]


def evaluate(text: str, known: dict[str, int]) -> int | None:
    """The value of a constant expression in C; None for anything but numbers, names, `<<`, `|`, `+`, `-`."""
    plain = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text.strip())
    plain = re.sub(r"\b0([0-7]+)\b", r"0o\1", plain)
    try:
        return _value(ast.parse(plain, mode="eval").body, known)
    except (SyntaxError, KeyError, TypeError):
        return None


def _value(node: ast.expr, known: dict[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, known), _value(node.right, known))
    raise TypeError(ast.dump(node))


def defines(path: Path, *, outer: bool = False) -> dict[str, int]:
    """The integer macros of a header; `outer` leaves out those that are indented (`# define`)."""
    known: dict[str, int] = {}
    for name, text in (_OUTER_DEFINE if outer else _DEFINE).findall(path.read_text("utf-8")):
        value = evaluate(_COMMENT.sub("", text), known)
        if value is not None:
            known.setdefault(name, value)
    return known


def enumerators(path: Path, name: str, first: str) -> dict[str, int]:
    """The members of the enum called `name` whose first member is `first`."""
    for found, body in _ENUM.findall(_COMMENT.sub("", path.read_text("utf-8"))):
        members = [part.strip() for part in body.split(",") if part.strip()]
        if found != name or not members[0].startswith(first):
            continue
        known: dict[str, int] = {}
        following = 0
        for member in members:
            word, _, text = member.partition("=")
            value = evaluate(text, known) if text else following
            if value is not None:
                known[word.strip()] = value
                following = value + 1
        return known
    raise SystemExit(f"{path}: no enum {name} that begins with {first}")


def named(values: dict[str, int], prefix: str, without: Iterable[str] = ()) -> Rows:
    """Rows of what begins with `prefix`, the first name of each number."""
    rows: Rows = {}
    for name, value in values.items():
        if name.startswith(prefix) and value >= 0 and not name.startswith(tuple(without) or ("\0",)):
            rows.setdefault(value, name)
    return rows


def bits(values: dict[str, int], prefix: str, without: Iterable[str] = ()) -> Rows:
    """Rows of the single bits that begin with `prefix`."""
    return {n: name for n, name in named(values, prefix, without).items() if n and n & (n - 1) == 0}


def calls(path: Path) -> Rows:
    """The calls of one `unistd` header; x32 numbers keep their bit."""
    known = {"__X32_SYSCALL_BIT": X32_BIT}
    rows: Rows = {}
    for name, text in _DEFINE.findall(path.read_text("utf-8")):
        value = evaluate(text, known) if name.startswith("__NR_") else None
        if value is not None:
            rows[value] = name.removeprefix("__NR_")
    return rows


def open_flags(*paths: Path) -> Rows:
    """The bits of open(2), as the machine's own header says before the generic one."""
    known: dict[str, int] = {}
    for path in paths:
        for name, value in defines(path).items():
            known.setdefault(name.removeprefix("__") if name in ("__O_SYNC", "__O_TMPFILE") else name, value)
    known |= {
        name: value for path in paths for name, value in defines(path).items() if name.startswith("__O_")
    }
    known["O_SYNC"] = known["__O_SYNC"]
    known["O_TMPFILE"] = known["__O_TMPFILE"]
    return bits(known, "O_", ("O_ACCMODE", "O_NDELAY", "O_RDONLY", "O_WRONLY", "O_RDWR"))


def constants(root: Path) -> dict[str, Rows]:
    """What the numbers in arguments mean, by group."""
    plain, x86, arm = root / "any-linux-any", root / "x86-linux-any", root / "aarch64-linux-any"
    generic = plain / "asm-generic/fcntl.h"
    requests = defines(plain / "linux/ptrace.h") | defines(x86 / "asm/ptrace-abi.h")
    requests_arm = defines(plain / "linux/ptrace.h") | defines(arm / "asm/ptrace.h")
    no_requests = ("PTRACE_O_", "PTRACE_EVENT", "PTRACE_SYSCALL_INFO_", "PTRACE_PEEKSIGINFO_SHARED")
    families = {name: int(getattr(socket, name)) for name in dir(socket) if name.startswith("AF_")}
    kinds = {name: int(getattr(socket, name)) for name in dir(socket) if name.startswith("SOCK_")}
    bpf = enumerators(plain / "linux/bpf.h", "bpf_cmd", "BPF_MAP_CREATE")
    personality = enumerators(plain / "linux/personality.h", "", "UNAME26")
    return {
        "at": bits(
            defines(plain / "linux/fcntl.h"),
            "AT_",
            ("AT_STATX", "AT_RENAME", "AT_HANDLE", "AT_EACCESS", "AT_EXECVE"),
        ),
        "bpf": named(bpf, "BPF_", ("BPF_COMMON",)),
        "clone": bits(defines(plain / "linux/sched.h"), "CLONE_", ("CLONE_ARGS",)),
        "family": named(families, "AF_", ("AF_ROUTE",)),
        "memfd": bits(defines(plain / "linux/memfd.h"), "MFD_", ("MFD_HUGE_",)),
        "module": bits(defines(plain / "linux/module.h"), "MODULE_INIT_"),
        "mount": bits(
            defines(plain / "linux/mount.h"),
            "MS_",
            (
                "MS_KERNMOUNT",
                "MS_SUBMOUNT",
                "MS_NOREMOTE",
                "MS_NOSEC",
                "MS_BORN",
                "MS_ACTIVE",
                "MS_NOUSER",
                "MS_VERB",
            ),
        ),
        "open": open_flags(generic),
        "open.aarch64": open_flags(arm / "asm/fcntl.h", generic),
        "personality": bits(personality, ""),
        "prctl": named(
            defines(plain / "linux/prctl.h", outer=True), "PR_", ("PR_CFI_", "PR_MTE_", "PR_SVE_VL")
        ),
        "prot": bits(defines(plain / "asm-generic/mman-common.h"), "PROT_"),
        "ptrace": {n: _as_strace(name) for n, name in named(requests, "PTRACE_", no_requests).items()},
        "ptrace.aarch64": {
            n: _as_strace(name) for n, name in named(requests_arm, "PTRACE_", no_requests).items()
        },
        "rename": bits(defines(plain / "linux/fs.h"), "RENAME_"),
        "socket_type": named(kinds, "SOCK_", ("SOCK_CLOEXEC", "SOCK_NONBLOCK")),
        "socket_flag": bits(
            kinds, "SOCK_", tuple(n for n in kinds if n not in ("SOCK_CLOEXEC", "SOCK_NONBLOCK"))
        ),
        "socketcall": {
            n: name[4:].lower() for n, name in named(defines(plain / "linux/net.h"), "SYS_").items()
        },
    }


def _as_strace(name: str) -> str:
    """ptrace(2) and strace write USER where the kernel's header writes USR."""
    return name.removesuffix("USR") + "USER" if name.endswith("USR") else name


def build(root: Path) -> dict[str, str]:
    """The text of each file by its name."""
    x86, arm = root / "x86-linux-any/asm", root / "aarch64-linux-any/asm"
    tables = {
        "x86_64": calls(x86 / "unistd_64.h")
        | {n: c for n, c in calls(x86 / "unistd_x32.h").items() if n & X32_BIT},
        "i386": calls(x86 / "unistd_32.h"),
        "aarch64": calls(arm / "unistd_64.h"),
    }
    files = {
        f"{name}.tsv": "".join(f"{number}\t{call}\n" for number, call in sorted(rows.items()))
        for name, rows in tables.items()
    }
    files["constants.tsv"] = "".join(
        f"{group}\t{number}\t{name}\n"
        for group, rows in sorted(constants(root).items())
        for number, name in sorted(rows.items())
    )
    return files


def main() -> int:
    """Write the files, or with `--check` say which differ; 1 when one does, 2 without the folder."""
    words = [word for word in sys.argv[1:] if word != "--check"]
    if len(words) != 1:
        print(__doc__)
        return 2
    wrong = 0
    for name, text in build(Path(words[0])).items():
        path = TARGET / name
        same = path.exists() and path.read_text("utf-8") == text
        if "--check" in sys.argv[1:]:
            wrong += not same
        else:
            path.write_text(text, "utf-8")
        print(f"{name}: {len(text.splitlines())} rows{'' if same else ', changed'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
