"""The archives that corpora are published in: fetched, checked and unpacked.

Addresses and checksums are those of torchaudio.datasets. Its own download neither resumes nor checks an archive that is
there already, and unpacks in place, so that what was half unpacked would be taken for whole.
"""

import hashlib
import importlib
import os
import re
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError

PART = ".part"  # ends the name of an archive while it is downloaded
BLOCK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0  # without an answer
PAUSE_SECONDS = 1.0  # before a connection that broke is made again
SHOWN_CHARACTERS = 12  # of a checksum
NOT_AN_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError)
Digest = type(hashlib.sha256())


class _Broken(Exception):
    """The server has not sent all that it should, for this reason."""

    def __init__(self, reason: str, status: int | None = None):
        super().__init__(reason)
        self.status = status  # of its answer in HTTP, if it refused


@dataclass(frozen=True)
class Archive:
    """One file to download, a tar or zip."""

    url: str
    sha256: str  # hexadecimal

    @property
    def name(self) -> str:
        """Of the file."""
        return self.url.rpartition("/")[2]

    def fetch(self, folder: Path) -> Path:
        """Its path in the folder, where it is downloaded to unless it is there.

        A download that was interrupted resumes where the server can send the rest. Raises UserError if the archive
        cannot be had, or if what is there under its name, or at its address, is another file.
        """
        path, part = folder / self.name, folder / (self.name + PART)
        if path.exists():
            with open(path, "rb") as file:
                digest = self._hashed(file)
            if digest.hexdigest() != self.sha256:
                raise UserError(
                    f"{path} is not the archive of that name at {self.url}: its SHA-256 is {self._differs(digest)}; "
                    "move it away, and the same command downloads the right one."
                )
            return path
        tqdm.write(f"Downloading {self.url} to {folder}.", file=sys.stderr)
        try:
            with open(part, "a+b") as file:
                digest = self._received(file)
        finally:
            if part.is_file() and part.stat().st_size == 0:
                part.unlink()
        if digest.hexdigest() != self.sha256:
            part.unlink()
            raise UserError(
                f"What came from {self.url} is not the archive of that name: its SHA-256 is {self._differs(digest)}; "
                f"it was removed, and the same command tries again, or takes {self.name} if you put it into {folder}."
            )
        part.replace(path)
        return path

    def unpack(self, path: Path, folder: Path) -> None:
        """Puts all that the file at that path holds into the folder; UserError if it is not an archive."""
        try:
            with open(path, "rb") as file, self._progress("unpacking", path.stat().st_size) as bar:
                for _ in (_unzipped if path.suffix == ".zip" else _untarred)(file, folder):
                    bar.update(file.tell() - bar.n)
        except NOT_AN_ARCHIVE as error:
            reason, *_ = str(error).splitlines() or ["it ends too early"]
            raise UserError(f"{path} cannot be unpacked ({reason.rstrip(':')}).") from error

    def _received(self, file: IO[bytes]) -> Digest:
        """The checksum of the file once all is in it; a connection that broke is made again if it brought something.

        UserError if it brought nothing; what has come by then stays.
        """
        digest = self._hashed(file)
        while digest.hexdigest() != self.sha256:
            start = file.tell()
            try:
                with self._answer(start) as answer:
                    if start and answer.status != HTTPStatus.PARTIAL_CONTENT:  # it sends all of it again
                        digest = _emptied(file)
                    self._append(answer, file, digest)
                break
            except _Broken as error:
                if start and error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # there is not as much
                    digest = _emptied(file)
                elif file.tell() <= start:
                    raise UserError(
                        f"{self.name} could not be downloaded from {self.url} ({error}); the same command resumes, or "
                        f"takes {self.name} if you put it into {Path(file.name).parent}."
                    ) from error
                else:
                    time.sleep(PAUSE_SECONDS)
        return digest

    def _answer(self, start: int) -> HTTPResponse:
        """What the server sends of the file from that byte on, or all of it if it cannot send a part."""
        headers = {"User-Agent": "mfcc_wavenet"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            return build_opener().open(Request(self.url, headers=headers), timeout=TIMEOUT_SECONDS)
        except HTTPError as error:
            error.close()
            raise _Broken(f"HTTP status {error.code}, {error.reason}", error.code) from error
        except (OSError, HTTPException) as error:
            raise _Broken(_reason(error)) from error

    def _append(self, answer: HTTPResponse, file: IO[bytes], digest: Digest) -> None:
        total = None if answer.length is None else file.tell() + answer.length
        with self._progress("downloading", total, file.tell()) as bar:
            while True:
                try:
                    block = answer.read(BLOCK_BYTES)
                except (OSError, HTTPException) as error:
                    raise _Broken(_reason(error)) from error
                if not block:
                    break
                file.write(block)
                digest.update(block)
                bar.update(len(block))
        if total is not None and file.tell() < total:
            raise _Broken(f"the connection ended after {file.tell():,} of {total:,} bytes")

    def _hashed(self, file: IO[bytes]) -> Digest:
        """The checksum of the whole file, which then stands at its end."""
        digest = hashlib.sha256()
        file.seek(0)
        with self._progress("checking", os.fstat(file.fileno()).st_size) as bar:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                bar.update(len(block))
        return digest

    def _differs(self, digest: Digest) -> str:
        return f"{digest.hexdigest()[:SHOWN_CHARACTERS]}..., not {self.sha256[:SHOWN_CHARACTERS]}..."

    def _progress(self, what: str, total: int | None, initial: int = 0) -> tqdm:
        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False, "disable": None}
        return tqdm(desc=f"{what} {self.name}", total=total, initial=initial, **options)


def of_torchaudio(dataset: str, subset: str) -> dict[str, Archive]:
    """The archives of a module of torchaudio.datasets, by the subset that each of them holds.

    subset: a regular expression whose group is the subset's name in that of the archive.
    """
    module = importlib.import_module(f"torchaudio.datasets.{dataset}")  # and torch with it, which takes its time
    if dataset == "ljspeech":
        checksums = {release["url"]: release["checksum"] for release in module._RELEASE_CONFIGS.values()}
    else:
        checksums = module._CHECKSUMS
    archives = [Archive(url, sha256) for url, sha256 in checksums.items()]
    return {re.match(subset, archive.name)[1]: archive for archive in archives}


def _unzipped(file: IO[bytes], folder: Path) -> Iterator[str]:
    """Puts the members into the folder, and gives the name of each."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            archive.extract(member, folder)
            yield member.filename


def _untarred(file: IO[bytes], folder: Path) -> Iterator[str]:
    """Puts the members into the folder, and gives the name of each."""
    with tarfile.open(fileobj=file) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        for member in archive:
            archive.extract(member, folder)
            yield member.name


def _emptied(file: IO[bytes]) -> Digest:
    """The checksum of nothing, which the file then holds."""
    file.seek(0)
    file.truncate()
    return hashlib.sha256()


def _reason(error: Exception) -> str:
    """In words: urllib puts what a socket said into an error of its own."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
