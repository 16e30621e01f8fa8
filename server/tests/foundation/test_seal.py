import base64

import pytest

from guardhouse.foundation.seal import CannotOpen, MasterKey

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def test_what_is_sealed_opens_again_and_only_for_its_purpose() -> None:
    key = MasterKey([NEW])
    sealed = key.seal(b"secret", "agent-key a")
    assert key.open(sealed, "agent-key a") == b"secret"
    assert b"secret" not in sealed
    assert sealed != key.seal(b"secret", "agent-key a")
    with pytest.raises(CannotOpen):
        key.open(sealed, "agent-key b")


def test_every_bit_is_authenticated() -> None:
    key = MasterKey([NEW])
    sealed = key.seal(b"secret", "p")
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(CannotOpen):
                key.open(bytes(changed), "p")


def test_every_cut_is_refused_in_the_same_way() -> None:
    key = MasterKey([NEW])
    sealed = key.seal(b"secret", "p")
    for length in range(len(sealed)):
        with pytest.raises(CannotOpen):
            key.open(sealed[:length], "p")


def test_two_generations_open_and_the_first_seals() -> None:
    old = MasterKey([OLD]).seal(b"secret", "p")
    both = MasterKey([NEW, OLD])
    assert both.open(old, "p") == b"secret"
    assert MasterKey([NEW]).open(both.seal(b"x", "p"), "p") == b"x"
    with pytest.raises(CannotOpen):
        MasterKey([NEW]).open(old, "p")


@pytest.mark.parametrize("text", ["", "AAAA", base64.urlsafe_b64encode(bytes(31)).decode(), f"{'A' * 43},"])
def test_a_key_is_32_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"master key|padd|characters"):
        MasterKey.parse(text)


def test_keys_are_read_with_and_without_padding_and_never_shown() -> None:
    padded = base64.urlsafe_b64encode(NEW).decode()
    key = MasterKey.parse(f"{padded.rstrip('=')}, {base64.urlsafe_b64encode(OLD).decode()}")
    assert key.generations == (NEW, OLD)
    assert str(NEW[5:9])[2:-1] not in repr(key)
