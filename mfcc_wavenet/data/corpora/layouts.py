"""How a known corpus lies in its folder: which files are utterances, who speaks in them, and what they are called."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import files_below, owned
from mfcc_wavenet.config.settings import part_of_subset
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES, regular_file
from mfcc_wavenet.data.corpora.archives import Archive
from mfcc_wavenet.data.corpora.source import Source, few, first_duplicate, without_suffix

WHOLE = ""  # the name of the only subset of a corpus that has no subsets
METADATA = "metadata.csv"
FIELDS = "ID|TRANSCRIPT|NORMALISED TRANSCRIPT"  # of its lines
SHOWN_CHARACTERS = 40  # of a line in a sentence


@dataclass(frozen=True)
class Layout:
    """A corpus whose paths say all that is to be known of an utterance.

    It consists of subsets. Each is published as an archive and, unpacked, has a folder of its own.
    """

    title: str
    home: str  # the name of the folder that the corpus lies in
    subsets: tuple[str, ...]
    audio: str  # the folder in it with the audio of the subset {}
    utterance: re.Pattern[str]  # a path from there without its suffix; groups: id, and speaker unless that is fixed
    archives: Callable[[], dict[str, Archive]]  # by subset
    in_archive: str = "."  # where the corpus's folder lies in its archives
    speaker: str = "{speaker}"  # from the groups of the path and the subset
    identity: str = "{id}"  # likewise
    unwanted: re.Pattern[str] | None = None  # a path to audio of the corpus that is not taken
    speakers_file: str | None = None  # the corpus's own list of speakers, in its folder
    speaker_line: re.Pattern[str] | None = None  # how its lines begin; groups: speaker, and subset if there are some

    def sources(self, root: Path, subsets: tuple[str, ...] | None) -> list[Source]:
        """The utterances of these subsets, or of all that are there, in a fixed order.

        root: the corpus's folder, or the one that it lies in. What is left out is counted on stderr; UserError if a
        subset is not there, or an utterance is there twice.
        """
        home, chosen = self._home(root), self._chosen(subsets)
        there = [subset for subset in chosen if self._folder(home, subset).is_dir()]
        absent = [subset for subset in chosen if subset not in there]
        if not there or (absent and subsets is not None):
            raise UserError(self._absence(root, absent[0], subsets))
        sources = [source for subset in there for source in self._utterances(home, subset)]
        if twice := first_duplicate(sources):
            raise UserError(
                f"{self.title} has the utterance {twice[0].id} once, but here it is twice, {twice[0].path} and "
                f"{twice[1].path}; remove one of them."
            )
        self._tell_missing_speakers(home, there, {source.speaker for source in sources})
        return sources

    def download(self, root: Path, subsets: tuple[str, ...] | None) -> None:
        """Downloads and unpacks those of these subsets that are not there; one process at a time.

        None: whatever subsets are there, which must be some, or the corpus if it has no subsets. UserError if
        something cannot be had; OSError if it cannot be written.
        """
        home, chosen = self._home(root), self._chosen(subsets)
        absent = [subset for subset in chosen if not self._folder(home, subset).is_dir()]
        if subsets is None and WHOLE not in chosen:
            if absent == chosen:
                raise UserError(
                    f"data.subsets is null, so it is not known what to download of {self.title}; name some of "
                    f"{', '.join(chosen)}."
                )
            absent = []
        if absent:
            with owned(home, f"The corpus {home}", wait=True):
                for subset in absent:
                    if not self._folder(home, subset).is_dir():  # another process may just have unpacked it
                        self._unpack(subset, root, home.resolve())

    def _home(self, root: Path) -> Path:
        """The corpus's folder, whether or not it is there."""
        home = root / self.home
        is_root = root.name == self.home or any(self._folder(root, subset).is_dir() for subset in self.subsets)
        return root if is_root and not home.is_dir() else home

    def _folder(self, home: Path, subset: str) -> Path:
        return home / self.audio.format(subset)

    def _chosen(self, subsets: tuple[str, ...] | None) -> list[str]:
        """In the order that they always have."""
        if subsets is not None and self.subsets == (WHOLE,):
            raise UserError(f"data.subsets is {list(subsets)}, but {self.title} has no subsets; null takes all of it.")
        for unknown in set(subsets or ()) - set(self.subsets):
            raise UserError(
                f"data.subsets: {self.title} has no subset {unknown!r}; there are {', '.join(self.subsets)}."
            )
        return [subset for subset in self.subsets if subsets is None or subset in subsets]

    def _absence(self, root: Path, subset: str, subsets: tuple[str, ...] | None) -> str:
        if root.is_file():
            return (
                f"data.root={root} is a file, but data.corpus takes the folder that {self.home}/ lies in; data=folder "
                "takes any audio."
            )
        archive, folder = self.archives()[subset], self._folder(self._home(root), subset)
        fetches = f"fetches {archive.name} from {archive.url}, unless it lies in {root} already, and unpacks it"
        other = "; data=folder takes any other audio" if root.is_dir() else ""
        if subset == WHOLE or subsets is not None:
            return (
                f"data.root={root}: there is no folder {folder}; the same command with mode=download {fetches}{other}."
            )
        return (
            f"data.root={root}: there is no {self.title}, such as {folder}; the same command with mode=download "
            f"data.subsets=[{subset}] {fetches}; there are {', '.join(self.subsets)}{other}."
        )

    def _utterances(self, home: Path, subset: str) -> list[Source]:
        folder = self._folder(home, subset)
        files = files_below(folder, AUDIO_SUFFIXES, str(folder))
        start, split = len(str(folder / "x")) - 1, part_of_subset(subset)
        sources, strange = [], []
        for path in files:
            name = without_suffix(str(path)[start:])
            if match := self.utterance.fullmatch(name):
                groups = match.groupdict() | {"subset": subset}
                sources.append(Source(path, self.speaker.format(**groups), self.identity.format(**groups), split))
            elif not (self.unwanted and self.unwanted.fullmatch(name)):
                strange.append(str(path))
        if not sources:
            raise UserError(f"{folder}: the folder holds no audio that is named as an utterance of {self.title}.")
        if strange:
            count = f"{len(strange):,} files, which are not named as utterances of {self.title}"
            _tell(f"{folder}: left out {count}, the first {strange[0]}.")
        return sources

    def _tell_missing_speakers(self, home: Path, subsets: list[str], speakers: set[str]) -> None:
        """One line about those that the corpus's own list has in these subsets, but of whom there is no audio."""
        if not self.speakers_file or not (home / self.speakers_file).is_file():
            return
        text = (home / self.speakers_file).read_text(encoding="utf-8", errors="replace")
        lines = [line.groupdict() for line in map(self.speaker_line.match, text.splitlines()) if line]
        listed = {line["speaker"] for line in lines if line.get("subset", WHOLE) in subsets}
        if missing := sorted(listed - speakers):
            count = f"{len(missing):,} of {len(listed):,} speakers in {self.speakers_file}"
            _tell(f"{home}: there is no audio of {count}: {few(missing)}.")

    def _unpack(self, subset: str, root: Path, home: Path) -> None:
        """Puts the subset into the corpus's folder, whole or not at all; what lies there already stays."""
        root.mkdir(parents=True, exist_ok=True)
        archive = self.archives()[subset]
        path = archive.fetch(root)
        unpacked = home.with_name(f".unpacking-{home.name}")
        shutil.rmtree(unpacked, ignore_errors=True)  # of a process that was killed
        unpacked.mkdir()
        try:
            archive.unpack(path, unpacked)
            content, folder = unpacked / self.in_archive, self.audio.format(subset)
            if not (content / folder).is_dir():
                raise UserError(f"{path} holds no folder {Path(self.in_archive, folder)}.")
            home.mkdir(exist_ok=True)
            for entry in sorted(content.iterdir(), key=lambda entry: entry.name == folder.partition("/")[0]):
                if not (home / entry.name).exists():
                    entry.rename(home / entry.name)  # the audio comes last, and says that the rest is there
            if not (home / folder).is_dir():
                raise UserError(f"{home} has something of {path.name} already, but no folder {folder}; move it away.")
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)


@dataclass(frozen=True)
class ListedLayout(Layout):
    """A corpus of which those files are utterances that its metadata.csv lists."""

    def _utterances(self, home: Path, subset: str) -> list[Source]:
        sources, listed = super()._utterances(home, subset), self._listed(home / METADATA)
        found = {source.id for source in sources}
        if missing := [identity for identity in listed if identity not in found]:
            count = f"{len(missing):,} of {len(listed):,} utterances in {METADATA}"
            _tell(f"{home}: there is no audio of {count}, the first {missing[0]}.")
        if unlisted := [str(source.path) for source in sources if source.id not in listed]:
            count = f"{len(unlisted):,} files, which {METADATA} does not list"
            _tell(f"{home}: left out {count}, the first {unlisted[0]}.")
        if len(unlisted) == len(sources):
            raise UserError(f"{home / METADATA} lists none of the audio files in {self._folder(home, subset)}.")
        return [source for source in sources if source.id in listed]

    def _listed(self, file: Path) -> dict[str, int]:
        """The number of each utterance's line; UserError names a line that is broken or repeats another."""
        regular_file(file)
        text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        listed: dict[str, int] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            identity, *texts = line.split("|")
            if not line.strip():
                continue
            if len(texts) != FIELDS.count("|") or not self.utterance.fullmatch(identity):
                shown = line[:SHOWN_CHARACTERS] + "..." * (len(line) > SHOWN_CHARACTERS)
                raise UserError(f"{file}, line {number}: {shown!r} is not {FIELDS!r}.")
            if (other := listed.setdefault(identity, number)) != number:
                raise UserError(f"{file}, lines {other} and {number}: the utterance {identity} is there twice.")
        if not listed:
            raise UserError(f"{file} is empty; it takes lines of {FIELDS!r}.")
        return listed


def _tell(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)
