"""What mode=generate, encode and decode read: which files, what they hold, and which file each becomes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import expanded, files_below, identities, refuse_overwriting, slug
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES, read_audio
from mfcc_wavenet.generation.arguments import Mfcc
from mfcc_wavenet.generation.arrays import MFCC_SUFFIXES, read_arrays
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.generation.units.unit_files import UNIT_SUFFIXES


@dataclass(frozen=True)
class Readable:
    """A kind of input, in words."""

    suffixes: frozenset[str]
    what: str
    nothing: str  # that a folder without it holds
    names: str


SPEECH = Readable(
    frozenset(AUDIO_SUFFIXES | MFCC_SUFFIXES), "audio, MFCCs as .npy or .npz", "no audio and no MFCCs",
    "audio, .npy or .npz",
)  # fmt: skip
UNITS = Readable(frozenset(UNIT_SUFFIXES), "units as .npz or .txt", "no units", ".npz or .txt")


@dataclass(frozen=True, eq=False)
class Item:
    """Something to be made: the file that it is from, and the file to write."""

    source: Path
    output: Path


@dataclass(frozen=True, eq=False)
class Utterance(Item):
    """MFCCs to invert or to encode, and their audio, if that was the input."""

    mfcc: Mfcc  # not checked yet
    audio: Float32[np.ndarray, " samples"] | None = None


def find_inputs(
    given: str | None, output: Path | None = None, kind: Readable = SPEECH, mode: str = "generate"
) -> list[Path]:
    """The file, the readable files of the folder without those of the output folder, or the pattern's, sorted.

    Raises UserError if there is none.
    """
    if given is None:
        raise UserError(f"mode={mode} needs input=PATH: {kind.what}, or a folder or glob of them.")
    path, suffixes = expanded(given), kind.suffixes
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            if output is not None:
                refuse_overwriting(output, identities([path]))
            inputs = files_below(path, suffixes, f"input={given}", without=output)
        else:
            found = sorted(Path(name) for name in glob(str(path), recursive=True))
            inputs = [one for one in found if one.suffix.lower() in suffixes and one.is_file()]
    except (OSError, ValueError) as error:  # a null byte in the name
        raise UserError(f"input={given} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not inputs:
        what = f"the folder holds {kind.nothing}" if path.is_dir() else "there is no such file"
        raise UserError(f"input={given}: {what} ({kind.names}; looked from {Path.cwd()}).")
    return inputs


def output_paths(inputs: list[Path], folder: Path, suffix: str = ".wav") -> list[Path]:
    """An output for each input, in the same tree of folders; where two would share a name, it includes the suffix."""
    parents = {one.parent for one in inputs}
    root = min(parents, key=lambda parent: len(parent.parts))
    while not all(parent.is_relative_to(root) for parent in parents):
        root = root.parent
    relative = [one.relative_to(root) for one in inputs]
    stems = [one.with_suffix("") for one in relative]
    count = Counter(stems)
    return [folder / f"{stem if count[stem] == 1 else one}{suffix}" for one, stem in zip(relative, stems)]


def read_utterances(source: Path, output: Path, inverter: Inverter) -> Iterator[Utterance]:
    """What MFCCs there are in a file: one utterance, or one for each array of an .npz, whose name it adds."""
    features = inverter.settings.features
    if source.suffix.lower() in AUDIO_SUFFIXES:
        audio = read_audio(source, features.sample_rate, features.hop_length)
        yield Utterance(source, output, inverter.features(audio, features.sample_rate), audio)
        return
    names: dict[Path, str] = {}
    for name, mfcc in read_arrays(source).items():
        path = output.with_name(f"{output.stem}-{slug(name)}{output.suffix}") if name else output
        if path in names:
            raise UserError(
                f"{source}: {names[path]!r} and {name!r} would both become {path.name}; rename one of them."
            )
        names[path] = name
        yield Utterance(source, path, mfcc)
