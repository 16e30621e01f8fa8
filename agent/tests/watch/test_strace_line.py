# ruff: noqa: E501 -- lines of strace are as long as they are
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_agent.watch.strace_line import (
    Result,
    cut_unfinished,
    read_descriptor,
    read_plain_result,
    read_prefix,
    read_string,
    read_strings,
    split_call,
    unescape,
)

NS = 1_000_000_000


@pytest.mark.parametrize(
    ("line", "pid", "ns", "day"),
    [
        ("17303 1795305315.937567 brk(NULL) = 0", 17303, 1795305315937567000, False),
        ("1795304889.647507 brk(NULL) = 0", None, 1795304889647507000, False),
        ("[pid  4711] 12:00:01.000002 brk(NULL) = 0", 4711, 43201 * NS + 2000, True),
        ("4711 12:00:01 brk(NULL) = 0", 4711, 43201 * NS, True),
        ("4711<python3> 1.5 brk(NULL) = 0", 4711, 1_500_000_000, False),
        ("4711  1.5 [00007f12a9c00000] brk(NULL) = 0", 4711, 1_500_000_000, False),
        ("4711 brk(NULL) = 0", 4711, None, False),
        ("brk(NULL) = 0", None, None, False),
    ],
)
def test_prefix_in_all_its_forms(line: str, pid: int | None, ns: int | None, day: bool) -> None:  # noqa: FBT001 -- a column of the table
    prefix = read_prefix(line)
    assert prefix is not None
    assert (prefix.pid, prefix.ns, prefix.day_ns) == (pid, ns, day)
    assert line[prefix.rest_at :] == "brk(NULL) = 0"


def test_a_pid_beyond_linux_is_refused() -> None:
    assert read_prefix("4194305 1.5 brk(NULL) = 0") is None


@pytest.mark.parametrize(
    ("text", "arguments", "result"),
    [
        ('AT_FDCWD</srv>, "a", O_RDONLY) = 3</srv/a>', ["AT_FDCWD</srv>", '"a"', "O_RDONLY"], Result(3, None, "</srv/a>")),
        (") = 0", [], Result(0, None, None)),
        ('"a, b) = 9", [1, 2], {x={y=1}, z}) = -1 ENOENT (No)', ['"a, b) = 9"', "[1, 2]", "{x={y=1}, z}"], Result(-1, "ENOENT", None)),
        ("5<TCP:[127.0.0.1:1->127.0.0.1:2]>, 0) = 0", ["5<TCP:[127.0.0.1:1->127.0.0.1:2]>", "0"], Result(0, None, None)),
        ("3</dev/null<char 1:3>>) = 0 <0.000012>", ["3</dev/null<char 1:3>>"], Result(0, None, None)),
        ("{effective=1<<CAP_CHOWN|1<<CAP_KILL}, 3</a>) = 0", ["{effective=1<<CAP_CHOWN|1<<CAP_KILL}", "3</a>"], Result(0, None, None)),
        ("0x3 /* odd ) = 7, */, 1) = ? ERESTARTSYS (To be restarted)", ["0x3 /* odd ) = 7, */", "1"], Result(None, "ERESTARTSYS", None)),
        ("1) = 0x7f12aa36d000", ["1"], Result(None, None, None)),
        ("1) = 0x8 (flags O_RDWR)", ["1"], Result(8, None, None)),
    ],
)  # fmt: skip
def test_split_call(text: str, arguments: list[str], result: Result) -> None:
    assert split_call(text) == (arguments, result)


def test_a_file_name_cannot_pass_for_a_result() -> None:
    # strace escapes quotes and brackets of names, so this is how such a file looks in a log
    text = r'AT_FDCWD</tmp>, "x\") = -1 EPERM (no)", O_RDONLY) = 3</tmp/x") = -1 EPERM (no)>'
    split = split_call(text)
    assert split is not None
    assert split[1].ret == 3
    assert split[1].errno is None


@pytest.mark.parametrize("text", ["", "1, 2", '"never closed) = 0', "[1, 2) = 0", "1)", "1) 0", "}) = 0"])
def test_what_is_cut_gives_nothing(text: str) -> None:
    assert split_call(text) is None


def test_plain_result_takes_the_last_one() -> None:
    assert read_plain_result('3, "x) = 5", 4) = -1 EAGAIN (Resource)') == Result(-1, "EAGAIN", None)
    assert read_plain_result("[{fd=3}], 1, -1) = 1 ([{fd=3, revents=POLLIN}])") == Result(1, None, None)
    assert read_plain_result("1, 2") is None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("3,  <unfinished ...>", ("3,", None)),
        ("<unfinished ...>", ("", None)),
        ("0 <unfinished ...>) = ?", ("0", None)),
        ("0 <detached ...>", ("0", None)),
        ('"/bin/true" <pid changed to 13213 ...>', ('"/bin/true"', 13213)),
        ("0) = 0", None),
    ],
)  # fmt: skip
def test_unfinished(text: str, cut: tuple[str, int | None] | None) -> None:
    assert cut_unfinished(text) == cut


def test_strings() -> None:
    assert read_string(r'"a\303\244\n\"\\\x41"') == 'aä\n"\\A'
    assert read_string('"cut"...') == "cut…"
    assert read_string("NULL") is None
    assert read_string(r'"\377"') == "�"
    assert read_strings('["sh", "-c", "a, \\"b\\""...]') == ["sh", "-c", 'a, "b"…']


def test_descriptors() -> None:
    assert read_descriptor("3</etc/passwd>") == (3, "/etc/passwd")
    assert read_descriptor("AT_FDCWD</srv>") == (None, "/srv")
    assert read_descriptor(r"3</memfd:a\nb>(deleted)") == (3, "/memfd:a\nb (deleted)")
    assert read_descriptor("-1") == (-1, None)
    assert read_descriptor("NULL") == (None, None)


def escape(raw: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\<>' else f"\\{b:03o}" for b in raw)


@given(st.binary(max_size=300))
def test_unescape_undoes_what_strace_escapes(raw: bytes) -> None:
    assert unescape(escape(raw)) == raw.decode("utf-8", "replace")


@given(st.one_of(st.text(max_size=6000), st.binary(min_size=1300, max_size=5000).map(escape)))
def test_no_string_is_longer_than_the_wire_allows(text: str) -> None:
    assert len(unescape(text).encode("utf-8", "surrogatepass")) <= 4096
