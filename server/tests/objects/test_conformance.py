"""What every object store keeps. An adapter is added to ``STORES`` and passes all of this."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from guardhouse.foundation.objects import LocalObjects, ObjectAbsent, ObjectExists, ObjectStore

STORES: dict[str, Callable[[Path], ObjectStore]] = {"local": lambda folder: LocalObjects(folder / "objects")}
LONG = "/".join(["k" * 128] * 8)


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return STORES[request.param](tmp_path)


@pytest.mark.parametrize("key", ["a", "A-b_c.d", "_x", "runs/0198/out.json", "a.part", LONG])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 70_000])
async def test_what_is_put_is_got(store: ObjectStore, key: str, content: bytes) -> None:
    stored = await store.put(key, content)
    assert (stored.key, stored.size_bytes) == (key, len(content))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert await store.get(key) == content


async def test_a_taken_key_is_refused_and_its_object_untouched(store: ObjectStore) -> None:
    await store.put("a", b"first")
    with pytest.raises(ObjectExists):
        await store.put("a", b"second")
    assert await store.get("a") == b"first"


async def test_of_many_writers_of_one_key_one_wins(store: ObjectStore) -> None:
    contents = [bytes([n]) * 10_000 for n in range(20)]
    outcomes = await asyncio.gather(*(store.put("x/y", c) for c in contents), return_exceptions=True)
    winners = [
        content
        for content, outcome in zip(contents, outcomes, strict=True)
        if not isinstance(outcome, Exception)
    ]
    assert len(winners) == 1
    assert sum(isinstance(outcome, ObjectExists) for outcome in outcomes) == 19
    assert await store.get("x/y") == winners[0]


async def test_a_deleted_object_is_absent_and_its_key_free(store: ObjectStore) -> None:
    await store.put("a/b", b"1")
    await store.delete("a/b")
    await store.delete("a/b")
    with pytest.raises(ObjectAbsent):
        await store.get("a/b")
    await store.put("a/b", b"2")
    assert await store.get("a/b") == b"2"


@pytest.mark.parametrize("order", [("a", "a/b", "a/b/c"), ("a/b/c", "a/b", "a")])
async def test_a_key_may_lie_under_another(store: ObjectStore, order: tuple[str, ...]) -> None:
    for key in order:
        await store.put(key, key.encode())
    for key in order:
        assert await store.get(key) == key.encode()
    await store.delete("a/b")
    assert await store.get("a/b/c") == b"a/b/c"


async def test_a_folder_is_no_object(store: ObjectStore) -> None:
    await store.put("a/b", b"1")
    with pytest.raises(ObjectAbsent):
        await store.get("a")
    await store.delete("a")
    with pytest.raises(ObjectAbsent):
        await store.get("a/b/c")


BAD = [
    "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a/.b", "-a", "a b", "a\x00", "a\n", "é",
    "a\\b", "a:b", "a@", "k" * 129, "/".join("a" * 9), "%2e%2e",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD)
async def test_what_is_no_key_reaches_nothing(store: ObjectStore, key: str) -> None:
    for call in (store.get(key), store.delete(key), store.put(key, b"x")):
        with pytest.raises(ValueError, match="not an object key"):
            await call


class PowerCut(BaseException):
    pass


async def test_leftovers_of_a_crash_are_invisible_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalObjects(tmp_path / "objects")

    def crash(*_args: object, **_named: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", crash)
        patched.setattr(Path, "unlink", crash)  # the machine stops: nothing is tidied up
        with pytest.raises(PowerCut):
            store._put(store._path("a/b"), b"half")
    left = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert [path.name[0] for path in left] == ["."]
    with pytest.raises(ObjectAbsent):
        await store.get("a/b")
    await store.put("a/b", b"whole")
    assert await store.get("a/b") == b"whole"


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    await LocalObjects(tmp_path / "objects").put("a/b", b"x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "objects").rglob("*")}
    assert modes == {"a": 0o700, "b@": 0o600}
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700


async def test_each_new_folder_is_durable_in_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("guardhouse.foundation.objects._sync", synced.append)
    root = tmp_path / "objects"
    await LocalObjects(root).put("a/b/c", b"x")
    assert set(synced) == {root / "a" / "b", root / "a", root, tmp_path}
