from typing import Annotated, Any

from pydantic import BaseModel, Field

from guardhouse.foundation.marked_members import (
    BETA,
    SHOWN_ONCE,
    ShownOnce,
    change_members,
    marked_members,
)


class Leaf(BaseModel):
    name: str
    secret: ShownOnce
    child: "Leaf | None" = None


class Tree(BaseModel):
    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    either: int | Leaf
    named: Annotated[ShownOnce, Field(alias="theirName")]
    young: Annotated[int, Field(json_schema_extra={BETA: True})] = 1


def blank(holder: dict[str, Any], member: str) -> None:
    holder[member] = None


def test_marks_are_found_wherever_a_model_stands() -> None:
    assert marked_members(Tree, SHOWN_ONCE) == (
        ("leaves", "*", "secret"),
        ("by_name", "*", "secret"),
        ("either", "secret"),
        ("theirName",),
    )
    assert marked_members(Tree, BETA) == (("young",),)
    assert marked_members(list[Leaf] | None, SHOWN_ONCE) == (("*", "secret"),)
    for nothing in (None, int, dict[str, Any], Any):
        assert marked_members(nothing, SHOWN_ONCE) == ()


def test_members_are_changed_where_they_are_and_only_there() -> None:
    paths = marked_members(Tree, SHOWN_ONCE)
    value: dict[str, Any] = {
        "leaves": [{"name": "a", "secret": "x"}, {"name": "b"}, None],
        "by_name": {"c": {"secret": "y"}},
        "either": 5,
        "theirName": "z",
        "other": {"secret": "stays"},
    }
    assert change_members(value, paths, blank)
    assert value == {
        "leaves": [{"name": "a", "secret": None}, {"name": "b"}, None],
        "by_name": {"c": {"secret": None}},
        "either": 5,
        "theirName": None,
        "other": {"secret": "stays"},
    }
    assert not change_members({"leaves": []}, paths, blank)
    assert not change_members([1, "x", None], paths, blank)
