"""mode=generate: audio files and MFCC files, one or a folder of them, to audio files."""

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32, Integer, Shaped
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import replacing, write_json
from mfcc_wavenet.config.settings import Command, Sampling
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import AUDIO_SUFFIXES, read_audio
from mfcc_wavenet.generation.inverter import Inverter, Mfcc
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

MFCC_SUFFIXES = {".npy", ".npz"}
OUTPUT_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
MAX_UTTERANCES = 64  # that are read before they are generated together: several batches for every core
RECIPE = ".recipe.json"  # in a folder of outputs: what they were made with


class Utterance(NamedTuple):
    """MFCCs to invert, the file that they are from, the file to write, and their audio, if that was the input."""

    source: Path
    mfcc: Mfcc  # not checked yet
    output: Path
    audio: Float32[np.ndarray, " samples"] | None = None


def convert(path: Path, checkpoint: Checkpoint, command: Command) -> None:
    """Inverts what command.input names into command.output; prints what was written and how fast that was.

    path: the checkpoint's file. One input file gives one output file. A folder, a glob or an .npz gives a folder: an
    interrupted conversion resumes there, and an input that fails does not stop the others.

    Raises UserError, after everything else is done, if an input failed.
    """
    inputs = find_inputs(command.input)
    sampling = command.sampling
    inverter = Inverter(checkpoint, command.device)
    if len(inputs) == 1 and Path(command.input).expanduser() == inputs[0] and inputs[0].suffix.lower() != ".npz":
        output = Path(command.output or f"{inputs[0].stem}.inverted.wav").expanduser()
        if output.suffix.lower() not in OUTPUT_FORMATS:
            raise UserError(f"output={output}: audio is written as .wav or .flac.")
        _convert_one(next(_read(inputs[0], output, inverter)), inverter, command.speaker, sampling)
    else:
        folder = Path(command.output or "inverted").expanduser()
        recipe = _recipe(folder, path, command)
        _convert_all(inputs, folder, recipe, inverter, command.speaker, sampling)


def _convert_one(utterance: Utterance, inverter: Inverter, speaker: str | None, sampling: Sampling) -> None:
    _check(utterance, inverter)
    frames, started = utterance.mfcc.shape[1], time.perf_counter()
    samples = inverter.geometry.samples_of(frames) if utterance.audio is None else len(utterance.audio)
    with tqdm(desc="generating", total=samples, unit="sample", unit_scale=True, leave=False, disable=None) as bar:

        def progress(added: int) -> None:
            bar.set_postfix_str(_speed(bar.n + added, inverter, started), refresh=False)
            bar.update(added)

        (codes,) = _generate([utterance], inverter, speaker, sampling, progress)
    _write(utterance, codes, inverter)
    print(f"{utterance.output}: {len(codes):,} samples, {_speed(len(codes), inverter, started)}.")
    if utterance.audio is not None:
        channels = inverter.settings.wavenet.quantization_channels
        matching = int((codes == mulaw.encode(utterance.audio, channels)).sum())
        print(f"{matching:,} of {len(codes):,} samples match the input bit for bit (mu-law, {channels} levels).")


def _convert_all(
    inputs: list[Path], folder: Path, recipe: Path, inverter: Inverter, speaker: str | None, sampling: Sampling
) -> None:
    failures, written, skipped = [], 0, 0
    samples, generated, started = 0, 0, time.perf_counter()  # samples: those that were written
    outputs = output_paths(inputs, folder)
    bar = tqdm(zip(inputs, outputs), "generating", len(inputs), unit="file", leave=False, disable=None)
    waiting: list[Utterance] = []

    def progress(added: int) -> None:
        nonlocal generated
        generated += added
        bar.set_postfix_str(_speed(generated, inverter, started))

    def generate_waiting() -> None:
        nonlocal written, samples
        batch = waiting.copy()
        waiting.clear()
        for utterance, codes in zip(batch, _generate(batch, inverter, speaker, sampling, progress)):
            with _collecting(failures):
                _write(utterance, codes, inverter)
                written += 1
                samples += len(codes)

    for source, output in bar:
        with _collecting(failures):
            for utterance in _read(source, output, inverter):
                path = utterance.output
                if path.exists() and path.stat().st_mtime_ns >= recipe.stat().st_mtime_ns:
                    skipped += 1
                    continue
                _check(utterance, inverter)
                waiting.append(utterance)
        if len(waiting) >= MAX_UTTERANCES:
            generate_waiting()
    if waiting:
        generate_waiting()
    if written:
        print(f"{folder}: wrote {_files(written)}, {_speed(samples, inverter, started)}.")
    if skipped:
        print(f"{folder}: {_files(skipped)} existed already; restart=true generates everything again.")
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise UserError(f"{len(failures)} of {len(inputs)} inputs failed (see above); the others are in {folder}.")


@contextlib.contextmanager
def _collecting(failures: list[str]) -> Iterator[None]:
    """Keeps the message of a UserError for the end."""
    try:
        yield
    except UserError as error:
        failures.append(str(error))


def find_inputs(given: str | None) -> list[Path]:
    """The file, the readable files of the folder, or those that the pattern matches, sorted.

    Raises UserError if there is none.
    """
    if given is None:
        raise UserError("mode=generate needs input=PATH: audio, MFCCs as .npy or .npz, or a folder or glob of them.")
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
    """The file that says what the outputs of the folder are made with; outputs older than the file are outdated."""
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


def _read(source: Path, output: Path, inverter: Inverter) -> Iterator[Utterance]:
    """What there is to invert in a file: one array, or each of an .npz."""
    features = inverter.settings.features
    if source.suffix.lower() in AUDIO_SUFFIXES:
        audio = read_audio(source, features.sample_rate, features.hop_length)
        yield Utterance(source, inverter.features(audio, features.sample_rate), output, audio)
    elif source.suffix.lower() == ".npz":
        for name, mfcc in read_arrays(source).items():
            yield Utterance(source, mfcc, output.with_name(f"{output.stem}-{name}{output.suffix}"))
    else:
        (mfcc,) = read_arrays(source).values()
        yield Utterance(source, mfcc, output)


def read_arrays(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of an .npz by name, or the one of an .npy, of any shape and type; nothing is ever unpickled.

    Raises UserError if it is neither.
    """
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            return dict(content) if isinstance(content, np.lib.npyio.NpzFile) else {"mfcc": content}
    except Exception as error:  # a damaged header can raise anything, from a TokenError to a MemoryError
        raise UserError(f"{path}: neither audio nor an .npy or .npz of numbers.") from error


def _check(utterance: Utterance, inverter: Inverter) -> None:
    """Raises UserError, before any work is done, if the MFCCs cannot be inverted or the output cannot be written."""
    try:
        inverter.check(utterance.mfcc)
    except UserError as error:
        raise UserError(f"{utterance.source}: {error}") from error
    with _os_errors_as_user_errors(utterance.output):
        utterance.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=utterance.output.parent):
            pass


def _generate(
    batch: list[Utterance],
    inverter: Inverter,
    speaker: str | None,
    sampling: Sampling,
    progress: Callable[[int], None],
) -> list[Integer[np.ndarray, " _"]]:
    """The codes of each; progress is called with the number of samples that were added."""
    return inverter.invert_codes(
        [utterance.mfcc for utterance in batch],
        samples=[None if utterance.audio is None else len(utterance.audio) for utterance in batch],
        speaker=speaker,
        progress=progress,
        **asdict(sampling),
    )


def _write(utterance: Utterance, codes: Integer[np.ndarray, " samples"], inverter: Inverter) -> None:
    """The output, whole or not at all."""
    audio = mulaw.decode(codes, inverter.settings.wavenet.quantization_channels)
    kind = OUTPUT_FORMATS[utterance.output.suffix.lower()]
    with _os_errors_as_user_errors(utterance.output), replacing(utterance.output) as unfinished:
        soundfile.write(unfinished, audio, inverter.sample_rate, format=kind)


@contextlib.contextmanager
def _os_errors_as_user_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"output={output} could not be written ({reason}).") from error


def _speed(samples: int, inverter: Inverter, started: float) -> str:
    seconds, audio = time.perf_counter() - started, samples / inverter.sample_rate
    return f"{audio:.2f} s of audio in {seconds:.2f} s, {audio / seconds:.2f} times real time"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
