import json
from pathlib import Path

import pytest

from guardhouse.foundation.resources import Pepper, parse_peppers
from guardhouse.identity import key_format

VECTORS = json.loads((Path(__file__).parents[3] / "contract" / "vectors" / "api_key.json").read_text())
KEYS = [vector["key"] for vector in VECTORS["keys"]]


@pytest.mark.parametrize("vector", VECTORS["keys"])
def test_the_vectors(vector: dict[str, str]) -> None:
    key = vector["key"]
    assert key_format.checksum(key[:-9]) == vector["checksum"]
    assert key_format.well_formed(key)
    pepper = Pepper("a", bytes.fromhex(VECTORS["pepper_hex"]))
    assert key_format.digest(pepper, key).hex() == vector["digest_hex"]


def test_the_published_vectors_are_the_ones_of_the_specification() -> None:
    assert KEYS == [
        "gh_test_0123456789ABCDEFGHIJKLMNOPQRSTUV_yMTosGFW",
        "gh_live_00000000000000000000000000000000_SaHVT2z3",
    ]
    first = VECTORS["keys"][0]["digest_hex"]
    assert first == "d24e4ba3e6632a65187bb73d7f33c0ceefc0251b743af3329dbf79566011b205"


@pytest.mark.parametrize("key", KEYS)
def test_one_character_changed_in_every_place_is_noticed(key: str) -> None:
    for place in range(len(key)):
        for letter in key_format.ALPHABET + "_-é \n":
            if letter != key[place]:
                assert not key_format.well_formed(key[:place] + letter + key[place + 1 :])


@pytest.mark.parametrize("key", KEYS)
def test_neighbours_swapped_cuts_and_additions_are_noticed(key: str) -> None:
    for place in range(len(key) - 1):
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert swapped == key or not key_format.well_formed(swapped)
    assert not any(key_format.well_formed(key[:length]) for length in range(len(key)))
    assert not any(key_format.well_formed(text) for text in (key + "0", key + "\n", " " + key, key * 2))


@pytest.mark.parametrize("env", ["live", "test"])
def test_new_keys_are_well_formed_and_all_different(env: str) -> None:
    made = {key_format.new_key(env) for _ in range(200)}
    assert len(made) == 200
    assert all(key_format.well_formed(key) and key.startswith(f"gh_{env}_") for key in made)
    assert {letter for key in made for letter in key[8:40]} == set(key_format.ALPHABET)


@pytest.mark.parametrize(
    "text", ["", "a", "a:", ":QUFBQUFBQUFBQUFBQUFBQQ", "a:QUFB", "a:QUFBQUFBQUFBQUFBQUFBQQ,"]
)
def test_a_pepper_is_named_and_long_enough(text: str) -> None:
    with pytest.raises(ValueError, match=r"GUARDHOUSE_KEY_PEPPERS|padding|base64"):
        parse_peppers(text)
