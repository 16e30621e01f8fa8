"""The data folder: one holder, private files, whole files, and a sentence for each fault."""

import errno
import os
import stat
from pathlib import Path

import pytest

from guardhouse.foundation.data_folder import DataFolder, folder_sentence
from guardhouse.foundation.start_error import StartError


def test_the_second_holder_is_told_who_is_first(tmp_path: Path) -> None:
    with (
        DataFolder.open(tmp_path / "house"),
        pytest.raises(StartError, match=rf"in use by process {os.getpid()}: stop it first"),
    ):
        DataFolder.open(tmp_path / "house")
    DataFolder.open(tmp_path / "house").close()


def test_what_it_writes_is_private_and_replaced_whole(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "house") as folder:
        folder.write("x.json", {"n": 1})
        (folder.path / "x.json").chmod(0o644)
        folder.write("x.json", {"n": 2})
        assert folder.read("x.json") == {"n": 2}
        assert folder.read("absent.json") == {}
        assert stat.S_IMODE((folder.path / "x.json").stat().st_mode) == 0o600
        assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "x.json"]
        assert not stat.S_IMODE(folder.path.stat().st_mode) & 0o066


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    with DataFolder.open(tmp_path / "house") as folder:
        (folder.path / "x.json").write_text(text)
        with pytest.raises(StartError, match=r"x\.json .*restore it from a backup"):
            folder.read("x.json")


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "house").write_text("")
    with pytest.raises(StartError, match="cannot be a folder, a file is in the way"):
        DataFolder.open(tmp_path / "house")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_every_fault_of_the_file_system_is_one_sentence(number: int) -> None:
    sentence = folder_sentence(Path("/data"), OSError(number, os.strerror(number)))
    assert "/data" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
