"""data.root to audio files, who speaks in them, and what they are called."""

import re
import stat
import sys
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import expanded, files_below
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES, regular_file
from mfcc_wavenet.data.corpora.known import find_known
from mfcc_wavenet.data.corpora.source import Source, few, first_duplicate, readable, utterance_id

PACKAGE = Path(__file__).parent  # holds demo/
MAX_MANIFEST_BYTES = 2**28  # some millions of lines; what is larger is not a list of files

# Corpora whose audio does not lie in one folder per speaker right below the corpus's own.
LAYOUTS = (
    # VCTK: wav48_silence_trimmed/p225/p225_001_mic1.flac
    re.compile(r"/(?P<speaker>p\d{3}|s5)/(?P=speaker)_\d+(_mic\d)?\.\w+$"),
    # LibriSpeech: dev-clean/84/121123/84-121123-0000.flac; LibriTTS and MLS: the same with underscores
    re.compile(r"/(?P<speaker>\d+)/(?P<chapter>\d+)/(?P=speaker)[-_](?P=chapter)[-_][\d_-]+\.\w+$"),
    # TIMIT: TRAIN/DR1/FCJF0/SA1.WAV
    re.compile(r"/DR[1-8]/(?P<speaker>[FM][A-Z]{3}\d)/S[AIX]\d+(\.WAV)?\.\w+$", re.IGNORECASE),
)


def find_sources(
    root: tuple[str, ...], corpus: str | None = None, subsets: tuple[str, ...] | None = None
) -> list[Source]:
    """The audio files that data.root names, in a fixed order.

    corpus: one of the known ones, of which these subsets are meant, or all that are there. Without it, in a folder, the
    first sub-folder is the speaker, except in the LAYOUTS of known corpora; files that lie in it directly are spoken by
    the folder's own name. Links to folders are followed, each folder once; hidden files and folders are passed over,
    and counted on stderr. "package:demo" is the folder demo inside this package.

    The id of an utterance is the known corpus's own, the path below the folder, or the path as data.root or a manifest
    has it, without suffix.
    """
    if not all(root) or not root:
        raise UserError("data.root is empty; it takes a folder, audio files or a manifest (speaker TAB path).")
    if corpus is not None:
        return find_known(corpus, root[0], subsets)
    sources = []
    for name in root:
        path = PACKAGE / name.removeprefix("package:") if name.startswith("package:") else expanded(name)
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"data.root={name}: there is no such file or folder (looked from {Path.cwd()}).") from None
        except (OSError, ValueError) as error:
            raise UserError(f"data.root={name}: cannot be read ({_reason(error)}).") from error
        if stat.S_ISDIR(mode):
            sources += _folder(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            regular_file(path)
            speaker = _known_speaker(path.absolute().as_posix()) or readable(path.parent.resolve().name)
            sources.append(Source(path, speaker, _written_id(name)))
        else:
            sources += _manifest(path)
    if twice := first_duplicate(sources):
        tqdm.write(
            f"Several utterances are called {twice[0].id}, {twice[0].path} and {twice[1].path}; all are used.",
            file=sys.stderr,
        )
    return sources


def _folder(folder: Path) -> list[Source]:
    files = files_below(folder, AUDIO_SUFFIXES, f"data.root={folder}")
    if not files:
        raise UserError(f"data.root={folder}: the folder holds no audio file ({few(sorted(AUDIO_SUFFIXES))}).")
    # There may be 100,000s of them: strings are quicker than paths, and what is the same for all is asked once.
    start, absolute, own = len(str(folder / "x")) - 1, folder.absolute().as_posix(), readable(folder.resolve().name)
    sources = []
    for path in files:
        below = str(path)[start:]
        first, slash, _ = below.partition("/")
        speaker = _known_speaker(f"{absolute}/{below}") or (readable(first) if slash else own)
        sources.append(Source(path, speaker, utterance_id(below)))
    return sources


def _known_speaker(path: str) -> str | None:
    """As the layout of a known corpus says; None where the path is of none."""
    for layout in LAYOUTS:
        if known := layout.search(path):
            return known["speaker"]
    return None


def _written_id(name: str) -> str:
    """Of a path as a person wrote it, but for what means nothing in it, such as the ./ of ./a/1.wav."""
    return utterance_id(str(PurePosixPath(name)))


def _manifest(manifest: Path) -> list[Source]:
    if regular_file(manifest).st_size > MAX_MANIFEST_BYTES:
        raise UserError(f"data.root={manifest}: neither audio with a known suffix nor a manifest (too large).")
    # File names may hold bytes that are not text; some editors begin a file with a byte order mark.
    text = manifest.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise UserError(f"data.root={manifest}: the manifest is empty; it takes lines of 'speaker TAB path'.")
    if "\0" in text or "\t" not in text:
        raise UserError(
            f"data.root={manifest}: neither audio with a known suffix nor a manifest (text of 'speaker TAB path')."
        )
    sources = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        speaker, tab, name = line.partition("\t")
        if not tab or not speaker.strip():
            raise UserError(f"{manifest}, line {number}: {line!r} is not 'speaker TAB path'.")
        path = manifest.parent / expanded(name.strip())
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{manifest}, line {number}: there is no file {path}.") from None
        except OSError as error:
            raise UserError(f"{manifest}, line {number}: {path} cannot be read ({_reason(error)}).") from error
        if not stat.S_ISREG(mode):
            raise UserError(f"{manifest}, line {number}: {path} is not a file.")
        sources.append(Source(path, readable(speaker.strip()), _written_id(name.strip())))
    return sources


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
