"""data.root: which files it names, who speaks in them, what they are called, and what is passed over or refused."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from support.corpora import RATE, SENTENCES, folder_of, prepare_from, refused, speech
from support.settings import ROOT

from mfcc_wavenet.data.sources import Source, find_sources

NOBODY = 65534  # the user
MANY = 200_000  # files


def speakers(folder: Path) -> dict[str, str]:
    """Who speaks in each file of the folder, by its path there."""
    return {str(source.path.relative_to(folder)): source.speaker for source in find_sources((str(folder),))}


def test_a_list_of_files_keeps_its_order(tmp_path):
    """Their speaker is the folder that they lie in, and their ids are as they are written."""
    audio = folder_of(tmp_path, "z/one.wav", "a/two.wav")
    one, two = str(audio / "z/one"), str(audio / "a/two")
    files = (f"{one}.wav", f"{two}.wav")
    assert find_sources(files) == [Source(Path(files[0]), "z", one), Source(Path(files[1]), "a", two)]


def test_a_manifest_names_speakers_freely(tmp_path):
    """Paths are relative to the manifest, or absolute; empty lines are nothing."""
    audio = folder_of(tmp_path, "x/1.wav", "x/2.wav")
    manifest = audio / "manifest.tsv"
    manifest.write_text(f"Ann Onym\tx/2.wav\n\nbob\t{audio / 'x/1.wav'}\n")
    corpus = prepare_from(tmp_path, manifest)
    assert list(zip(corpus.speakers, corpus.names)) == [("Ann Onym", "2"), ("bob", "1")]


def test_the_demonstration_corpus_comes_with_the_package():
    """Wherever one stands."""
    assert find_sources(("package:demo",)) == [Source(path, "demo", path.stem) for path in SENTENCES]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ann x/1.wav", ["line 3", "'ann x/1.wav'", "speaker TAB path"]),
        ("\tx/1.wav", ["line 3", "speaker TAB path"]),
        ("ann\tx/3.wav", ["line 3", "no file", "x/3.wav"]),
        ("ann\t", ["line 3", "is not a file"]),
    ],
)
def test_a_bad_line_of_a_manifest_is_named_by_its_number(tmp_path, line, words):
    """Counted as an editor counts, empty lines included."""
    audio = folder_of(tmp_path, "x/1.wav")
    (audio / "manifest").write_text(f"ann\tx/1.wav\n\n{line}\nbob\tx/1.wav\n")
    sentence = refused(prepare_from, tmp_path, audio / "manifest")
    assert all(word in sentence for word in [*words, str(audio / "manifest")])


def test_a_root_without_audio_is_refused(tmp_path):
    """Missing, an empty list, an empty folder, an empty manifest, no text: each has its own sentence."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.tsv").write_text("\n \n")
    (tmp_path / "noise.bin").write_bytes(b"\xff\xfe\x80" * 9)
    (tmp_path / "file.txt").write_text("")
    assert "no such file or folder" in refused(prepare_from, tmp_path, tmp_path / "nowhere")
    assert "data.root is empty" in refused(prepare_from, tmp_path)
    assert "holds no audio file (" in refused(prepare_from, tmp_path, tmp_path / "empty")
    assert "the manifest is empty" in refused(prepare_from, tmp_path, tmp_path / "blank.tsv")
    assert "neither audio" in refused(prepare_from, tmp_path, tmp_path / "noise.bin")
    assert "shorter than one hop of 160" in refused(prepare_from, tmp_path, SENTENCES[0], seconds=0.009)
    assert not list((tmp_path / "prepared").glob("*/index.json"))


# --- folders --------------------------------------------------------------------------------------

LIBRI, VCTK, TIMIT = "dev-clean/84/121123/84-121123-0000", "wav48_silence_trimmed/p225/p225_001", "TRAIN/DR1/FCJF0/SA1"


@pytest.mark.parametrize(
    ("paths", "root", "expected"),
    [
        ([f"{LIBRI}.flac", "dev-clean/174/50561/174-50561-0003.flac"], "", {"84", "174"}),
        ([f"{LIBRI}.flac"], "dev-clean/84", {"84"}),
        (["train/84/121123/84_121123_000007_000001.wav"], "", {"84"}),  # LibriTTS
        ([f"{VCTK}_mic1.flac", f"{VCTK}_mic2.flac", "wav48_silence_trimmed/s5/s5_001_mic1.flac"], "", {"p225", "s5"}),
        (["wav48/p225/p225_001.wav"], "", {"p225"}),
        ([f"{TIMIT}.WAV", "TEST/DR3/MADC0/SX17.WAV"], "", {"FCJF0", "MADC0"}),
        (["train/dr1/fcjf0/sa1.wav", "train/dr1/fcjf0/si648.wav"], "train", {"fcjf0"}),
        (["wav48/anna/p225_001.wav", "wav48/84/84-121123-0000.wav"], "", {"wav48"}),  # none of them
    ],
)
def test_known_corpora_give_their_speakers(tmp_path, paths, root, expected):
    """From their root or from a folder in it; a layout that is none of them goes by the first folder."""
    folder = folder_of(tmp_path, *paths) / root
    assert set(speakers(folder).values()) == expected


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    """A linked speaker has the link's name; a folder that is really there keeps its own, whoever links to it."""
    elsewhere = folder_of(tmp_path / "elsewhere", "x/1.wav", "y/2.wav")
    audio = folder_of(tmp_path, "zoe/3.wav")
    (audio / "anna").symlink_to(elsewhere / "x")
    (audio / "bob").symlink_to(elsewhere / "y")
    (audio / "all").symlink_to(audio)
    (audio / "another zoe").symlink_to(audio / "zoe")
    (elsewhere / "x" / "back").symlink_to(audio)
    (audio / "zoe" / "self.wav").symlink_to("self.wav")
    assert speakers(audio) == {"anna/1.wav": "anna", "bob/2.wav": "bob", "zoe/3.wav": "zoe"}


def test_what_is_hidden_is_passed_over_and_counted_once(tmp_path, capsys):
    """As macOS and notebooks leave it, and what only looks like audio; the rest of what lies there is not mentioned."""
    audio = folder_of(tmp_path, "anna/a.wav", "anna/._a.wav", "anna/.ipynb_checkpoints/a-checkpoint.wav")
    (audio / ".DS_Store").write_bytes(bytes(9))
    (audio / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(audio / "pipe.wav")
    assert speakers(audio) == {"anna/a.wav": "anna"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"data.root={audio}: passed over 2 broken links, pipes or devices, 2 hidden files or folders."


def test_folders_with_names_that_are_not_text(tmp_path):
    """The speaker is text, since it is stored, logged and shown; the path stays what it is."""
    audio = folder_of(tmp_path, "a/1.wav")
    os.rename(audio / "a", os.fsencode(audio) + b"/J\xf6rg")
    (source,) = find_sources((str(audio),))
    path = Path(os.fsdecode(os.fsencode(audio) + b"/J\xf6rg/1.wav"))
    assert source == Source(path, "J\ufffdrg", "J\\xf6rg/1")
    corpus = prepare_from(tmp_path, audio)
    assert corpus.speakers == ["J\ufffdrg"] and corpus.names == ["1"]


@contextmanager
def without_privileges() -> Iterator[None]:
    """root may read everything; for a while this process is a user whom permissions hold."""
    former = os.geteuid()
    if former == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(former)


def test_what_permissions_hide_is_not_called_empty(capsys):
    """A folder named as data.root; one in it, which is named and left out; a manifest; an audio file."""
    with tempfile.TemporaryDirectory() as name:
        audio = folder_of(Path(name), "anna/a.wav", "bob/b.wav", "c.wav")
        Path(name).chmod(0o755)
        (audio / "manifest").write_text(f"bob\t{audio}/bob/b.wav\n")
        for path in (audio / "bob", audio / "c.wav"):
            path.chmod(0)
        with without_privileges():
            hidden = refused(find_sources, (str(audio / "bob"),))
            below = refused(find_sources, (str(audio / "bob" / "b.wav"),))
            listed = refused(find_sources, (str(audio / "manifest"),))
            alone = refused(find_sources, (str(audio / "c.wav"),))
            found = find_sources((str(audio),))
        for sentence in (hidden, below, listed, alone):
            assert "cannot be read (Permission denied)" in sentence
        assert [source.path.name for source in found] == ["a.wav", "c.wav"]
        assert f"left out: {audio / 'bob'}: the folder cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("special", ["pipe", "pipe.wav", "/dev/zero", "/dev/null"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, special):
    """As data.root, with the suffix of audio or as a manifest, and in a manifest."""
    if not special.startswith("/"):
        os.mkfifo(tmp_path / special)
    assert "not a regular file" in refused(prepare_from, tmp_path, tmp_path / special)
    (tmp_path / "manifest").write_text(f"anna\t{special}\n")
    assert (
        "line 1" in (sentence := refused(prepare_from, tmp_path, tmp_path / "manifest")) and "is not a file" in sentence
    )


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".wav", "a/" * 3000])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    """As data.root and in a manifest."""
    assert "File name too long" in refused(prepare_from, tmp_path, tmp_path / name)
    (tmp_path / "manifest").write_text(f"anna\t{name}\n")
    sentence = refused(prepare_from, tmp_path, tmp_path / "manifest")
    assert "line 1" in sentence and "File name too long" in sentence


LISTING = """
import sys, time
from mfcc_wavenet.data.sources import find_sources
start = time.process_time()
sources = find_sources((sys.argv[1],))
print(time.process_time() - start, *(source.id for source in sources))
"""


def test_100000s_of_files_in_a_folder_are_listed_in_seconds():
    """Seconds of a core, whatever else runs, and in the order of their names. The files are empty.

    In a process of its own, without the checks of types that tests run with.
    """
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where they are made and removed the fastest
    with tempfile.TemporaryDirectory(dir=memory) as root:
        os.mkdir(f"{root}/speaker")
        folder = os.open(f"{root}/speaker", os.O_RDONLY)
        for number in range(MANY):
            os.mknod(f"{number:06}.wav", dir_fd=folder)
        os.close(folder)
        done = subprocess.run(
            [sys.executable, "-c", LISTING, root], cwd=ROOT, capture_output=True, text=True, check=True
        )
    seconds, *ids = done.stdout.split()
    assert float(seconds) < 20
    assert ids == [f"speaker/{number:06}" for number in range(MANY)]


# --- ids ------------------------------------------------------------------------------------------


def ids(root: Path) -> dict[str, str]:
    """The id of each utterance by its file's name."""
    return {source.path.name: source.id for source in find_sources((str(root),))}


def test_ids_stay_when_a_folder_moves_and_grows(tmp_path, monkeypatch):
    """Whether it is named from the root or from where one stands."""
    audio = folder_of(tmp_path, "anna/one.wav", "anna/takes/two.2.wav", "three.flac")
    first = ids(audio)
    assert first == {"one.wav": "anna/one", "two.2.wav": "anna/takes/two.2", "three.flac": "three"}
    moved = tmp_path / "elsewhere" / "x"
    moved.parent.mkdir()
    audio.rename(moved)
    for name in ("aaa/0.wav", "anna/zero.wav"):
        (moved / name).parent.mkdir(exist_ok=True)
        soundfile.write(moved / name, speech(), RATE)
    for place, root in ((tmp_path, "elsewhere/x"), (moved, "."), (moved, str(moved)), (moved, "../x/")):
        monkeypatch.chdir(place)
        assert first.items() <= ids(Path(root)).items()


def test_ids_of_a_manifest_are_its_paths(tmp_path):
    """As they are written, without suffix."""
    audio = folder_of(tmp_path, "x/1.wav", "x/2.b.wav")
    manifest = audio / "manifest.tsv"
    manifest.write_text(f"anna\tx/1.wav\nanna\t./x/2.b.wav\nbob\t{audio}/x/1.wav\n")
    assert [source.id for source in find_sources((str(manifest),))] == ["x/1", "x/2.b", f"{audio}/x/1"]


def test_ids_are_spelt_alike_by_every_system(tmp_path):
    """macOS decomposes an umlaut, Linux does not; bytes that are not text stay distinct."""
    for place, name in (("mac", "J\u006f\u0308rg/\u00e9.wav"), ("linux", "J\u00f6rg/e\u0301.wav")):
        assert list(ids(folder_of(tmp_path / place, name)).values()) == ["J\u00f6rg/\u00e9"]
    audio = folder_of(tmp_path / "bytes", "a.wav", "b.wav")
    for name, raw in (("a.wav", b"\xfe.wav"), ("b.wav", b"\xff.wav")):
        os.rename(audio / name, os.fsencode(audio) + b"/" + raw)
    assert list(ids(audio).values()) == ["\\xfe", "\\xff"]


def test_ids_that_are_there_twice_are_named_once(tmp_path, capsys):
    """With both files: copies in another format, two folders alike. They are used as ever."""
    audio = folder_of(tmp_path, "anna/1.flac", "anna/1.wav", "bob/1.wav", "bob/1.ogg")
    assert len(find_sources((str(audio),))) == 4
    first = f"{audio}/anna/1.flac and {audio}/anna/1.wav"
    assert capsys.readouterr().err == f"Several utterances are called anna/1, {first}; all are used.\n"
    other = folder_of(tmp_path / "other", "anna/1.wav")
    assert len(find_sources((str(audio / "bob" / "1.wav"), str(other), str(other)))) == 3
    assert f"called anna/1, {other}/anna/1.wav and {other}/anna/1.wav;" in capsys.readouterr().err


# --- manifests ------------------------------------------------------------------------------------


def test_a_manifest_of_an_editor_that_marks_its_byte_order(tmp_path):
    """The mark is not part of the first speaker."""
    audio = folder_of(tmp_path, "1.wav")
    (audio / "manifest.tsv").write_bytes("anna\t1.wav\r\n".encode("utf-8-sig"))
    assert find_sources((str(audio / "manifest.tsv"),)) == [Source(audio / "1.wav", "anna", "1")]


def test_home_is_expanded_in_a_manifest(tmp_path, monkeypatch):
    """And a file whose name only begins with ~ is found."""
    audio = folder_of(tmp_path, "1.wav", "~2.wav")
    monkeypatch.setenv("HOME", str(audio))
    (tmp_path / "manifest.tsv").write_text("anna\t~/1.wav\n")
    assert [source.path for source in find_sources(("~/../manifest.tsv",))] == [audio / "1.wav"]
    (audio / "manifest.tsv").write_text("anna\t~2.wav\n")
    assert [source.path for source in find_sources(("~/manifest.tsv",))] == [audio / "~2.wav"]


def test_names_of_a_manifest_that_are_not_text(tmp_path):
    """As a shell's find wrote them."""
    name = b"gr\xfc\xdfe.wav"
    soundfile.write(os.fsencode(tmp_path) + b"/" + name, speech(), RATE)
    (tmp_path / "manifest").write_bytes(b"J\xf6rg\t" + name + b"\n")
    corpus = prepare_from(tmp_path, tmp_path / "manifest")
    assert corpus.speakers == ["J\ufffdrg"] and corpus.names == ["gr\ufffd\ufffde"]


def test_what_is_far_too_large_for_a_manifest_is_not_read(tmp_path):
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(2**40)  # of which nothing is on the disk
    assert "nor a manifest" in refused(prepare_from, tmp_path, tmp_path / "disk.img")
