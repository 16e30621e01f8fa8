from typing import Any

import pytest

from guardhouse.analysis.risk.conditions import Condition, compile_conditions, expand


def condition(operators: dict[str, Any], field: str = "path") -> Condition:
    return compile_conditions({field: operators}, "t", {"shells": ["sh", "bash"]})[0]


@pytest.mark.parametrize(
    ("operators", "got", "wanted"),
    [
        ({"eq": "a"}, "a", True),
        ({"eq": "a"}, ("b", "a"), True),
        ({"eq": 3}, 3, True),
        ({"in": ["@shells"]}, "bash", True),
        ({"in": ["@shells"]}, "dash", False),
        ({"in": ["a"]}, ("x", "a"), True),
        ({"prefix": "/etc/"}, "/etc/x", True),
        ({"prefix": ["/a", "/b"]}, "/c", False),
        ({"suffix": ".so"}, "x.so", True),
        ({"glob": "*/etc/cron.d/*"}, "/mnt/etc/cron.d/x", True),
        ({"glob": ["*.[0-9]"]}, "syslog.1", True),
        ({"bits": 0o6000}, 0o4755, True),
        ({"bits": 0o6000}, 0o755, False),
        ({"bits": ["O_RDWR"]}, ("O_RDWR", "O_CREAT"), True),
        ({"bits": ["O_RDWR"]}, "O_RDWR", False),
        ({"ge": 5}, 5, True),
        ({"ge": 5}, "9", False),
        ({"eq": "a", "prefix": "b"}, "bc", True),
        ({"prefix": "a"}, None, False),
        ({"prefix": "a"}, 7, False),
    ],
)
def test_operators(operators: dict[str, Any], got: Any, wanted: bool) -> None:  # noqa: FBT001 - a parameter table
    assert condition(operators).passes(got) is wanted


def test_lists_expand_in_place() -> None:
    assert expand(["x", "@shells"], "t", {"shells": ["sh", "bash"]}) == ["x", "sh", "bash"]
    assert expand("@shells", "t", {"shells": ["sh"]}) == ["sh"]
    assert expand(5, "t", {}) == 5
