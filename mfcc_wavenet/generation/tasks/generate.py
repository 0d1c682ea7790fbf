"""mode=generate: audio files and MFCC files to audio files."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32, Integer

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.files import replacing
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.correction import checked_candidates, checked_corrections
from mfcc_wavenet.generation.inputs import Utterance
from mfcc_wavenet.generation.tasks.speech import SpeechTask
from mfcc_wavenet.generation.tasks.task import os_errors_as_user_errors
from mfcc_wavenet.models.checkpoint import Checkpoint

OUTPUT_FORMATS = {".wav": "WAV", ".flac": "FLAC"}

Codes = Integer[np.ndarray, " samples"]


class Generate(SpeechTask):
    """The inverse of each input."""

    what, writes, folder = "audio is", tuple(OUTPUT_FORMATS), "inverted"

    def __init__(self, checkpoint: Checkpoint, command: Command):
        self.sampling = command.sampling(checkpoint.temperature)
        self.corrections = checked_corrections(command.corrections, self.sampling, checkpoint.settings)
        self.candidates = checked_candidates(command.candidates, self.sampling, self.corrections, checkpoint.settings)
        super().__init__(checkpoint, command)

    def made_with(self) -> dict[str, Any]:
        corrected = {"corrections": self.corrections, "candidates": self.candidates}
        return {"speaker": self.command.speaker, **asdict(self.sampling), **corrected}

    def single_output(self, source: Path) -> str:
        return f"{source.stem}.inverted.wav"

    def make(
        self,
        items: Sequence[Utterance],
        progress: Callable[[int], object],
        finished: Callable[[int, list[Codes]], object],
    ) -> None:
        self.inverter.invert_candidates(
            [utterance.mfcc for utterance in items],
            self.candidates,
            samples=[None if utterance.audio is None else len(utterance.audio) for utterance in items],
            speaker=self.command.speaker,
            check_front_end=False,  # check did
            progress=progress,
            finished=finished,
            **asdict(self.sampling),
        )

    def write(self, item: Utterance, made: list[Codes]) -> None:
        write_audio(item.output, self.inverter.audio(made, item.mfcc, self.corrections), self.inverter.sample_rate)

    def remark(self, item: Utterance, made: list[Codes]) -> str | None:
        if item.audio is None or self.corrections:
            return None
        (codes,), coding = made, self.inverter.settings.wavenet.coding
        matching = int((codes == mulaw.encode(item.audio, *coding)).sum())
        return f"{matching:,} of {len(codes):,} samples match the input bit for bit (mu-law, {coding[0]} levels)."


def write_audio(output: Path, audio: Float32[np.ndarray, " samples"], sample_rate: int) -> None:
    """Whole or not at all."""
    kind = OUTPUT_FORMATS[output.suffix.lower()]
    with os_errors_as_user_errors(output), replacing(output) as unfinished:
        soundfile.write(unfinished, audio, sample_rate, format=kind)
