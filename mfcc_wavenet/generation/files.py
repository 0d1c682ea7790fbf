"""mode=generate: audio files and MFCC files, one or a folder of them, to audio files."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Integer
from tqdm import tqdm

from mfcc_wavenet.config.command import Command, Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import identities, owned, refuse_overwriting, replacing
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.correction import corrections as corrections_of
from mfcc_wavenet.generation.inputs import Utterance, find_inputs, output_paths, read_utterances
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.generation.outputs import OutputFolder
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

OUTPUT_FORMATS = {".wav": "WAV", ".flac": "FLAC"}
# Read before they are generated together: utterances, several batches for every core; samples, over an hour at 16 kHz.
MAX_UTTERANCES, MAX_SAMPLES = 64, 2**26


def convert(path: Path, checkpoint: Checkpoint, command: Command) -> None:
    """Inverts what command.input names into command.output; prints what was written and how fast that was.

    path: the checkpoint's file. One input file gives one output file. A folder, a glob or an .npz gives a folder: an
    interrupted conversion resumes there, and an input that fails does not stop the others.

    Raises UserError, after everything else is done, if an input failed.
    """
    sampling = command.sampling(checkpoint.temperature)
    corrections = corrections_of(command.corrections, sampling, checkpoint.settings)
    folder = Path(command.output or "inverted").expanduser()
    inputs = find_inputs(command.input, folder)
    inverter = Inverter(checkpoint, command.device)
    if len(inputs) == 1 and Path(command.input).expanduser() == inputs[0] and inputs[0].suffix.lower() != ".npz":
        output = Path(command.output or f"{inputs[0].stem}.inverted.wav").expanduser()
        if output.suffix.lower() not in OUTPUT_FORMATS:
            raise UserError(f"output={output}: audio is written as .wav or .flac.")
        refuse_overwriting(output, identities(inputs))
        _convert_one(
            next(read_utterances(inputs[0], output, inverter)), inverter, command.speaker, sampling, corrections
        )
        return
    made_with = {"checkpoint_sha256": checkpoints.digest(path), "speaker": command.speaker, **asdict(sampling)}
    made_with["corrections"] = corrections
    with owned(folder, f"The folder {folder}"):
        outputs = OutputFolder(folder, made_with, inputs, command.restart)
        _Conversion(inverter, command.speaker, sampling, corrections, outputs).convert(inputs)


def _convert_one(
    utterance: Utterance, inverter: Inverter, speaker: str | None, sampling: Sampling, corrections: int
) -> None:
    _check(utterance, inverter)
    frames, started = utterance.mfcc.shape[1], time.perf_counter()
    samples = inverter.geometry.samples_of(frames) if utterance.audio is None else len(utterance.audio)
    with tqdm(desc="generating", total=samples, unit="sample", unit_scale=True, leave=False, disable=None) as bar:

        def progress(added: int) -> None:
            bar.set_postfix_str(_speed(bar.n + added, inverter, started), refresh=False)
            bar.update(added)

        (codes,) = _generate([utterance], inverter, speaker, sampling, progress)
    _write(utterance, codes, inverter, corrections)
    print(f"{utterance.output}: {len(codes):,} samples, {_speed(len(codes), inverter, started)}.")
    if utterance.audio is not None and not corrections:
        channels, preemphasis = inverter.settings.wavenet.quantization_channels, inverter.settings.wavenet.preemphasis
        matching = int((codes == mulaw.encode(utterance.audio, channels, preemphasis)).sum())
        print(f"{matching:,} of {len(codes):,} samples match the input bit for bit (mu-law, {channels} levels).")


class _Conversion:
    """Of many inputs into a folder: several are read, and then generated together."""

    def __init__(
        self, inverter: Inverter, speaker: str | None, sampling: Sampling, corrections: int, outputs: OutputFolder
    ):
        self.inverter, self.speaker, self.sampling, self.outputs = inverter, speaker, sampling, outputs
        self.corrections = corrections
        self.waiting: list[Utterance] = []
        self.failures: list[str] = []
        self.written, self.skipped = 0, 0  # files
        self.samples, self.generated = 0, 0  # samples of the files that were written, and of all
        self.started = time.perf_counter()

    def convert(self, inputs: list[Path]) -> None:
        """Whatever ends it, the outputs that are complete by then are written. UserError if an input failed."""
        paths = output_paths(inputs, self.outputs.folder)
        try:
            with tqdm(zip(inputs, paths), "generating", len(inputs), unit="file", leave=False, disable=None) as bar:
                for source, output in bar:
                    with self._collecting():
                        self._read(source, output)
                    waiting = sum(self._length(utterance) for utterance in self.waiting)
                    if len(self.waiting) >= MAX_UTTERANCES or waiting >= MAX_SAMPLES:
                        self._generate_waiting(bar)
                self._generate_waiting(bar)
        finally:
            self._report()
        if self.failures:
            print("\n".join(self.failures), file=sys.stderr)
            raise UserError(
                f"{len(self.failures)} of {len(inputs)} inputs failed (see above); the others are in "
                f"{self.outputs.folder}."
            )

    def _read(self, source: Path, output: Path) -> None:
        if source.suffix.lower() != ".npz" and self._is_there(output, source):  # without reading it
            return
        for utterance in read_utterances(source, output, self.inverter):
            if utterance.output == output or not self._is_there(utterance.output, source):
                _check(utterance, self.inverter)
                self.waiting.append(utterance)

    def _is_there(self, output: Path, source: Path) -> bool:
        is_there = self.outputs.has(output, source)
        self.skipped += is_there
        return is_there

    def _generate_waiting(self, bar: tqdm) -> None:
        batch = self.waiting.copy()
        self.waiting.clear()

        def progress(added: int) -> None:
            self.generated += added
            bar.set_postfix_str(_speed(self.generated, self.inverter, self.started))

        def write(index: int, codes: Integer[np.ndarray, " samples"]) -> None:
            with self._collecting():
                _write(batch[index], codes, self.inverter, self.corrections)
                self.outputs.add(batch[index].output)
                self.written += 1
                self.samples += len(codes)

        if batch:
            _generate(batch, self.inverter, self.speaker, self.sampling, progress, write)

    def _length(self, utterance: Utterance) -> int:
        return self.inverter.geometry.samples_of(np.shape(utterance.mfcc)[-1])

    def _report(self) -> None:
        if self.written:
            speed = _speed(self.samples, self.inverter, self.started)
            print(f"{self.outputs.folder}: wrote {_files(self.written)}, {speed}.")
        if self.skipped:
            are_there = f"{self.outputs.folder}: {_files(self.skipped)} existed already"
            print(f"{are_there}; restart=true generates everything again.")

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[None]:
        """Keeps the message of a UserError for the end."""
        try:
            yield
        except UserError as error:
            self.failures.append(str(error))


def _check(utterance: Utterance, inverter: Inverter) -> None:
    """Raises UserError, before any work is done, if the MFCCs cannot be inverted or the output cannot be written.

    Warns on stderr of MFCCs that are probably of another front end.
    """
    if utterance.audio is None:  # whose MFCCs are the model's own
        try:
            warning = inverter.check(utterance.mfcc)
        except UserError as error:
            raise UserError(f"{utterance.source}: {error}") from error
        if warning:
            tqdm.write(f"{utterance.source}: {warning}", file=sys.stderr)
    with _os_errors_as_user_errors(utterance.output):
        utterance.output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=utterance.output.parent):
            pass


def _generate(
    batch: list[Utterance],
    inverter: Inverter,
    speaker: str | None,
    sampling: Sampling,
    progress: Callable[[int], object],
    finished: Callable[[int, Integer[np.ndarray, " _"]], object] = lambda index, codes: None,
) -> list[Integer[np.ndarray, " _"]]:
    """The codes of each; progress and finished as in invert_codes."""
    return inverter.invert_codes(
        [utterance.mfcc for utterance in batch],
        samples=[None if utterance.audio is None else len(utterance.audio) for utterance in batch],
        speaker=speaker,
        check_front_end=False,  # _check did
        progress=progress,
        finished=finished,
        **asdict(sampling),
    )


def _write(utterance: Utterance, codes: Integer[np.ndarray, " samples"], inverter: Inverter, corrections: int) -> None:
    """The output, whole or not at all."""
    audio = inverter.audio(codes, utterance.mfcc, corrections)
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
