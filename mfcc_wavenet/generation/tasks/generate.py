"""mode=generate: audio files and MFCC files to audio files."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32, Integer
from tqdm import tqdm

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import replacing
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.correction import corrections
from mfcc_wavenet.generation.inputs import SPEECH, Utterance, read_utterances
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.generation.tasks.task import Task, os_errors_as_user_errors, refuse_unwritable
from mfcc_wavenet.models.checkpoint import Checkpoint

OUTPUT_FORMATS = {".wav": "WAV", ".flac": "FLAC"}

Codes = Integer[np.ndarray, " samples"]


class Generate(Task):
    """The inverse of each input."""

    reads, what, writes, folder = SPEECH, "audio is", tuple(OUTPUT_FORMATS), "inverted"

    def __init__(self, checkpoint: Checkpoint, command: Command):
        self.sampling = command.sampling(checkpoint.temperature)
        self.corrections = corrections(command.corrections, self.sampling, checkpoint.settings)
        super().__init__(checkpoint, command)

    def made_with(self) -> dict[str, Any]:
        return {"speaker": self.command.speaker, **asdict(self.sampling), "corrections": self.corrections}

    def is_one(self, source: Path) -> bool:
        return source.suffix.lower() != ".npz"

    def single_output(self, source: Path) -> str:
        return f"{source.stem}.inverted.wav"

    def read(self, source: Path, output: Path) -> Iterator[Utterance]:
        return read_utterances(source, output, self.inverter)

    def check(self, item: Utterance) -> None:
        """Warns on stderr of MFCCs that are probably of another front end."""
        check_mfcc(item, self.inverter)
        refuse_unwritable(item.output)

    def samples(self, item: Utterance) -> int:
        return samples_of(item, self.inverter)

    def make(
        self, items: Sequence[Utterance], progress: Callable[[int], object], finished: Callable[[int, Codes], object]
    ) -> None:
        self.inverter.invert_codes(
            [utterance.mfcc for utterance in items],
            samples=[None if utterance.audio is None else len(utterance.audio) for utterance in items],
            speaker=self.command.speaker,
            check_front_end=False,  # check did
            progress=progress,
            finished=finished,
            **asdict(self.sampling),
        )

    def write(self, item: Utterance, made: Codes) -> None:
        write_audio(item.output, self.inverter.audio(made, item.mfcc, self.corrections), self.inverter.sample_rate)

    def remark(self, item: Utterance, made: Codes) -> str | None:
        if item.audio is None or self.corrections:
            return None
        wavenet = self.inverter.settings.wavenet
        channels, preemphasis = wavenet.quantization_channels, wavenet.preemphasis
        matching = int((made == mulaw.encode(item.audio, channels, preemphasis)).sum())
        return f"{matching:,} of {len(made):,} samples match the input bit for bit (mu-law, {channels} levels)."


def check_mfcc(utterance: Utterance, inverter: Inverter) -> None:
    """UserError if the MFCCs are not the model's; one line on stderr if they probably are not."""
    if utterance.audio is None:  # whose MFCCs are the model's own
        try:
            warning = inverter.check(utterance.mfcc)
        except UserError as error:
            raise UserError(f"{utterance.source}: {error}") from error
        if warning:
            tqdm.write(f"{utterance.source}: {warning}", file=sys.stderr)


def samples_of(utterance: Utterance, inverter: Inverter) -> int:
    """Of the input, or of all whole hops that its MFCCs say there are."""
    if utterance.audio is not None:
        return len(utterance.audio)
    return inverter.geometry.samples_of(np.shape(utterance.mfcc)[-1])


def write_audio(output: Path, audio: Float32[np.ndarray, " samples"], sample_rate: int) -> None:
    """Whole or not at all."""
    kind = OUTPUT_FORMATS[output.suffix.lower()]
    with os_errors_as_user_errors(output), replacing(output) as unfinished:
        soundfile.write(unfinished, audio, sample_rate, format=kind)
