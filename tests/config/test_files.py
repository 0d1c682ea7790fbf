"""Files are written whole or not at all, and names become the names of files."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disks import files_of_at_most
from support.owners import HOLD
from support.settings import ROOT

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import (
    MAX_NAME_BYTES,
    UNFINISHED,
    file_name,
    identities,
    owned,
    refuse_overwriting,
    replacing,
    slug,
    write_json,
    write_text,
)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    """On a full disk, and where the writer itself fails: the former content stays, and nothing else is left."""
    path = tmp_path / "new" / "file"
    write_text(path, "former")
    with files_of_at_most(100), pytest.raises(OSError):
        write_text(path, "x" * 1000)
    with pytest.raises(ZeroDivisionError), replacing(path) as unfinished:
        unfinished.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "former" and os.listdir(path.parent) == ["file"]
    write_json(path, {"ü": 1})
    assert path.read_text() == '{\n  "\\u00fc": 1\n}\n'


def test_two_writers_do_not_meet(tmp_path):
    """Each has a temporary file of its own; the last one to finish wins, whole."""
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and os.listdir(tmp_path) == ["file"]


@given(st.text(min_size=1))
def test_a_slug_is_a_name_that_a_shell_reads_as_it_stands(name):
    assert set(slug(name)) <= set(name) | set("-0123456789abcdef") and not set(slug(name)) & set(" /$'\"\\\n")
    assert 0 < len(slug(name).encode()) <= MAX_NAME_BYTES


def test_long_names_stay_different():
    names = ["x" * 300 + end for end in ("a", "b")]
    assert slug(names[0]) != slug(names[1]) and len(slug(names[0]).encode()) <= MAX_NAME_BYTES


@pytest.fixture
def owner(tmp_path):
    """Another process that owns tmp_path/folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "folder")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def test_names_that_must_change_stay_different():
    """Two long ones that begin alike, and two that differ in what cannot be seen."""
    names = ["a" * 251, "a" * 250 + "b", "a\tb", "a\nb", "a-b", "curves", "ü" * 125]
    assert len({file_name(name, taken=["curves"]) for name in names}) == len(names)
    assert all(len(f"{file_name(name)}.generated.wav".encode()) <= 255 for name in names)


def test_a_second_owner_learns_who_the_first_is(tmp_path, owner):
    """A folder has one owner at a time; the sentence names its process."""
    expected = rf"^The folder is in use by process {owner.pid} on .*stop it\.$"
    with pytest.raises(UserError, match=expected), owned(tmp_path / "folder", "The folder"):
        pass


def test_a_killed_owner_leaves_no_lock(tmp_path, owner):
    owner.kill()
    owner.wait()
    with owned(tmp_path / "folder", "The folder"):
        assert (tmp_path / ".folder.lock").exists()
    assert os.listdir(tmp_path) == []


def test_the_next_owner_removes_what_a_killed_one_left(tmp_path):
    """A file that was being written; what is whole stays."""
    folder = tmp_path / "folder"
    write_text(folder / "whole", "x")
    (folder / UNFINISHED.format("0123456789abcdef")).write_text("half")
    with owned(folder, "The folder"):
        assert os.listdir(folder) == ["whole"]


def test_who_waits_goes_on_when_the_owner_ends(tmp_path, owner, capsys):
    threading.Timer(0.5, owner.kill).start()
    with owned(tmp_path / "folder", "The folder", wait=True):
        assert f"process {owner.pid}" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_only_regular_files_are_replaced(tmp_path):
    """Not a device, not even by root; a link stays one, and what it leads to is replaced."""
    with pytest.raises(OSError, match="not a regular file"):
        write_text(Path("/dev/null"), "x")
    with pytest.raises(OSError, match="not a regular file"):
        write_text(tmp_path, "x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "x"


def test_what_is_read_is_not_written_to(tmp_path):
    """By whatever name it is given."""
    (tmp_path / "file").write_text("original")
    (tmp_path / "link").symlink_to("file")
    read = identities([tmp_path / "nothing", tmp_path / "file"])
    for output in (tmp_path / "file", tmp_path / "link", tmp_path / "x" / ".." / "file"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="is what is read"):
            refuse_overwriting(output, read)
    refuse_overwriting(tmp_path / "other", read)
