"""data.root to audio files and who speaks in them."""

from dataclasses import dataclass
from pathlib import Path

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES

PACKAGE = Path(__file__).parent  # holds demo/
MAX_LISTED = 8  # names in a sentence


@dataclass(frozen=True)
class Source:
    """One audio file and who speaks in it."""

    path: Path
    speaker: str


def find_sources(root: tuple[str, ...]) -> list[Source]:
    """The audio files that data.root names, in a fixed order.

    In a folder, the first sub-folder is the speaker; files that lie in it directly are spoken by
    the folder's own name. "package:demo" is the folder demo inside this package.
    """
    if not all(root) or not root:
        raise UserError("data.root is empty; it takes a folder, audio files or a manifest (speaker TAB path).")
    sources = []
    for name in root:
        path = PACKAGE / name.removeprefix("package:") if name.startswith("package:") else Path(name).expanduser()
        if not path.exists():
            raise UserError(f"data.root={name}: there is no such file or folder (looked from {Path.cwd()}).")
        if path.is_dir():
            sources += _folder(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            sources.append(Source(path, path.parent.resolve().name))
        else:
            sources += _manifest(path)
    return sources


def _folder(folder: Path) -> list[Source]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"data.root={folder}: the folder holds no audio file ({_few(sorted(AUDIO_SUFFIXES))}).")
    inside = [path.relative_to(folder).parts for path in files]
    return [Source(path, parts[0] if len(parts) > 1 else folder.resolve().name) for path, parts in zip(files, inside)]


def _manifest(manifest: Path) -> list[Source]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"data.root={manifest}: neither audio with a known suffix nor a manifest (text).") from None
    sources = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        speaker, tab, name = line.partition("\t")
        path = manifest.parent / name.strip()
        if not tab or not speaker.strip():
            raise UserError(f"{manifest}, line {number}: {line!r} is not 'speaker TAB path'.")
        if not path.is_file():
            raise UserError(f"{manifest}, line {number}: there is no file {path}.")
        sources.append(Source(path, speaker.strip()))
    if not sources:
        raise UserError(f"data.root={manifest}: the manifest is empty; it takes lines of 'speaker TAB path'.")
    return sources


def _few(names: list[str], most: int = MAX_LISTED) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
