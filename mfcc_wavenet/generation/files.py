"""mode=generate: sound files and MFCCs, one or a folder of them, to audio."""

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import replacing, write_json
from mfcc_wavenet.config.settings import Command
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES, read_audio
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

MFCC_SUFFIXES = {".npy", ".npz"}
OUTPUT_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
SIDE_BY_SIDE = 64  # utterances that are generated at once: several groups of lanes for every core
RECIPE = ".recipe.json"  # in a folder of outputs: what made them


class Given(NamedTuple):
    """MFCCs to invert, where they are from, the file to write, and the audio they are of, where that is at hand."""

    source: Path
    mfcc: np.ndarray  # (n_mfcc, frames)
    output: Path
    audio: np.ndarray | None = None  # (samples,)


def convert(path: Path, checkpoint: Checkpoint, command: Command) -> None:
    """Inverts what command.input names into command.output; prints what came out, and how fast.

    One file gives one file. A folder, a glob or an .npz gives a folder, in which a batch that was
    interrupted goes on where it stopped, and an input that fails does not stop the others.

    Raises UserError, after everything else is done, if an input failed.
    """
    inputs = find_inputs(command.input)
    inverter = Inverter(checkpoint)
    if len(inputs) == 1 and Path(command.input).expanduser() == inputs[0] and inputs[0].suffix.lower() != ".npz":
        output = Path(command.output or f"{inputs[0].stem}.inverted.wav").expanduser()
        if output.suffix.lower() not in OUTPUT_FORMATS:
            raise UserError(f"output={output}: audio is written as .wav or .flac.")
        _convert_one(next(_read(inputs[0], output, inverter)), inverter, command)
    else:
        _convert_all(inputs, Path(command.output or "inverted").expanduser(), path, inverter, command)


def _convert_one(given: Given, inverter: Inverter, command: Command) -> None:
    _refuse(given, inverter)
    frames, started = given.mfcc.shape[1], time.perf_counter()
    samples = inverter.geometry.samples_of(frames) if given.audio is None else len(given.audio)
    with tqdm(desc="generating", total=samples, unit="sample", unit_scale=True, leave=False, disable=None) as bar:

        def progress(more: int) -> None:
            bar.set_postfix_str(_speed(bar.n + more, inverter, started), refresh=False)
            bar.update(more)

        (codes,) = _generate([given], inverter, command, progress)
    _write(given, codes, inverter)
    print(f"{given.output}: {len(codes):,} samples, {_speed(len(codes), inverter, started)}.")
    if given.audio is not None:
        channels = inverter.settings.wavenet.quantization_channels
        same = int((codes == mulaw.encode(given.audio, channels)).sum())
        print(f"{same:,} of {len(codes):,} samples are the input's, bit for bit (mu-law, {channels} levels).")


def _convert_all(inputs: list[Path], folder: Path, path: Path, inverter: Inverter, command: Command) -> None:
    recipe = _recipe(folder, path, command)
    failures, made, kept = [], 0, 0
    samples, spoken, started = 0, 0, time.perf_counter()  # samples: those that are written
    outputs = output_paths(inputs, folder)
    bar = tqdm(zip(inputs, outputs), "generating", len(inputs), unit="file", leave=False, disable=None)
    waiting: list[Given] = []

    def progress(more: int) -> None:
        nonlocal spoken
        spoken += more
        bar.set_postfix_str(_speed(spoken, inverter, started))

    def finish() -> None:
        """What waits is generated side by side, and written."""
        nonlocal made, samples
        batch = waiting.copy()
        waiting.clear()
        for given, codes in zip(batch, _generate(batch, inverter, command, progress)):
            with _noting(failures):
                _write(given, codes, inverter)
                made += 1
                samples += len(codes)

    for source, output in bar:
        with _noting(failures):
            for given in _read(source, output, inverter):
                if given.output.exists() and given.output.stat().st_mtime_ns >= recipe.stat().st_mtime_ns:
                    kept += 1
                    continue
                _refuse(given, inverter)
                waiting.append(given)
        if len(waiting) >= SIDE_BY_SIDE:
            finish()
    if waiting:
        finish()
    if made:
        print(f"{folder}: {made} files, {_speed(samples, inverter, started)}.")
    if kept:
        print(f"{folder}: {kept} files were there already; restart=true makes them again.")
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise UserError(f"{len(failures)} of {len(inputs)} inputs failed, as told above; {folder} has the others.")


@contextlib.contextmanager
def _noting(failures: list[str]) -> Iterator[None]:
    """A failure is kept for the end."""
    try:
        yield
    except UserError as error:
        failures.append(str(error))


def find_inputs(given: str | None) -> list[Path]:
    """The file, the readable files of the folder, or those that the pattern matches, in order."""
    if given is None:
        raise UserError("mode=generate needs input=PATH: audio, .npy or .npz of MFCCs, a folder or a glob of them.")
    path = Path(given).expanduser()
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else map(Path, glob(str(path), recursive=True))
    inputs = sorted(one for one in found if one.is_file() and one.suffix.lower() in AUDIO_SUFFIXES | MFCC_SUFFIXES)
    if not inputs:
        what = "the folder holds no audio and no MFCCs" if path.is_dir() else "there is no such file"
        raise UserError(f"input={given}: {what} (audio, .npy or .npz; looked from {Path.cwd()}).")
    return inputs


def output_paths(inputs: list[Path], folder: Path) -> list[Path]:
    """An output for each input, in the same tree of folders; where two would share a name, it includes the suffix."""
    parents = {one.parent for one in inputs}
    root = min(parents, key=lambda parent: len(parent.parts))
    while not all(parent.is_relative_to(root) for parent in parents):
        root = root.parent
    relative = [one.relative_to(root) for one in inputs]
    stems = [one.with_suffix("") for one in relative]
    count = Counter(stems)
    return [folder / f"{stem if count[stem] == 1 else one}.wav" for one, stem in zip(relative, stems)]


def _recipe(folder: Path, path: Path, command: Command) -> Path:
    """The file that says what makes the outputs of the folder; its time tells which of them are older than that."""
    recipe = {
        "checkpoint_sha256": checkpoints.digest(path),
        "speaker": command.speaker,
        "temperature": command.temperature,
        "top_k": command.top_k,
        "sampling_seed": command.sampling_seed,
    }
    file = folder / RECIPE
    try:
        if command.restart or not file.is_file() or json.loads(file.read_text()) != recipe:
            write_json(file, recipe)
    except (OSError, ValueError) as error:
        raise UserError(f"output={folder}: the folder cannot be used ({error}).") from error
    return file


def _read(source: Path, output: Path, inverter: Inverter) -> Iterator[Given]:
    """What there is to invert in a file: one array, or each of an .npz."""
    features = inverter.settings.features
    if source.suffix.lower() in AUDIO_SUFFIXES:
        audio = read_audio(source, features.sample_rate, features.hop_length)
        yield Given(source, inverter.features(audio, features.sample_rate), output, audio)
    elif source.suffix.lower() == ".npz":
        for name, mfcc in read_arrays(source).items():
            yield Given(source, mfcc, output.with_name(f"{output.stem}-{name}{output.suffix}"))
    else:
        (mfcc,) = read_arrays(source).values()
        yield Given(source, mfcc, output)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, or the one of an .npy; nothing is ever unpickled. UserError if it is neither."""
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            return dict(content) if isinstance(content, np.lib.npyio.NpzFile) else {"mfcc": content}
    except Exception as error:  # a damaged header can raise anything, from a TokenError to a MemoryError
        raise UserError(f"{path}: neither audio nor an .npy or .npz of numbers.") from error


def _refuse(given: Given, inverter: Inverter) -> None:
    """UserError, before any work is done, for MFCCs that cannot be inverted and an output that cannot be written."""
    try:
        inverter.check(given.mfcc)
    except UserError as error:
        raise UserError(f"{given.source}: {error}") from error
    with _writing(given.output):
        given.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=given.output.parent):
            pass


def _generate(
    batch: list[Given], inverter: Inverter, command: Command, progress: Callable[[int], None]
) -> list[np.ndarray]:
    """The codes of each; progress is told how many more samples there are."""
    return inverter.invert_codes(
        [given.mfcc for given in batch],
        samples=[None if given.audio is None else len(given.audio) for given in batch],
        speaker=command.speaker,
        temperature=command.temperature,
        top_k=command.top_k,
        seed=command.sampling_seed,
        progress=progress,
    )


def _write(given: Given, codes: np.ndarray, inverter: Inverter) -> None:
    """The output, whole or not at all."""
    audio = mulaw.decode(codes, inverter.settings.wavenet.quantization_channels)
    kind = OUTPUT_FORMATS[given.output.suffix.lower()]
    with _writing(given.output), replacing(given.output) as unfinished:
        soundfile.write(unfinished, audio, inverter.sample_rate, format=kind)


@contextlib.contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"output={output} could not be written ({reason}).") from error


def _speed(samples: int, inverter: Inverter, started: float) -> str:
    seconds, audio = time.perf_counter() - started, samples / inverter.sample_rate
    return f"{audio:.2f} s of audio in {seconds:.2f} s, {audio / seconds:.2f} times real time"
