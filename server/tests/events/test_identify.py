import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.events.identify import identifier, milliseconds_of

VECTORS = json.loads((Path(__file__).parents[3] / "contract" / "vectors" / "event_id.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["events"])
def test_the_vectors(vector: dict[str, Any]) -> None:
    make = identifier(VECTORS["tenant"], VECTORS["owner"])
    assert make(vector["milliseconds"], vector["source_key"]).hex() == vector["id"]


@given(st.integers(0, (1 << 48) - 1), st.text(max_size=100), st.text(max_size=20), st.text(max_size=20))
def test_an_id_is_a_uuid7_of_time_and_hash(milliseconds: int, key: str, tenant: str, owner: str) -> None:
    made = UUID(bytes=identifier(tenant, owner)(milliseconds, key))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert milliseconds_of(made.bytes) == milliseconds
    # The same by another road: 74 bits of the digest, cut into 12 and 62.
    digest = hashlib.sha256(f"{tenant}\0{owner}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
    bits = f"{int(digest, 16):0256b}"[:74]
    whole = f"{made.int:0128b}"
    assert whole[52:64] + whole[66:] == bits


def test_order_of_ids_is_order_of_time() -> None:
    make = identifier("t", "a")
    ids = [make(milliseconds, "k") for milliseconds in (0, 1, 255, 256, 1 << 40, (1 << 48) - 1)]
    assert ids == sorted(ids)


def test_what_differs_in_tenant_owner_or_key_is_another_event() -> None:
    names = [("t", "a", "k"), ("t", "b", "k"), ("u", "a", "k"), ("t", "a", "l")]
    assert len({identifier(tenant, owner)(1, key) for tenant, owner, key in names}) == len(names)


@pytest.mark.parametrize(("given_ms", "kept"), [(-1, 0), (1 << 48, (1 << 48) - 1), (1 << 70, (1 << 48) - 1)])
def test_a_time_out_of_range_is_clamped(given_ms: int, kept: int) -> None:
    assert milliseconds_of(identifier("t", "a")(given_ms, "k")) == kept
