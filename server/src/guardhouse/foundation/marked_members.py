"""Members of a shape that carry a mark (``x-…`` in the schema), found once, and changed in a JSON value.

Two marks exist: ``x-shown-once`` for secrets that only the first answer has, ``x-beta`` for what only a caller
of the beta media type sees.
"""

from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Field

SHOWN_ONCE: Final = "x-shown-once"
BETA: Final = "x-beta"

Path = tuple[str, ...]
ITEMS: Final = "*"  # in a path: every item of a list

ShownOnce = Annotated[
    str | None,
    Field(
        json_schema_extra={SHOWN_ONCE: True},
        description="Shown once: a replay under the same Idempotency-Key has null here, and a `remark`.",
    ),
]


def marked_members(shape: Any, mark: str) -> tuple[Path, ...]:
    """Return where in answers of this shape (a model, or a list or union of models) the marked members are."""
    return tuple(dict.fromkeys(_walk(shape, mark, (), ())))


def change_members(
    value: Any, paths: tuple[Path, ...], change: Callable[[dict[str, Any], str], None]
) -> bool:
    """Call ``change(object, member)`` for each marked member present; tells whether there was one."""
    return sum(_change(value, path, change) for path in paths) > 0


def _walk(shape: Any, mark: str, path: Path, seen: tuple[Any, ...]) -> Iterator[Path]:
    if isinstance(shape, type) and issubclass(shape, BaseModel) and shape not in seen:
        for name, field in shape.model_fields.items():
            here = (*path, field.serialization_alias or field.alias or name)
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get(mark):
                yield here
            else:
                yield from _walk(field.annotation, mark, here, (*seen, shape))
        return
    inside = path if get_origin(shape) in {Union, UnionType, Annotated} else (*path, ITEMS)
    for part in get_args(shape):
        yield from _walk(part, mark, inside, seen)


def _change(value: Any, path: Path, change: Callable[[dict[str, Any], str], None]) -> bool:
    head, *rest = path
    if head == ITEMS:
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        return sum(_change(item, tuple(rest), change) for item in items) > 0
    if not isinstance(value, dict) or head not in value:
        return False
    if rest:
        return _change(value[head], tuple(rest), change)
    change(value, head)
    return True
