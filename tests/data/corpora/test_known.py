"""The table of known corpora against torchaudio's readers, and their way from an address to utterances."""

import hashlib
import io
import multiprocessing
import os
import shutil
import signal
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torchaudio.datasets as datasets
from support.command import CommandLine
from support.corpora import data_settings, refused
from support.disks import files_of_at_most
from support.file_server import FileServer, serving
from support.known_corpora import HOMES, SUBSETS, expected, laid_out, unpacked

from mfcc_wavenet.config.settings import CORPORA, DataSettings
from mfcc_wavenet.data.corpora import known
from mfcc_wavenet.data.corpora.archives import Archive
from mfcc_wavenet.data.corpora.layouts import WHOLE, Layout
from mfcc_wavenet.data.corpora.source import Source

every_corpus = pytest.mark.parametrize("corpus", CORPORA)
READERS: dict[str, Callable[[Path], list[str]]] = {  # the utterances as torchaudio calls them
    "librispeech": lambda root: [
        Path(reader.get_metadata(number)[0]).stem
        for reader in [datasets.LIBRISPEECH(root, "dev-clean")]
        for number in range(len(reader))
    ],
    "libritts": lambda root: datasets.LIBRITTS(root, "dev-clean")._walker,
    "ljspeech": lambda root: [line[0] for line in datasets.LJSPEECH(root)._flist],
    "vctk": lambda root: ["_".join(one) for one in datasets.VCTK_092(str(root), "mic1")._sample_ids],
    "cmu_arctic": lambda root: [f"bdl/{line[0].split()[1]}" for line in datasets.CMUARCTIC(root, "bdl")._walker],
}
READ = {"librispeech": ("dev-clean",), "libritts": ("dev-clean",), "cmu_arctic": ("bdl",)}  # subsets, by these


@every_corpus
def test_a_corpus_is_read_as_torchaudio_reads_it(tmp_path, corpus):
    """The same utterances by the same names, in trees that both take for the corpus."""
    sources = known.find_known(corpus, str(laid_out(tmp_path, corpus)), READ.get(corpus))
    assert sorted(source.id for source in sources) == sorted(READERS[corpus](tmp_path))


@every_corpus
def test_every_subset_has_its_archive(corpus):
    """With an address and a checksum, as torchaudio has them."""
    layout = known.CORPORA[corpus]
    archives = layout.archives()
    assert set(archives) == set(layout.subsets)
    for subset, archive in archives.items():
        assert subset in archive.name and archive.url.startswith("http")
        assert len(bytes.fromhex(archive.sha256)) == 32


def test_the_table_has_what_the_settings_know():
    assert tuple(known.CORPORA) == CORPORA


# --- downloads ------------------------------------------------------------------------------------


@cache
def packed(corpus: str, subset: str = WHOLE) -> bytes:
    """The archive of a subset that the tree has, or of the corpus."""
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        unpacked(Path(folder), corpus, tuple(other for other in SUBSETS.get(corpus, ()) if other != subset))
        if corpus == "vctk":
            with zipfile.ZipFile(stream, "w") as file:
                for path in Path(folder).rglob("*.*"):
                    file.write(path, path.relative_to(folder))
        else:
            with tarfile.open(fileobj=stream, mode="w:gz") as file:
                file.add(folder, arcname=".")
    return stream.getvalue()


def publish(server: FileServer, corpus: str) -> Layout:
    """Puts its archives on the server, from which the layout that is returned has them."""
    layout, archives = known.CORPORA[corpus], {}
    for subset in SUBSETS.get(corpus, (WHOLE,)):
        name, content = layout.archives()[subset].name, packed(corpus, subset)
        server.contents[name] = content
        archives[subset] = Archive(server.url(name), hashlib.sha256(content).hexdigest())
    return replace(layout, archives=lambda: archives)


def rows(sources: list[Source], root: Path) -> list[tuple[str, str, str, str | None]]:
    return sorted((str(one.path.relative_to(root)), one.speaker, one.id, one.split) for one in sources)


@pytest.fixture
def server():
    with serving(b"nothing") as files:
        yield files


@every_corpus
def test_what_is_not_there_is_downloaded_unpacked_and_found(tmp_path, server, corpus):
    """Once; nothing but the archives and the corpus is left."""
    root, subsets, layout = tmp_path / "new" / "root", SUBSETS.get(corpus), publish(server, corpus)
    for _ in range(2):
        layout.download(root, subsets)
        assert rows(layout.sources(root, None), root) == sorted(expected(corpus))
    archives = [layout.archives()[subset].name for subset in subsets or (WHOLE,)]
    assert sorted(path for path, _ in server.requests) == sorted(f"/{name}" for name in archives)
    assert sorted(os.listdir(root)) == sorted([HOMES[corpus], *archives])


def test_a_corpus_that_is_there_is_not_downloaded(tmp_path, server):
    """With or without the names of its subsets; nothing is written, so it may lie where nothing can be."""
    root, layout = laid_out(tmp_path, "librispeech"), publish(server, "librispeech")
    before = (root.stat().st_mtime_ns, (root / "LibriSpeech").stat().st_mtime_ns)
    layout.download(root, None)
    layout.download(root, ("dev-clean", "test-other"))
    assert server.requests == [] and os.listdir(root) == ["LibriSpeech"]
    assert before == (root.stat().st_mtime_ns, (root / "LibriSpeech").stat().st_mtime_ns)


def test_nothing_large_is_downloaded_unasked(tmp_path, server):
    """Of a corpus with subsets, those that are meant have to be named."""
    sentence = refused(publish(server, "librispeech").download, tmp_path, None)
    assert "data.subsets is null" in sentence and "train-clean-100, train-clean-360" in sentence
    assert server.requests == []


def test_a_subset_joins_those_that_are_there(tmp_path, server):
    """In the folder that holds them, by whatever name; what lies there stays as it is."""
    root = laid_out(tmp_path, "librispeech").joinpath("LibriSpeech").rename(tmp_path / "libri")
    shutil.rmtree(root / "dev-clean")
    (root / "SPEAKERS.TXT").write_text("mine")
    layout = publish(server, "librispeech")
    layout.download(root, ("dev-clean",))
    assert len(layout.sources(root, None)) == 5 and (root / "SPEAKERS.TXT").read_text() == "mine"


def test_a_folder_that_is_in_the_way_is_refused(tmp_path, server):
    """And kept: unpacking replaces nothing."""
    (tmp_path / "ARCTIC" / "cmu_us_bdl_arctic" / "orig").mkdir(parents=True)
    layout = publish(server, "cmu_arctic")
    sentence = refused(layout.download, tmp_path, ("bdl",))
    assert f"{tmp_path / 'ARCTIC'} has something of cmu_us_bdl_arctic.tar.bz2 already" in sentence
    assert os.listdir(tmp_path / "ARCTIC" / "cmu_us_bdl_arctic") == ["orig"]


def test_the_right_archive_of_something_else(tmp_path, server):
    """Its checksum is right and its content is not; nothing of it is unpacked."""
    content = packed("libritts", "dev-clean")
    server.contents["dev-clean.tar.gz"] = content
    archive = Archive(server.url("dev-clean.tar.gz"), hashlib.sha256(content).hexdigest())
    layout = replace(known.CORPORA["librispeech"], archives=lambda: {"dev-clean": archive})
    sentence = refused(layout.download, tmp_path, ("dev-clean",))
    assert f"{tmp_path / archive.name} holds no folder LibriSpeech/dev-clean" in sentence
    assert os.listdir(tmp_path) == [archive.name]


def die_unpacking(layout: Layout, root: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the write that is too much kills
    with files_of_at_most(10_000):
        layout.download(root, ("dev-clean",))


def test_unpacking_that_fails_leaves_nothing_that_is_taken_for_whole(tmp_path, server):
    """On a full disk, or by a kill; the command after that unpacks the archive that is there."""
    layout = publish(server, "librispeech")
    (tmp_path / "dev-clean.tar.gz").write_bytes(packed("librispeech", "dev-clean"))
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large"):
        layout.download(tmp_path, ("dev-clean",))
    assert os.listdir(tmp_path) == ["dev-clean.tar.gz"]
    process = multiprocessing.get_context("fork").Process(target=die_unpacking, args=(layout, tmp_path))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGXFSZ and (tmp_path / ".unpacking-LibriSpeech").is_dir()
    assert "there is no folder" in refused(layout.sources, tmp_path, ("dev-clean",))
    layout.download(tmp_path, ("dev-clean",))
    assert server.requests == [] and len(layout.sources(tmp_path, ("dev-clean",))) == 2
    assert sorted(os.listdir(tmp_path)) == ["LibriSpeech", "dev-clean.tar.gz"]


def test_two_processes_download_once(tmp_path, server):
    """The second waits for the first."""
    layout, fork = publish(server, "ljspeech"), multiprocessing.get_context("fork")
    both = [fork.Process(target=layout.download, args=(tmp_path, None)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0] and len(server.requests) == 1
    assert len(layout.sources(tmp_path, None)) == 3


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def type_in(tmp_path, monkeypatch, capsys):
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def proxy(monkeypatch):
    """Answers for every host there is."""
    with serving(b"<html>Please log in</html>") as server:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("http_proxy", server.url(""))
        yield server


LINE = "mode=download data=librispeech data.root=corpora data.subsets=[dev-clean]"


def test_a_command_downloads_from_the_real_address(type_in, proxy, tmp_path):
    """Through a proxy, which sends a page instead; nothing of it is left, not even the folder."""
    done = type_in(LINE)
    url = "http://www.openslr.org/resources/12/dev-clean.tar.gz"
    assert done.code == 2 and proxy.requests == [(url, 0)]
    first, sentence = done.err.splitlines()
    assert first == f"Downloading {url} to corpora."
    assert f"What came from {url} is not the archive" in sentence and "76f87d090650..." in sentence
    assert not (tmp_path / "corpora").exists()


def test_a_command_says_what_is_there(type_in, proxy, tmp_path):
    """Which needs no network."""
    laid_out(tmp_path / "corpora", "librispeech")
    done = type_in(LINE)
    assert (done.code, done.err) == (0, "") and proxy.requests == []
    assert done.out == "data=librispeech data.root=corpora: 2 utterances, 2 speakers.\n"


def test_folders_that_cannot_be_written_or_read_are_one_sentence(tmp_path):
    """Below a regular file there is no folder."""
    (tmp_path / "file").write_text("")
    for action in (known.download, find):
        sentence = refused(action, data_settings(tmp_path, tmp_path / "file" / "x", corpus="vctk"))
        assert f"{tmp_path / 'file' / 'x'}" in sentence
    sentence = refused(find, data_settings(tmp_path, tmp_path / ("x" * 300), corpus="vctk"))
    assert "File name too long" in sentence


def find(data: DataSettings) -> list[Source]:
    return known.find_known(data.corpus, data.root[0], data.subsets)
