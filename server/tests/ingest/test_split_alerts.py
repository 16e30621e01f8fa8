"""A body of alerts taken apart: one object, an array, or lines; what is wrong inside costs itself."""

import json

import pytest

from guardhouse.foundation.errors import BodyTooLarge
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.split_alerts import MAX_READ, split_alerts

ONE, TWO = b'{"a":1}', b'{"b":{"c":[2]}}'


def split(content: bytes) -> list[bytes]:
    return split_alerts(content, said_lines=False)


@pytest.mark.parametrize(
    ("content", "items"),
    [
        (ONE, [ONE]),
        (b"\xef\xbb\xbf \n" + ONE + b"\n", [ONE]),
        (b"[]", []),
        (b" [" + ONE + b" ,\n" + TWO + b"] ", [ONE, TWO]),
        (ONE + b"\n" + TWO, [ONE, TWO]),
        (ONE + b"\r\n\r\n" + TWO + b"\n", [ONE, TWO]),
        (b"[" + ONE + b"," + b'{"x":NaN}' + b"," + TWO + b"]", [ONE, b'{"x":NaN}', TWO]),
        (b"[" + ONE + b',{"x":},7,"s",null,' + TWO + b"]", [ONE, b'{"x":}', b"7", b'"s"', b"null", TWO]),
        (ONE + b'\n{"cut":\n' + TWO, [ONE, b'{"cut":', TWO]),
        (b'{"cut":\n' + ONE + b"\n" + TWO, [b'{"cut":', ONE, TWO]),
        (b'{"a": NaN}', [b'{"a": NaN}']),
    ],
)
def test_what_a_body_is_is_told_by_what_is_there(content: bytes, items: list[bytes]) -> None:
    assert split(content) == items


def test_one_object_in_several_lines_is_one() -> None:
    pretty = json.dumps({"process_exec": {"process": {"pid": 1, "cap": ["a", "b"]}}}, indent=2).encode()
    assert split(pretty) == [pretty]
    lenient = pretty.replace(b'"pid": 1', b'"pid": NaN')
    assert split(lenient) == [lenient]


@pytest.mark.parametrize(
    "content",
    [b"", b"  ", b"null", b"7", b'"x"', b"nonsense", b'{"a":', b"[", b"[1,", b"[1]x", b'{"a":1}}', b"<xml/>"],
)
def test_what_is_neither_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedBody):
        split(content)


def test_lines_that_are_said_to_be_lines_are_taken_one_by_one() -> None:
    content = b"nonsense\n\n" + ONE + b"\n[1]\n"
    assert split_alerts(content, said_lines=True) == [b"nonsense", ONE, b"[1]"]
    assert split_alerts(b" \n\n", said_lines=True) == []


def test_very_many_are_not_all_cut() -> None:
    with pytest.raises(BodyTooLarge):
        split(b"[" + b"x," * (MAX_READ + 5) + b"x]")
    assert len(split_alerts(b"1\n" * (MAX_READ + 5), said_lines=True)) == MAX_READ
