"""Files are there whole or not at all."""

from __future__ import annotations

import pytest


def test_a_file_is_replaced_at_the_end_and_stays_as_it_was_after_an_error(tmp_path):
    from zoo.storage.files import replacing

    path = tmp_path / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    import os

    from zoo.storage.files import replacing

    path, synced = tmp_path / "a.txt", []

    def fsync(descriptor):
        synced.append((os.path.samestat(os.fstat(descriptor), tmp_path.stat()), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(path) as temporary:
        temporary.write_text("all of it")
    assert synced == [(False, False), (True, True)]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    from zoo.storage.files import replacing

    path = tmp_path / "a.txt"
    with replacing(path) as first, first.open("w") as file:
        file.write("one ")
        with replacing(path) as second:
            second.write_text("two")
        assert path.read_text() == "two"
        file.write("one")
    assert path.read_text() == "one one"


def test_what_a_killed_process_left_is_deleted_after_a_day(tmp_path):
    import os
    import time

    from zoo.storage.files import replacing

    path = tmp_path / "a[1].txt"
    killed, alive = replacing(path).__enter__(), replacing(path).__enter__()
    for part in (killed, alive):
        part.write_text("half")
    os.utime(killed, (time.time() - 25 * 3600,) * 2)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, alive])


def test_the_digest_is_that_of_sha256sum(tmp_path):
    from zoo.storage.files import sha256

    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert sha256(tmp_path / "abc") == expected


def test_a_folder_has_a_name_however_it_is_given(tmp_path, monkeypatch):
    from pathlib import Path

    from zoo.storage.files import name_of

    (tmp_path / "m7").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "m7")
    monkeypatch.chdir(tmp_path / "m7")
    assert name_of(Path(".")) == "m7"
    assert name_of(Path("..")) == tmp_path.name
    assert name_of(tmp_path / "out") == "out"
