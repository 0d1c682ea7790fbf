"""Archives: downloaded whole, resumed, checked and unpacked, or one sentence."""

import hashlib
import io
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.corpora import refused
from support.disks import files_of_at_most
from support.file_server import FileServer, serving

from mfcc_wavenet.data.corpora.archives import Archive

NAME = "dev-clean.tar.gz"
CONTENT = np.random.default_rng(0).bytes(3_000_000)  # of three blocks


@pytest.fixture
def server():
    with serving(CONTENT) as files:
        yield files


def archive(server: FileServer, content: bytes = CONTENT) -> Archive:
    """As it would be published, with the checksum of that content."""
    return Archive(server.url(NAME), hashlib.sha256(content).hexdigest())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("says_length", [True, False])
def test_an_archive_is_downloaded_once(tmp_path, server, says_length):
    """Also from a server that does not say how long it is."""
    server.says_length = says_length
    for _ in range(2):
        path = archive(server).fetch(tmp_path)
        assert path == tmp_path / NAME and path.read_bytes() == CONTENT
    assert server.requests == [(f"/{NAME}", 0)] and names(tmp_path) == [NAME]


def test_a_connection_that_breaks_is_made_again_from_there(tmp_path, server):
    """Twice, within one command."""
    server.cuts = [1_200_000, 700_000]
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"/{NAME}", 0), (f"/{NAME}", 1_200_000), (f"/{NAME}", 1_900_000)]


def test_a_download_that_ended_resumes_with_the_next_command(tmp_path, server):
    """The server had sent a part, then nothing more."""
    server.cuts = [1_200_000, 0]
    sentence = refused(archive(server).fetch, tmp_path)
    ended = "the connection ended after 1,200,000 of 3,000,000 bytes"
    assert all(word in sentence for word in (NAME, server.url(NAME), ended, "resumes", str(tmp_path)))
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1_200_000] and len(names(tmp_path)) == 1
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == (f"/{NAME}", 1_200_000) and names(tmp_path) == [NAME]


def test_a_server_that_cannot_send_a_part_sends_it_all(tmp_path, server):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"/{NAME}", 1000)]


@pytest.mark.parametrize(("part", "requests"), [(CONTENT, []), (CONTENT + b"more", [3_000_004, 0])])
def test_a_part_that_is_whole_or_too_long(tmp_path, server, part, requests):
    """The former is what a kill before the last renaming leaves; the latter is of something else."""
    (tmp_path / f"{NAME}.part").write_bytes(part)
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"/{NAME}", start) for start in requests] and names(tmp_path) == [NAME]


def test_another_file_at_the_address_is_refused_and_removed(tmp_path, server):
    """As a page that asks for a password; and what had come of another version before."""
    (tmp_path / f"{NAME}.part").write_bytes(b"of another version")
    sentence = refused(archive(server).fetch, tmp_path)
    assert server.url(NAME) in sentence and "SHA-256" in sentence and names(tmp_path) == []
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], b"<html>Not Found</html>"])
def test_a_wrong_archive_under_the_right_name_is_refused_and_kept(tmp_path, server, content):
    """Nothing is downloaded over what somebody put there."""
    (tmp_path / NAME).write_bytes(content)
    sentence = refused(archive(server).fetch, tmp_path)
    shown = [hashlib.sha256(one).hexdigest()[:12] for one in (content, CONTENT)]
    assert all(word in sentence for word in (str(tmp_path / NAME), server.url(NAME), *shown, "move it away"))
    assert server.requests == [] and (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_quoted(tmp_path, server, status):
    server.status = status
    assert f"HTTP status {status}" in refused(archive(server).fetch, tmp_path)
    assert names(tmp_path) == []


def test_a_disk_that_is_full_keeps_what_has_come(tmp_path, server):
    """Once there is room, the download resumes."""
    with files_of_at_most(1_500_000), pytest.raises(OSError, match="File too large"):
        archive(server).fetch(tmp_path)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:1_500_000] and len(names(tmp_path)) == 1
    assert archive(server).fetch(tmp_path).read_bytes() == CONTENT
    assert server.requests == [(f"/{NAME}", 0), (f"/{NAME}", 1_500_000)]


def test_without_a_network_the_sentence_says_what_to_put_where(tmp_path):
    """Its name, its address, the folder; once it is there, it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lost = Archive(f"http://127.0.0.1:{port}/{NAME}", hashlib.sha256(CONTENT).hexdigest())
    sentence = refused(lost.fetch, tmp_path)
    assert "Connection refused" in sentence and f"takes {NAME} if you put it into {tmp_path}" in sentence
    assert lost.url in sentence and names(tmp_path) == []
    (tmp_path / NAME).write_bytes(CONTENT)
    assert lost.fetch(tmp_path) == tmp_path / NAME


# --- unpacking ------------------------------------------------------------------------------------

FILES = {"corpus/a/1.wav": CONTENT[:100_000], "corpus/list.txt": "née".encode()}


def packed(kind: str) -> bytes:
    """An archive of these files."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in FILES.items():
                file.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{kind}") as file:
            for name, content in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["gz", "bz2", "zip"])
def test_an_archive_of_every_kind_is_unpacked(tmp_path, server, kind):
    (tmp_path / f"corpus.{kind}").write_bytes(packed(kind))
    archive(server).unpack(tmp_path / f"corpus.{kind}", tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")} == set(FILES)
    assert all((tmp_path / "out" / name).read_bytes() == content for name, content in FILES.items())


@pytest.mark.parametrize("kind", ["gz", "bz2", "zip"])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9])
def test_what_is_not_a_whole_archive_is_a_sentence(tmp_path, server, kind, fraction):
    whole = packed(kind)
    path = tmp_path / f"corpus.{kind}"
    path.write_bytes(whole[: int(fraction * len(whole))])
    assert f"{path} cannot be unpacked (" in refused(archive(server).unpack, path, tmp_path / "out")
