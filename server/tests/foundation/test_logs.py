import json
import logging
from typing import Literal

import pytest
import structlog

from guardhouse.foundation import correlation, logs
from server.tests.components.logged import written

KEY = "gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW"


class Holder:
    def __repr__(self) -> str:
        return f"Holder({KEY})"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_written(form: Literal["json", "console"]) -> None:
    with written(form) as stream:
        log = structlog.get_logger("test")
        log.info("asked", authorization="Basic abc", headers={"X-API-Key": "tiger", "n": [f"Bearer {KEY}"]})
        log.info(
            "raw", headers=[(b"x-api-key", KEY.encode())], holder=Holder(), url="postgresql://u:tiger@h/db"
        )
        log.warning(
            "text %s", KEY, url="redis://:tiger@h/0", secret_thing="tiger", pepper="tiger", token="tiger"
        )
        try:
            int(f"bad {KEY}")
        except ValueError:
            log.exception("crashed")
        logging.getLogger("uvicorn.error").error("library %s", f"postgresql://u:tiger@h/{KEY}")
        try:
            float(KEY)
        except ValueError:
            logging.getLogger("alembic").exception("library crashed")
    said = stream.getvalue()
    assert "0123456789ABCDEF" not in said
    assert "tiger" not in said
    assert "ValueError" in said
    assert "library crashed" in said
    assert said.count(logs.MASK) >= 10


def test_a_line_is_one_json_object() -> None:
    with written() as caught:
        correlation.begin("req-abc")
        logs.get("m").info("asked", url="http://h", user='a"b:c@d', other="me@corp")
    line = json.loads(caught.getvalue())
    assert line["event"] == "asked"
    assert line["correlation_id"] == "req-abc"
    assert line["url"] == "http://h"
    assert line["other"] == "me@corp"
    assert line["level"] == "info"


@pytest.mark.parametrize(
    ("offered", "kept"), [("a.B-9_", True), ("", False), ("a b", False), ("x" * 129, False), (KEY, False)]
)
def test_a_correlation_id_is_taken_when_it_is_one(offered: str, kept: bool) -> None:  # noqa: FBT001 - parametrised
    assert (correlation.begin(offered) == offered) is kept
    assert correlation.current()
